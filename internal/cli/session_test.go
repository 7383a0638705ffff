package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast/internal/servertest"
)

// lines is what a running command prints.
type lines struct {
	mu struct {
		sync.Mutex
		b bytes.Buffer
	}
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.b.String()
}

// run starts a command that goes on until stop is called, which returns its error.
func run(t *testing.T, endpoint string, args ...string) (out *lines, stop func() error) {
	t.Helper()
	out = &lines{}
	root := &cobra.Command{Use: "holdfast"}
	AddTo(root, testVersion)
	root.SetArgs(append(args, "--endpoints", endpoint))
	root.SetOut(out)
	root.SetErr(out)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()
	return out, func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(time.Minute):
			t.Fatalf("%v does not end", args)
			return nil
		}
	}
}

func waitUntil(t *testing.T, what string, fact func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !fact() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A lock is held until the command is asked to end, and then goes to the next; what is printed is the key.
func TestLockUntilStopped(t *testing.T) {
	s := servertest.Start(t)
	first, stopFirst := run(t, s.Endpoint(), "lock", "door")
	waitUntil(t, "the first", func() bool { return strings.HasPrefix(first.String(), "door/") })
	second, stopSecond := run(t, s.Endpoint(), "lock", "door")
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	keys := func() int64 {
		r, err := client.Get(t.Context(), "door/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			t.Fatal(err)
		}
		return r.Count
	}
	waitUntil(t, "the second to stand in line", func() bool { return keys() == 2 })
	if second.String() != "" {
		t.Errorf("the second has the lock as well: %s", second)
	}
	if err := stopFirst(); err != nil {
		t.Errorf("the first ends with %v", err)
	}
	waitUntil(t, "the second", func() bool { return strings.HasPrefix(second.String(), "door/") })
	if err := stopSecond(); err != nil {
		t.Errorf("the second ends with %v", err)
	}
	if n := keys(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// A leader shows its proposal, listeners see who leads, and one that ends makes room for the next.
func TestElectUntilStopped(t *testing.T) {
	s := servertest.Start(t)
	listener, stopListener := run(t, s.Endpoint(), "elect", "boss", "--listen")
	first, stopFirst := run(t, s.Endpoint(), "elect", "boss", "one")
	waitUntil(t, "the first", func() bool { return strings.HasSuffix(first.String(), "\none\n") })
	second, stopSecond := run(t, s.Endpoint(), "elect", "boss", "two")
	if err := stopFirst(); err != nil {
		t.Errorf("the first ends with %v", err)
	}
	waitUntil(t, "the second", func() bool { return strings.HasSuffix(second.String(), "\ntwo\n") })
	waitUntil(t, "the listener", func() bool { return strings.HasSuffix(listener.String(), "\ntwo\n") })
	if !strings.Contains(listener.String(), "\none\n") {
		t.Errorf("the listener saw\n%s", listener)
	}
	if err := stopListener(); err != nil {
		t.Errorf("the listener ends with %v", err)
	}
	if err := stopSecond(); err != nil {
		t.Errorf("the second ends with %v", err)
	}
}

// A lease is kept alive for longer than its time, until it is revoked.
func TestLeaseKeepAliveUntilRevoked(t *testing.T) {
	s := servertest.Start(t)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	lease, err := client.Grant(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	out, stop := run(t, s.Endpoint(), "lease", "keep-alive", leaseText(lease.ID))
	waitUntil(t, "keep-alives beyond the first TTL", func() bool { return strings.Count(out.String(), "keepalived with TTL(2)") >= 5 })
	if _, err := client.Revoke(t.Context(), lease.ID); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "its end", func() bool {
		return strings.Contains(out.String(), "lease "+leaseText(lease.ID)+" expired or revoked.\n")
	})
	if err := stop(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

func leaseText(id clientv3.LeaseID) string { return fmt.Sprintf("%016x", id) }
