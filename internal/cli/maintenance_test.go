package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast/internal/servertest"
)

func connect(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eventually waits until is holds.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestTrailer: bytes pass only if they end in their own checksum, however they were cut.
func TestTrailer(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 64)
	sum := sha256.Sum256(body)
	whole := append(bytes.Clone(body), sum[:]...)
	damaged := bytes.Clone(whole)
	damaged[100] ^= 1
	forged := bytes.Clone(whole)
	forged[len(forged)-1] ^= 1
	for name, c := range map[string]struct {
		bytes []byte
		want  string
	}{
		"whole":            {whole, ""},
		"damaged":          {damaged, "arrived damaged"},
		"a wrong checksum": {forged, "arrived damaged"},
		"short":            {whole[:len(whole)-1], "sha256 checksum not found [bytes: 1055]"},
		"no checksum":      {body, "sha256 checksum not found [bytes: 1024]"},
		"a cut at a page":  {whole[:512+sha256.Size], "arrived damaged"},
		"nothing":          {nil, "sha256 checksum not found [bytes: 0]"},
	} {
		for _, piece := range []int{1, 31, 32, 33, 500, 5000} {
			check := &trailer{sum: sha256.New()}
			for rest := c.bytes; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
				check.add(rest[:min(piece, len(rest))])
			}
			err := check.verify()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s in pieces of %d: %v, want %q", name, piece, err, c.want)
			}
		}
	}
}

