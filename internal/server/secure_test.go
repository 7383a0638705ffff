package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	"holdfast/internal/servertest"
	"holdfast/internal/tlsconf"
)

// secured is a server with TLS, its address, and who vouches for it.
type secured struct {
	server  *Server
	ca      *servertest.Authority
	address string
	logged  *observer.ObservedLogs
}

// serveTLS starts a server with TLS on a loopback port.
func serveTLS(t testing.TB, o Options, plain, mutual bool) secured {
	t.Helper()
	ca := servertest.NewAuthority(t)
	s, config := newSecured(t, ca, o, mutual)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.server.ServeTLS(l, config, plain) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.server.GracefulStop(ctx)
		if err := <-done; err != nil {
			t.Errorf("ServeTLS ended with %v", err)
		}
	})
	s.address = l.Addr().String()
	return s
}

func newSecured(t testing.TB, ca *servertest.Authority, o Options, mutual bool) (secured, *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	cert, key := ca.Issue(servertest.Leaf{Name: "server", Hosts: []string{"127.0.0.1", "localhost"}}).Write(t, dir, "server")
	t0 := tlsconf.Options{FS: vfs.Default, CertFile: cert, KeyFile: key}
	if mutual {
		t0.ClientCertificates, t0.TrustedCAFile = true, servertest.WriteFile(t, dir, "ca.crt", ca.PEM)
	}
	b, err := tlsconf.New(t0)
	if err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.DebugLevel)
	o.Logger = zap.New(core)
	o.Fail = func(err error) { t.Errorf("the member was stopped: %v", err) }
	return secured{server: New(newFakeNode(t), o), ca: ca, logged: logged}, b.ServerConfig(Protocols(Everything)...)
}

