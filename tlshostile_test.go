package holdfast_test

import (
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"holdfast/internal/servertest"
)

// TestTenThousandHalfOpen: ten thousand clients that begin a handshake and say no more cost the member little memory,
// and others, new and old, hardly notice (GHSA-6vch-q96h-7gc3).
func TestTenThousandHalfOpen(t *testing.T) {
	if testing.Short() {
		t.Skip("ten thousand connections take a while")
	}
	w := newWorld(t)
	s := servertest.StartTLS(t, w.ca.Client(), w.flags()...)
	connect := func() *clientv3.Client {
		t.Helper()
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, TLS: w.ca.Client(), Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	old := connect()
	if _, err := old.Put(within(t), "a", "1"); err != nil {
		t.Fatal(err)
	}
	before := residentBytes(t, s.Pid())
	var conns []net.Conn
	t.Cleanup(func() {
		for _, c := range conns {
			_ = c.Close()
		}
	})
	for range 10_000 {
		c, err := net.DialTimeout("tcp", strings.TrimPrefix(s.Endpoint(), "https://"), patience)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		_, _ = io.WriteString(c, "\x16\x03\x01\x02\x00\x01")
	}
	for what, c := range map[string]*clientv3.Client{"old": old, "new": connect()} {
		start := time.Now()
		if _, err := c.Put(within(t), "a", "2"); err != nil {
			t.Errorf("the %s client is not served: %v", what, err)
		}
		took := time.Since(start)
		t.Logf("a put of the %s client took %v", what, took)
		if took > 5*time.Second {
			t.Errorf("a put of the %s client took %v", what, took)
		}
	}
	grown := residentBytes(t, s.Pid()) - before
	t.Logf("the member has grown by %d KiB", grown>>10)
	if grown > 64<<20 {
		t.Errorf("ten thousand half-open connections take %d bytes", grown)
	}
}

// residentBytes is the memory that a process holds.
func residentBytes(t testing.TB, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		t.Skipf("the memory of a process cannot be read here: %v", err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
