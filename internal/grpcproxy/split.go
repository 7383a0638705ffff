package grpcproxy

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// hearTimeout is how long a client may take for the TLS handshake and its first bytes.
const hearTimeout = 10 * time.Second

// preface is how an HTTP/2 client begins.
const preface = "PRI "

// splitter divides the connections of a listener into those of gRPC, which speaks HTTP/2, and all others.
type splitter struct {
	base   net.Listener
	secure *tls.Config // nil without TLS
	grpc   *branch
	http   *branch

	once sync.Once
	done chan struct{}
}

func newSplitter(base net.Listener, secure *tls.Config) *splitter {
	s := &splitter{base: base, secure: secure, done: make(chan struct{})}
	s.grpc, s.http = &branch{s, make(chan net.Conn)}, &branch{s, make(chan net.Conn)}
	return s
}

// run takes connections until the listener fails or is closed.
func (s *splitter) run() error {
	defer s.close()
	for {
		conn, err := s.base.Accept()
		if err != nil {
			select {
			case <-s.done:
				return nil
			default:
				return err
			}
		}
		go s.decide(conn)
	}
}

func (s *splitter) close() {
	s.once.Do(func() {
		close(s.done)
		_ = s.base.Close()
	})
}

func (s *splitter) decide(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(hearTimeout))
	if s.secure != nil {
		secure := tls.Server(conn, s.secure)
		if err := secure.Handshake(); err != nil {
			_ = conn.Close()
			return
		}
		conn = secure
	}
	r := bufio.NewReaderSize(conn, 4<<10)
	first, err := r.Peek(len(preface))
	if err != nil {
		_ = conn.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	to := s.http
	if string(first) == preface {
		to = s.grpc
	}
	select {
	case to.accepted <- &heard{conn, r}:
	case <-s.done:
		_ = conn.Close()
	}
}

// heard is a connection of which something has been read.
type heard struct {
	net.Conn
	r *bufio.Reader
}

func (h *heard) Read(b []byte) (int, error) { return h.r.Read(b) }

// branch is a listener of one kind of connections.
type branch struct {
	s        *splitter
	accepted chan net.Conn
}

// Accept returns the next connection of the kind.
func (b *branch) Accept() (net.Conn, error) {
	select {
	case conn := <-b.accepted:
		return conn, nil
	case <-b.s.done:
		return nil, net.ErrClosed
	}
}

// Close closes the whole listener.
func (b *branch) Close() error {
	b.s.close()
	return nil
}

// Addr returns the address of the listener.
func (b *branch) Addr() net.Addr { return b.s.base.Addr() }
