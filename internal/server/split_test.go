package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// splitting runs a splitter on a loopback port. stop ends it and waits.
func splitting(t *testing.T, connections int, change func(*splitter)) (s *splitter, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = newSplitter(l, nil, true, connections, zap.NewNop())
	if change != nil {
		change(s)
	}
	done := make(chan error, 1)
	go func() { done <- s.run() }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		s.close()
		if err := <-done; err != nil {
			t.Errorf("the splitter ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

func connect(t *testing.T, s *splitter, say string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.base.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, say); err != nil {
		t.Fatal(err)
	}
	return c
}

// closed reports whether the other side closes c within a while.
func closed(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := c.Read(make([]byte, 1))
	netErr, timedOut := err.(net.Error)
	return err != nil && !(timedOut && netErr.Timeout())
}

// Each kind of client comes out at its branch, with every byte it said, however it is cut into packets.
func TestSplit(t *testing.T) {
	s, _ := splitting(t, 100, nil)
	for _, c := range []struct {
		say []string
		to  *branch
	}{
		{[]string{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}, s.grpc},
		{[]string{"P", "RI", " * HTTP/2.0\r\n"}, s.grpc},
		{[]string{"GET / HTTP/1.1\r\n\r\n"}, s.http},
		{[]string{"POST /v3/kv/put HTTP/1.1\r\n"}, s.http},
		{[]string{"P", "RO", "PFIND / HTTP/1.1\r\n"}, s.http},
		{[]string{"\x16\x03\x01"}, s.http},
	} {
		conn := connect(t, s, "")
		for _, part := range c.say {
			if _, err := io.WriteString(conn, part); err != nil {
				t.Fatal(err)
			}
		}
		accepted, err := c.to.Accept()
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Join(c.say, "")
		got := make([]byte, len(want))
		if _, err := io.ReadFull(accepted, got); err != nil || string(got) != want {
			t.Errorf("said %q, the branch reads %q, %v", want, got, err)
		}
		_ = accepted.Close()
	}
}

// S1: a silent connection holds nobody up. S3: it is closed in the end.
func TestSilentConnection(t *testing.T) {
	s, _ := splitting(t, 100, func(s *splitter) { s.undecidedTimeout = 200 * time.Millisecond })
	silent := connect(t, s, "")
	half := connect(t, s, "PR")
	connect(t, s, "GET /")
	conn, err := s.http.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if !closed(silent) || !closed(half) {
		t.Error("a connection that says too little stays open")
	}
}

// S2: more silent connections than allowed push out the oldest, and a talking one still gets through.
func TestUndecidedConnectionsAreBounded(t *testing.T) {
	s, _ := splitting(t, 100, func(s *splitter) { s.lobby = newLobby(3, 3, 1); s.undecidedTimeout = time.Hour })
	oldest := connect(t, s, "")
	for range 3 {
		connect(t, s, "")
	}
	connect(t, s, "GET /")
	conn, err := s.http.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if !closed(oldest) {
		t.Error("the oldest silent connection is still open")
	}
	s.lobby.mu.Lock()
	defer s.lobby.mu.Unlock()
	if n := s.lobby.mu.guests; n > 3 {
		t.Errorf("%d connections are undecided", n)
	}
}

// S4: over the limit a connection waits, and comes in when another one leaves.
func TestConnectionsAreBounded(t *testing.T) {
	s, _ := splitting(t, 1, nil)
	connect(t, s, "GET /1")
	first, err := s.http.Accept()
	if err != nil {
		t.Fatal(err)
	}
	connect(t, s, "GET /2")
	second := make(chan net.Conn)
	go func() {
		conn, err := s.http.Accept()
		if err != nil {
			t.Error(err)
		}
		second <- conn
	}()
	select {
	case <-second:
		t.Fatal("two connections are open where one is allowed")
	case <-time.After(50 * time.Millisecond):
	}
	_ = first.Close()
	_ = first.Close() // gives back one slot, not two
	_ = (<-second).Close()
	if n := len(s.slots); n > 1 {
		t.Errorf("%d slots are taken after all connections are closed", n)
	}
}

// S5: stopping closes what is undecided and what nobody took, and leaves no goroutine (see TestMain).
func TestSplitterStops(t *testing.T) {
	s, stop := splitting(t, 100, func(s *splitter) { s.undecidedTimeout = time.Hour })
	silent := connect(t, s, "")
	untaken := connect(t, s, "GET /")
	connect(t, s, "PRI * ")
	taken, err := s.grpc.Accept() // so that all three have been accepted
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if !closed(silent) || !closed(untaken) {
		t.Error("a connection that nobody took is open after the end")
	}
	if _, err := s.http.Accept(); err == nil {
		t.Error("a branch accepts after the end")
	}
	_ = taken.Close()
}

// gRPC and HTTP/1 share one port.
func TestOnePort(t *testing.T) {
	_, address := serve(t, newFakeNode(t), Options{})
	if _, err := pb.NewKVClient(dial(t, address)).Put(timeout(t), &pb.PutRequest{Key: []byte("k")}); err != nil {
		t.Error(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if want := `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}`; string(body) != want {
		t.Errorf("/version is %s, want %s", body, want)
	}
}
