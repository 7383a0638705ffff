package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func knock(t *testing.T, m *member) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", m.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ends waits until the other side has closed a connection.
func ends(t *testing.T, what string, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: the connection stays open", what)
	}
}

// Whoever does not say who he is in time is let go, however slowly he speaks (P6).
func TestSlowStrangers(t *testing.T) {
	a := start(t, 1, limited(func(l *Limits) { l.HelloTimeout = 200 * time.Millisecond }))
	silent, slow := knock(t, a), knock(t, a)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		h := hello{min: 1, max: 1, class: ClassUrgent, cluster: testCluster, from: 2, to: 1}.encode()
		ticker := time.NewTicker(30 * time.Millisecond)
		defer ticker.Stop()
		for _, c := range h {
			select {
			case <-ticker.C:
			case <-stop:
				return
			}
			if _, err := slow.Write([]byte{c}); err != nil {
				return
			}
		}
	}()
	at := time.Now()
	ends(t, "silent", silent)
	ends(t, "slow", slow)
	if took := time.Since(at); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	page := knock(t, a)
	_, _ = io.WriteString(page, "GET /version HTTP/1.1\r\nHost: x\r\n")
	ends(t, "a request that does not end", page)
}

// Many connections that say nothing do not keep members out (P6).
func TestManyStrangers(t *testing.T) {
	a, b := start(t, 1, limited(func(l *Limits) { l.Strangers, l.HelloTimeout = 8, time.Minute })), start(t, 2)
	var strangers []net.Conn
	for range 40 {
		strangers = append(strangers, knock(t, a))
	}
	b.SetPeers([]Peer{a.peer()}, nil)
	b.Send([]Message{forward(2, 1, "here I am")})
	eventually(t, "a member gets in", func() bool { return len(a.all()) == 1 })
	for _, conn := range strangers[:30] {
		ends(t, "a stranger", conn)
	}
}

// What is no hello, and frames that no member sends, end the connection; the member is none the worse for it.
func TestHostileConnections(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	acquaint(a, b)
	greeting := hello{min: 1, max: 1, class: ClassData, cluster: testCluster, from: 9, to: 1}
	for what, say := range map[string][]byte{
		"noise":             []byte("\x89noise, and more noise"),
		"a long hello":      append([]byte(preface), 0xff, 0xff, 0, 0, 0, 0),
		"a broken hello":    seal(make([]byte, helloHeaderBytes+3)),
		"nobody's hello":    hello{min: 1, max: 1, class: ClassData, cluster: testCluster, to: 1}.encode(),
		"an unknown class":  hello{min: 1, max: 1, class: 9, cluster: testCluster, from: 9, to: 1}.encode(),
		"TLS":               {handshakeRecord, 3, 1, 0, 5, 1, 2, 3, 4, 5},
		"a large frame":     append(greeting.encode(), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, frameMessages),
		"an unknown frame":  append(greeting.encode(), frame(0x77)...),
		"a changed frame":   append(greeting.encode(), 0, 0, 0, 1, 1, 2, 3, 4, frameMessages),
		"a broken message":  append(greeting.encode(), frame(frameMessages, 99)...),
		"a probe too short": append(greeting.encode(), frame(frameProbe, 1)...),
		"a request as data": append(greeting.encode(), frame(frameRequest)...),
	} {
		conn := knock(t, a)
		if _, err := conn.Write(say); err != nil {
			t.Fatal(err)
		}
		ends(t, what, conn)
	}
	for class, say := range map[Class][]byte{ClassCall: frame(frameRequest, 1), ClassSnapshot: frame(frameChunk, 1)} {
		conn := knock(t, a)
		greeting.class = class
		_, _ = conn.Write(append(greeting.encode(), say...))
		ends(t, class.String(), conn)
	}
	twice := (&call{number: 1, method: "m"}).append(nil)
	conn := knock(t, a)
	greeting.class = ClassCall
	_, _ = conn.Write(append(append(greeting.encode(), twice...), frame(frameCancel, 1)...))
	ends(t, "a cancellation too short", conn)
	b.Send([]Message{forward(2, 1, "all is well")})
	eventually(t, "it is heard", func() bool { return len(a.all()) == 1 })
}

// A peer that answers what was not asked loses the connection.
func TestHostileAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	says := [][]byte{probeAnswer(1, time.Now()), frame(frameMessages), frame(frameProbeAnswer, 1), appendAnswer(nil, 1, 99, nil), {0, 0, 0, 0, 0, 0, 0, 0, 0}}
	ended := make(chan struct{}, 100)
	go func() {
		for i := 0; ; i++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := readHello(conn); err != nil {
				continue
			}
			_, _ = conn.Write(welcome{protocol: 1, min: 1, max: 1, cluster: testCluster, member: 2}.encode())
			_, _ = conn.Write(says[i%len(says)])
			go func() {
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
				ended <- struct{}{}
			}()
		}
	}()
	a := start(t, 1)
	a.SetPeers([]Peer{{2, []string{"http://" + l.Addr().String()}}}, nil)
	for range 3 * len(says) {
		<-ended
	}
	a.Close()
	_ = l.Close()
}

// The pages are there for HTTP clients, and nothing else is.
func TestPages(t *testing.T) {
	a := start(t, 0xab, limited(func(l *Limits) { l.HTTPConnections = 2 }), func(c *Config, _ *member) {
		c.Page = func(_ context.Context, path string) (int, []byte) {
			if path == "/members" {
				return 0, nil
			}
			return http.StatusOK, []byte(`{"path":"` + path + `"}`)
		}
	})
	carrier := &http.Transport{DisableKeepAlives: true}
	client := http.Client{Transport: carrier}
	for _, c := range []struct {
		method, path, want string
		code               int
	}{
		{"GET", "/version", `{"path":"/version"}`, 200},
		{"GET", "/health?x=y", `{"path":"/health"}`, 200},
		{"HEAD", "/health", "", 200},
		{"GET", "/members", "not found", 404},
		{"GET", "/raft", "There is nothing here", 404},
		{"POST", "/version", "Not Allowed", 405},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, a.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != c.code || !strings.Contains(string(body), c.want) || response.Header.Get("X-Etcd-Cluster-Id") != "c1" {
			t.Errorf("%s %s: %d %q %v", c.method, c.path, response.StatusCode, body, response.Header)
		}
	}
	open := func(n int) func() bool {
		return func() bool {
			a.pages.mu.Lock()
			defer a.pages.mu.Unlock()
			return len(a.pages.mu.open) <= n
		}
	}
	eventually(t, "those connections are closed", open(0))
	first, second := knock(t, a), knock(t, a)
	for _, conn := range []net.Conn{first, second} {
		_, _ = io.WriteString(conn, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
	}
	third := knock(t, a)
	_, _ = io.WriteString(third, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
	if answer, _ := io.ReadAll(third); len(answer) != 0 {
		t.Errorf("one too many gets %q", answer)
	}
	long := knock(t, a)
	_ = first.Close()
	eventually(t, "there is room again", open(1))
	_, _ = io.WriteString(long, "GET /version HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64*kib))
	ends(t, "a long header", long)
}
