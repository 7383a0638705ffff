package holdfast_test

import (
	"context"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"holdfast"
	"holdfast/internal/servertest"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// patience is how long anything may take that takes a moment, on a machine that does much else.
const patience = 60 * time.Second

// settings are those of a member in this process, on a port of its own.
func settings() holdfast.Config {
	c := holdfast.DefaultConfig()
	c.DataDir = "data"
	c.ListenClientURLs = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.ListenPeerURLs = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}} // the identity stays that of the default
	c.BlockCacheBytes = 4 << 20
	return c
}

// start starts a member in this process; the test's end closes it if the test has not.
func start(t testing.TB, c holdfast.Config, o holdfast.Options) *holdfast.Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := holdfast.Start(ctx, c, o)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// inMemory are the options of a member whose files are in memory and small.
func inMemory(fs vfs.FS) holdfast.Options { return holdfast.SmallFiles(holdfast.Options{FS: fs}) }

// connect makes a client that does not pause for long when there is nobody to answer.
func connect(endpoint string) (*clientv3.Client, error) {
	pause := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, MaxDelay: 100 * time.Millisecond}
	return clientv3.New(clientv3.Config{
		Endpoints:          []string{endpoint},
		Logger:             zap.NewNop(),
		MaxCallRecvMsgSize: 1 << 30,
		DialOptions:        []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: pause, MinConnectTimeout: 5 * time.Second})},
	})
}

// client is connect for the length of a test.
func client(t testing.TB, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := connect(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// within is a context for one answer.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// fromEnv is a number of the environment, for the longer runs.
func fromEnv(t testing.TB, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s: %v", name, text, err)
	}
	return n
}

// seed is drawn anew for each run, and printed; HOLDFAST_SEED replays one.
func seed(t testing.TB) uint64 {
	t.Helper()
	s := fromEnv(t, "HOLDFAST_SEED", rand.Uint64())
	t.Logf("HOLDFAST_SEED=%d replays the choices of this run", s)
	return s
}

// waitFor waits until done reports true.
func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestLives: a member in a program of one's own is started, written to, closed and started again.
func TestLives(t *testing.T) {
	fs := vfs.NewMem()
	core, logged := observer.New(zap.InfoLevel)
	o := inMemory(fs)
	o.Logger = zap.New(core)
	m := start(t, settings(), o)
	c := client(t, m.ClientEndpoints()[0])
	put, err := c.Put(within(t), "a", "1")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil || m.Err() != nil {
		t.Errorf("closed a second time: %v, %v", err, m.Err())
	}
	select {
	case <-m.Done():
	default:
		t.Error("Done is not closed after Close")
	}
	m = start(t, settings(), o)
	got, err := client(t, m.ClientEndpoints()[0]).Get(within(t), "a")
	if err != nil || len(got.Kvs) != 1 || got.Kvs[0].ModRevision != put.Header.Revision {
		t.Fatalf("after a restart: %v, %v", got, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for _, entry := range logged.All() {
		if entry.Level > zap.InfoLevel {
			t.Errorf("in a quiet life it was logged: %s %s %v", entry.Level, entry.Message, entry.Context)
		}
	}
}