// put is a call of a client with TLS, or without if config is nil.
func put(t testing.TB, address string, config *tls.Config) error {
	t.Helper()
	c := insecure.NewCredentials()
	if config != nil {
		c = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = pb.NewKVClient(conn).Put(timeout(t), &pb.PutRequest{Key: []byte("k")})
	return err
}

// The protocol is chosen in the handshake: only h2 is gRPC, http/1.1 beside it is a browser, and without a choice the
// first bytes decide.
func TestProtocols(t *testing.T) {
	s := serveTLS(t, Options{}, false, false)
	for _, c := range []struct {
		offered []string
		say     string
		chosen  string
		hears   string
	}{
		{[]string{"http/1.1"}, "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "http/1.1", "HTTP/1.1 200 OK"},
		{[]string{"h2", "http/1.1"}, "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "http/1.1", "HTTP/1.1 200 OK"},
		{nil, "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "", "HTTP/1.1 200 OK"},
		{[]string{"h2"}, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "h2", "\x00\x00"},
		{nil, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "", "\x00\x00"},
	} {
		config := s.ca.Client()
		config.NextProtos = c.offered
		conn, err := tls.Dial("tcp", s.address, config)
		if err != nil {
			t.Errorf("%q: %v", c.offered, err)
			continue
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != c.chosen {
			t.Errorf("%q: chosen is %q, want %q", c.offered, got, c.chosen)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(conn, c.say)
		got := make([]byte, len(c.hears))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != c.hears {
			t.Errorf("%q: heard %q, %v, want %q", c.offered, got, err, c.hears)
		}
		_ = conn.Close()
	}
	if err := put(t, s.address, s.ca.Client()); err != nil {
		t.Error(err)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + s.address}, TLS: s.ca.Client(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Put(timeout(t), "k", "v"); err != nil {
		t.Error(err)
	}
}

// A handler finds the client's verified certificate, over gRPC and over HTTP.
func TestClientCertificateReachesHandlers(t *testing.T) {
	seen := make(chan credentials.TLSInfo, 1)
	s := serveTLS(t, Options{GRPC: []grpc.ServerOption{grpc.UnaryInterceptor(
		func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			p, _ := peer.FromContext(ctx)
			info, _ := p.AuthInfo.(credentials.TLSInfo)
			seen <- info
			return h(ctx, request)
		})}}, false, true)
	pair := s.ca.Issue(servertest.Leaf{Name: "alice"})
	if err := put(t, s.address, s.ca.Client(pair)); err != nil {
		t.Fatal(err)
	}
	info := <-seen
	if len(info.State.VerifiedChains) == 0 || info.State.VerifiedChains[0][0].Subject.CommonName != "alice" ||
		info.SecurityLevel != credentials.PrivacyAndIntegrity {
		t.Errorf("the handler sees %+v", info)
	}
	if err := put(t, s.address, s.ca.Client()); err == nil {
		t.Error("a client without a certificate comes in")
	}
	var name string
	h := withTLS(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { name = r.TLS.VerifiedChains[0][0].Subject.CommonName }))
	s.server.http.Handler = h
	client := http.Client{Transport: &http.Transport{TLSClientConfig: s.ca.Client(pair), DisableKeepAlives: true}}
	if _, err := client.Get("https://" + s.address + "/"); err != nil || name != "alice" {
		t.Errorf("over HTTP: %q, %v", name, err)
	}
}

// http and https share a port, for gRPC and for HTTP/1.
func TestBothSchemes(t *testing.T) {
	s := serveTLS(t, Options{}, true, false)
	if err := put(t, s.address, nil); err != nil {
		t.Errorf("plain gRPC: %v", err)
	}
	if err := put(t, s.address, s.ca.Client()); err != nil {
		t.Errorf("gRPC over TLS: %v", err)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: s.ca.Client(), ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	for _, scheme := range []string{"http://", "https://"} {
		response, err := client.Get(scheme + s.address + "/health")
		if err != nil {
			t.Errorf("%s: %v", scheme, err)
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK || (response.TLS != nil) != (scheme == "https://") {
			t.Errorf("%s: %v", scheme, response.Status)
		}
	}
}

// A plain client on a TLS port is told so, and the log says it, at a level below error.
func TestPlainClientIsRejected(t *testing.T) {
	s := serveTLS(t, Options{}, false, false)
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "speaks TLS") {
		t.Errorf("%s: %s", response.Status, body)
	}
	if err := put(t, s.address, nil); err == nil {
		t.Error("a plain gRPC client comes in")
	}
	lines := s.logged.FilterMessage("rejected connection on client endpoint")
	if lines.Len() == 0 || lines.All()[0].Level != zap.WarnLevel || lines.All()[0].ContextMap()["remote-addr"] == "" {
		t.Errorf("logged: %v", lines.All())
	}
	if n := s.logged.FilterLevelExact(zap.ErrorLevel).Len(); n != 0 {
		t.Errorf("%d lines at level error", n)
	}
}

// halfOpen opens connections that say first and then nothing, and returns once the server has accepted them all.
func halfOpen(t testing.TB, address string, n int, first string) {
	t.Helper()
	conns := make([]net.Conn, 0, n)
	t.Cleanup(func() {
		for _, c := range conns {
			_ = c.Close()
		}
	})
	for range n {
		c, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		_, _ = io.WriteString(c, first)
	}
}

// Unfinished handshakes are bounded in number, for all and for each address, and in time; others are served meanwhile.
// etcd started as many as came and waited for ever.
func TestGHSA_6vch_q96h_7gc3(t *testing.T) {
	for _, c := range []struct{ what, first string }{
		{"silent", ""},
		{"half a record", "\x16\x03\x01\x02\x00\x01"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := serveTLS(t, Options{}, false, false)
			attack := 10_000
			if testing.Short() {
				attack = 2_000
			}
			if files := defaultConnections(); attack > files/3 {
				attack = files / 3
			}
			var before, during runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			goroutines := runtime.NumGoroutine()
			halfOpen(t, s.address, attack, c.first)
			start := time.Now()
			if err := put(t, s.address, s.ca.Client()); err != nil {
				t.Errorf("an honest client is not served: %v", err)
			}
			took := time.Since(start)
			runtime.GC()
			runtime.ReadMemStats(&during)
			held := int64(during.HeapInuse+during.StackInuse) - int64(before.HeapInuse+before.StackInuse)
			if n := runtime.NumGoroutine() - goroutines; n > undecidedShare+100 {
				t.Errorf("%d half-open connections keep %d goroutines", attack, n)
			}
			t.Logf("%d half-open connections: an honest put took %v, %d KiB are held", attack, took, held>>10)
			if held > 64<<20 {
				t.Errorf("%d half-open connections hold %d bytes", attack, held)
			}
		})
	}
}

// A rush of honest clients, more than the lobby takes of one address, only queues (L2).
func TestRushOfHonestClients(t *testing.T) {
	ca := servertest.NewAuthority(t)
	_, config := newSecured(t, ca, Options{}, false)
	s, _ := splitting(t, 1000, func(s *splitter) {
		s.secure, s.plain, s.undecidedTimeout = config, false, time.Minute
		s.lobby = newLobby(40, 30, 2)
	})
	const clients = 300
	go func() {
		for range clients {
			if conn, err := s.grpc.Accept(); err == nil {
				_ = conn.Close()
			}
		}
	}()
	client := ca.Client()
	client.NextProtos = []string{"h2"}
	errs := make(chan error)
	for range clients {
		go func() {
			conn, err := tls.Dial("tcp", s.base.Addr().String(), client)
			if err == nil {
				_ = conn.Close()
			}
			errs <- err
		}()
	}
	for range clients {
		if err := <-errs; err != nil {
			t.Errorf("a client is turned away: %v", err)
		}
	}
}

// A handshake that is not finished in time is cut off, also when the client goes on saying a little.
func TestHandshakeDeadline(t *testing.T) {
	ca := servertest.NewAuthority(t)
	secured, config := newSecured(t, ca, Options{}, false)
	_ = secured
	s, _ := splitting(t, 100, func(s *splitter) {
		s.secure, s.plain, s.undecidedTimeout = config, false, 300*time.Millisecond
	})
	conn := connect(t, s, "\x16\x03\x01\x02\x00\x01")
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				_, _ = conn.Write([]byte{0})
			}
		}
	}()
	if !closed(conn) {
		t.Error("a handshake that drags on is not cut off")
	}
}

// Stopping does not wait for handshakes (S5).
func TestStopsDuringHandshakes(t *testing.T) {
	ca := servertest.NewAuthority(t)
	_, config := newSecured(t, ca, Options{}, false)
	s, stop := splitting(t, 100, func(s *splitter) { s.secure, s.plain, s.undecidedTimeout = config, false, time.Hour })
	silent, half := connect(t, s, ""), connect(t, s, "\x16\x03\x01\x02\x00\x01")
	waitUntil(t, "both are in the lobby", func() bool {
		s.lobby.mu.Lock()
		defer s.lobby.mu.Unlock()
		return s.lobby.mu.guests == 2
	})
	stop()
	if !closed(silent) || !closed(half) {
		t.Error("an unfinished handshake is open after the end")
	}
}

// waitUntil waits for a condition.
func waitUntil(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// An address that opens connections without end gets a clear error in its own protocol, and does not take those of the
// others (S4).
func TestConnectionsWithoutEnd(t *testing.T) {
	s := serveTLS(t, Options{MaxConnections: 8}, true, false)
	var conns []net.Conn
	open := func() net.Conn {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		conns = append(conns, c)
		return c
	}
	for range 6 {
		c := open()
		fmt.Fprint(c, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Fatal(err)
		}
	}
	c := open()
	fmt.Fprint(c, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "too many connections from this address") {
		t.Errorf("HTTP: %s: %s", response.Status, body)
	}
	for _, config := range []*tls.Config{nil, s.ca.Client()} {
		if err := put(t, s.address, config); err == nil || !strings.Contains(err.Error(), "too many connections from this address") {
			t.Errorf("gRPC: %v", err)
		}
	}
	for _, c := range conns {
		_ = c.Close()
	}
	waitUntil(t, "a place is free again", func() bool { return put(t, s.address, nil) == nil })
}

// BenchmarkTLSPut is a put over TLS through our handshake, and BenchmarkTLSPutGRPC through gRPC's own.
func BenchmarkTLSPut(b *testing.B) {
	s := serveTLS(b, Options{}, false, false)
	benchmarkPut(b, s.address, s.ca.Client())
}

func BenchmarkTLSPutGRPC(b *testing.B) {
	ca := servertest.NewAuthority(b)
	// The credentials come after ours among the options, and so replace them.
	_, config := newSecured(b, ca, Options{}, false)
	inner, err := config.GetConfigForClient(nil)
	if err != nil {
		b.Fatal(err)
	}
	own := inner.Clone()
	own.NextProtos = []string{"h2"}
	s, _ := newSecured(b, ca, Options{GRPC: []grpc.ServerOption{grpc.Creds(credentials.NewTLS(own))}}, false)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.server.grpc.Serve(l) }()
	b.Cleanup(func() { s.server.grpc.Stop(); <-done })
	benchmarkPut(b, l.Addr().String(), ca.Client())
}

func benchmarkPut(b *testing.B, address string, config *tls.Config) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	kv := pb.NewKVClient(conn)
	request := &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 256)}
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := kv.Put(context.Background(), request); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