// TestSnapshotSave: the file is what the member sent, nobody else may read it, and a failure leaves what was there.
func TestSnapshotSave(t *testing.T) {
	server := servertest.Start(t)
	path := filepath.Join(t.TempDir(), "a.db")
	if got := client("", "--endpoints", server.Endpoint(), "snapshot", "save", path); got.code != 0 || got.stdout != "Snapshot saved at "+path+"\nServer version 3.7.0\n" || got.stderr != "" {
		t.Fatalf("%+v", got)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(before[:len(before)-sha256.Size]); string(sum[:]) != string(before[len(before)-sha256.Size:]) {
		t.Error("the file does not end in its checksum")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	if got := client("", "--endpoints", "127.0.0.1:1", "snapshot", "save", path, "--command-timeout=50ms"); got.code != exitInterrupted {
		t.Errorf("%+v", got)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a failure has changed the file: %v", err)
	}
	if _, err := os.Stat(path + ".part"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a failure has left a part: %v", err)
	}
}

// TestMirror: the keys that are there and what changes arrive, in the transactions in which they were made.
func TestMirror(t *testing.T) {
	from, to := servertest.Start(t).Endpoint(), servertest.Start(t).Endpoint()
	source, target := connect(t, from), connect(t, to)
	ctx := t.Context()
	put := func(c *clientv3.Client, key, value string) int64 {
		t.Helper()
		r, err := c.Put(ctx, key, value)
		if err != nil {
			t.Fatal(err)
		}
		return r.Header.Revision
	}
	first := put(source, "/app/a", "1")
	put(source, "/other", "no")
	run := func(args ...string) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		f := &family{globals: &globals{}}
		cmd := f.mirrorCommand()
		f.globals.register(cmd.PersistentFlags())
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(append(args, "--endpoints="+from, "--prefix=/app/", to))
		go func() {
			defer close(done)
			_ = cmd.ExecuteContext(ctx)
		}()
		return func() {
			cancel()
			<-done
		}
	}
	has := func(key, value string) func() bool {
		return func() bool {
			r, err := target.Get(ctx, key)
			return err == nil && (len(r.Kvs) == 1 && string(r.Kvs[0].Value) == value || len(r.Kvs) == 0 && value == "")
		}
	}
	for _, c := range []struct {
		name, there string
		args        []string
	}{
		{"the same prefix", "/app/", nil},
		{"another prefix", "/copy/", []string{"--dest-prefix=/copy/", "--max-txn-ops=2"}},
		{"no prefix", "", []string{"--no-dest-prefix"}},
	} {
		stop := run(c.args...)
		eventually(t, c.name+": the base is there", has(c.there+"a", "1"))
		put(source, "/app/b", c.name)
		if _, err := source.Txn(ctx).Then(clientv3.OpDelete("/app/b"), clientv3.OpPut("/app/c", c.name), clientv3.OpPut("/app/d", c.name), clientv3.OpPut("/app/e", c.name)).Commit(); err != nil {
			t.Fatal(err)
		}
		eventually(t, c.name+": what changed is there", has(c.there+"e", c.name))
		eventually(t, c.name+": what was deleted is gone", has(c.there+"b", ""))
		stop()
		if r, err := target.Get(ctx, c.there+"c"); err != nil || len(r.Kvs) != 1 {
			t.Errorf("%s: %v, %v", c.name, r, err)
		} else if e, err := target.Get(ctx, c.there+"e"); err != nil || (e.Kvs[0].ModRevision == r.Kvs[0].ModRevision) != (c.name != "another prefix") {
			t.Errorf("%s: transactions are cut elsewhere: %v %v, %v", c.name, r, e, err)
		}
	}
	// From a revision on there is no base, and the keys keep their names.
	if _, err := target.Delete(ctx, "/app/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	stop := run("--rev=" + strconv.FormatInt(first+2, 10))
	eventually(t, "the history is there", has("/app/e", "no prefix"))
	stop()
	if !has("/app/a", "")() {
		t.Error("what was written before the revision was copied")
	}
	if r, err := target.Get(ctx, "/other"); err != nil || len(r.Kvs) > 0 {
		t.Errorf("a key outside the prefix was copied: %v", err)
	}
}

// TestChecks runs both checks with loads that take no time, and looks that nothing is left behind.
func TestChecks(t *testing.T) {
	endpoint := servertest.Start(t).Endpoint()
	perfLoads["tiny"] = perfLoad{rate: 100, clients: 4, duration: 500 * time.Millisecond}
	scaleLoads["tiny"] = scaleLoad{keys: 200, clients: 4}
	t.Cleanup(func() {
		delete(perfLoads, "tiny")
		delete(scaleLoads, "tiny")
	})
	got := client("", "--endpoints", endpoint, "check", "perf", "--load=tiny", "--auto-compact", "--auto-defrag")
	for _, want := range []string{" writes/s\n", "lowest request took", "tddev", "Compacted with revision", "Defragmented"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("%q is missing: %+v", want, got)
		}
	}
	if passed := strings.HasSuffix(got.stdout, "\nPASS\n"); passed != (got.code == 0) || got.code > exitFailed {
		t.Errorf("it exits with %d: %s", got.code, got.stdout)
	}
	got = client("", "--endpoints", endpoint, "check", "datascale", "--load=tiny", "--prefix=/x/")
	if got.code != 0 || !strings.HasPrefix(got.stdout, "Start data scale check for work load [200 key-value pairs, 1024 bytes per key-value, 4 concurrent clients].\nPASS: Approximate system memory used : ") {
		t.Errorf("%+v", got)
	}
	if r, err := connect(t, endpoint).Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithCountOnly()); err != nil || r.Count != 0 {
		t.Errorf("%d keys are left: %v", r.Count, err)
	}
}

// TestSpread holds the figures by which check perf judges.
func TestSpread(t *testing.T) {
	m := &measured{}
	for _, ms := range []int{10, 10, 30, 30} {
		m.add(time.Duration(ms)*time.Millisecond, nil)
	}
	m.add(time.Hour, errors.New("it failed"))
	slowest, deviation := m.spread()
	if slowest != 0.03 || deviation < 0.0099 || deviation > 0.0101 {
		t.Errorf("slowest %v, deviation %v", slowest, deviation)
	}
	var out bytes.Buffer
	if !m.tellFailures(&sink{w: &out}) || out.String() != "FAIL: too many errors\nFAIL: ERROR(it failed) -> 1\n" {
		t.Errorf("said %q", out.String())
	}
}
