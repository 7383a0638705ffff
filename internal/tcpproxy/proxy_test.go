package tcpproxy

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// echo answers what it is told, with its name before it, once the client has said all.
func echo(t *testing.T, name string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				said, err := io.ReadAll(c)
				if err == nil {
					_, _ = io.WriteString(c, name+": "+string(said))
				}
			}()
		}
	}()
	return l
}

// ask sends words through the proxy and returns the answer, empty if it is sent away.
func ask(t *testing.T, address, words string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, words)
	_ = c.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(c)
	return string(answer)
}

func serve(t *testing.T, pause time.Duration, targets ...Target) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(targets, pause, zap.NewNop()).Serve(ctx, l) }()
	stop = func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("the proxy ended with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the proxy does not end")
		}
	}
	return l.Addr().String(), stop
}

// Connections go in turn, survive that one side has finished (G2), and pass by an endpoint that is down, which gets its
// share again when it is back (G1).
func TestProxy(t *testing.T) {
	a, b := echo(t, "a"), echo(t, "b")
	address, stop := serve(t, 20*time.Millisecond, Target{Address: a.Addr().String()}, Target{Address: b.Addr().String()})
	defer stop()
	both := func() (got string) {
		for range 4 {
			answer := ask(t, address, "hello")
			if name, words, _ := strings.Cut(answer, ": "); words != "hello" {
				t.Fatalf("the answer is %q", answer)
			} else {
				got += name
			}
		}
		return got
	}
	if got := both(); got != "abab" && got != "baba" {
		t.Errorf("the endpoints answered %s", got)
	}
	where := a.Addr().String()
	_ = a.Close()
	if got := both(); got != "bbbb" {
		t.Errorf("with a down the endpoints answered %s", got)
	}
	l, err := net.Listen("tcp", where)
	if err != nil {
		t.Skip("the port has been taken by somebody else")
	}
	defer func() { _ = l.Close() }()
	back := make(chan struct{})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if said, _ := io.ReadAll(c); len(said) > 0 {
				select {
				case <-back:
				default:
					close(back)
				}
			}
			_ = c.Close()
		}
	}()
	for deadline := time.Now().Add(10 * time.Second); ; {
		ask(t, address, "are you back?")
		select {
		case <-back:
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("an endpoint that is back gets nothing")
		}
	}
}

// Without an endpoint clients are sent away at once, and a stop ends connections that are open.
func TestProxyEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	_ = l.Close()
	address, stop := serve(t, time.Hour, Target{Address: nobody})
	if got := ask(t, address, "hello"); got != "" {
		t.Errorf("nobody answered %q", got)
	}
	stop()
	silent, stop := serve(t, time.Hour, Target{Address: echo(t, "a").Addr().String()})
	c, err := net.Dial("tcp", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	stop()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection has outlived the proxy")
	}
}

// Priority comes first, weight second (G1).
func TestPick(t *testing.T) {
	p := New([]Target{{"far", 5, 100}, {"heavy", 1, 3}, {"light", 1, 1}, {"none", 1, 0}}, time.Hour, zap.NewNop())
	got := map[string]int{}
	for range 40_000 {
		got[p.pick().Address]++
	}
	if got["far"] > 0 || got["heavy"] < 2*got["light"] || got["light"] < 5000 || got["none"] == 0 || got["none"] > 1000 {
		t.Errorf("they were picked %v", got)
	}
	for _, r := range p.remotes[1:] {
		r.inactive = true
	}
	if r := p.pick(); r == nil || r.Address != "far" {
		t.Errorf("with the near ones down %v was picked", r)
	}
	p.remotes[0].inactive = true
	if r := p.pick(); r != nil {
		t.Errorf("with all down %v was picked", r)
	}
}

// What cannot work is refused before it starts.
func TestTargets(t *testing.T) {
	targets, err := Targets([]string{"http://10.0.0.1:2379", "h:1", "https://[::1]:2"}, nil)
	if err != nil || len(targets) != 3 || targets[0].Address != "10.0.0.1:2379" || targets[2].Address != "[::1]:2" {
		t.Errorf("%v, %v", targets, err)
	}
	if targets, err = Targets(nil, []*net.SRV{{Target: "h", Port: 7, Priority: 2, Weight: 3}}); err != nil || targets[0] != (Target{"h:7", 2, 3}) {
		t.Errorf("%v, %v", targets, err)
	}
	for _, bad := range [][]string{nil, {"h"}, {"http://h"}} {
		if _, err := Targets(bad, nil); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if err := checkNoLoop("127.0.0.1:23790", []Target{{Address: "localhost:2379"}}); err != nil {
		t.Error(err)
	}
	for _, c := range [][2]string{{"127.0.0.1:23790", "localhost:23790"}, {"nonsense", "localhost:1"}} {
		if err := checkNoLoop(c[0], []Target{{Address: c[1]}}); err == nil {
			t.Errorf("%v is taken", c)
		}
	}
}
