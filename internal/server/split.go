package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"
)

// A splitter divides the connections of one listener by what the client says first. A TLS handshake begins with a
// byte that no other protocol here begins with, so that one port can take clients with and without TLS. In the
// handshake a client that offers only h2 is for gRPC; one that offers http/1.1, as browsers do beside h2, is for
// HTTP/1. Otherwise an HTTP/2 client opens with "PRI ", and whatever else comes is taken for HTTP/1.
//
//	S1  Accepting never waits for a client to say something: a goroutine of its own listens to each connection.
//	S2  The connections that have not said enough are in a lobby, with its bounds for all and for each address (see
//	    lobby), so that silent clients cannot keep talking ones out.
//	S3  A connection that has not said enough after undecidedTimeout, its handshake included, is closed.
//	S4  At most maxConnections are open; accepting waits until one closes. One address may have three quarters of
//	    them: a client that opens more is told so, and the rest is for the others.
//	S5  When run has returned, every goroutine that it started is gone and every connection that nobody took
//	    is closed.
type splitter struct {
	base   net.Listener
	secure *tls.Config // nil: no client speaks TLS
	plain  bool        // clients may do without TLS
	log    *zap.Logger
	http   *branch // HTTP/1
	grpc   *branch // HTTP/2

	undecidedTimeout time.Duration
	lobby            *lobby
	slots            chan struct{} // one token for each open connection
	share            int           // of the slots, for one address
	rejections       rejections

	done chan struct{} // closed when the splitter stops
	stop sync.Once
	work sync.WaitGroup

	mu struct {
		sync.Mutex
		open map[netip.Addr]int // connections by address
	}
}

const (
	undecidedTimeout = 10 * time.Second
	maxUndecided     = 2048
	undecidedShare   = maxUndecided / 4 * 3 // of one address
)

// clientPreface is the beginning of what every HTTP/2 client says first (RFC 9113, section 3.4), and handshakeRecord
// the first byte of every TLS handshake (RFC 8446, section 5.1).
const (
	clientPreface   = "PRI "
	handshakeRecord = 0x16
)

// newSplitter returns a splitter over base that keeps at most maxConnections open. Clients speak TLS as secure says,
// and do without it only if plain is true. It works while run does.
func newSplitter(base net.Listener, secure *tls.Config, plain bool, maxConnections int, log *zap.Logger) *splitter {
	s := &splitter{
		base:             base,
		secure:           secure,
		plain:            plain,
		log:              log,
		undecidedTimeout: undecidedTimeout,
		lobby:            newLobby(maxUndecided, undecidedShare, runtime.GOMAXPROCS(0)),
		slots:            make(chan struct{}, maxConnections),
		share:            max(1, maxConnections/4*3),
		done:             make(chan struct{}),
	}
	s.mu.open = map[netip.Addr]int{}
	s.http = &branch{s: s, conns: make(chan net.Conn), closed: make(chan struct{})}
	s.grpc = &branch{s: s, conns: make(chan net.Conn), closed: make(chan struct{})}
	return s
}

// run accepts connections until the listener fails or close is called; it returns nil after close.
func (s *splitter) run() error {
	defer s.work.Wait()
	defer s.close()
	for {
		select {
		case s.slots <- struct{}{}:
		case <-s.done:
			return nil
		}
		accepted, err := s.base.Accept()
		if err != nil {
			<-s.slots
			select {
			case <-s.done:
				return nil
			default:
			}
			if isTemporary(err) {
				select {
				case <-time.After(10 * time.Millisecond):
					continue
				case <-s.done:
					return nil
				}
			}
			return err
		}
		within := s.take(addressOf(accepted.RemoteAddr()))
		w := &wire{Conn: accepted, lobby: s.lobby}
		conn := &connection{Conn: w, wire: w, split: s}
		g := s.lobby.enter(accepted, s.done)
		if g == nil {
			_ = conn.Close()
			return nil
		}
		s.work.Add(1)
		go s.decide(conn, g, within)
	}
}

// take notes a connection of an address, and reports whether it is within the address's share.
func (s *splitter) take(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.open[from]++
	return !from.IsValid() || s.mu.open[from] <= s.share
}

// giveBack undoes take and frees the slot.
func (s *splitter) giveBack(from netip.Addr) {
	s.mu.Lock()
	if s.mu.open[from]--; s.mu.open[from] == 0 {
		delete(s.mu.open, from)
	}
	s.mu.Unlock()
	<-s.slots
}

// close stops accepting, closes the connections that are undecided, and ends both branches.
func (s *splitter) close() {
	s.stop.Do(func() {
		close(s.done)
		_ = s.base.Close()
		s.lobby.close()
	})
}

// errShownOut is why a connection was rejected that kept others waiting.
var errShownOut = errors.New("the client did not finish its handshake while others waited")

// decide finds out what conn wants and hands it to a branch.
func (s *splitter) decide(conn *connection, g *guest, within bool) {
	defer s.work.Done()
	_ = conn.SetDeadline(time.Now().Add(s.undecidedTimeout))
	to, err := s.hear(conn, g)
	shownOut := s.lobby.leave(g, err == nil)
	if err != nil {
		if shownOut {
			err = errShownOut
		}
		s.rejected(conn, err)
		_ = conn.Close()
		return
	}
	if !within {
		s.refuse(conn, to)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	select {
	case to.conns <- conn:
	case <-to.closed:
		_ = conn.Close()
	case <-s.done:
		_ = conn.Close()
	}
}

// hear listens to conn until it is clear which branch it belongs to, and makes the TLS handshake where there is one.
func (s *splitter) hear(conn *connection, g *guest) (*branch, error) {
	if s.secure == nil {
		return s.hearPlain(conn)
	}
	var first [1]byte
	if _, err := io.ReadFull(conn.wire.Conn, first[:]); err != nil {
		return nil, err
	}
	conn.wire.spoken = first[:]
	if first[0] != handshakeRecord && s.plain {
		return s.hearPlain(conn)
	}
	secure := tls.Server(conn.wire, s.secure)
	s.lobby.turn(g)
	conn.wire.guest = g
	err := secure.Handshake()
	conn.wire.guest = nil
	s.lobby.wait(g)
	if err != nil {
		if notTLS, ok := errors.AsType[tls.RecordHeaderError](err); ok && notTLS.Conn != nil {
			sayPlainly(notTLS.Conn)
		}
		return nil, err
	}
	conn.Conn = secure
	switch secure.ConnectionState().NegotiatedProtocol {
	case "h2":
		return s.grpc, nil
	case "http/1.1":
		return s.http, nil
	}
	return s.hearPlain(conn)
}

// hearPlain looks at the first bytes that conn says.
func (s *splitter) hearPlain(conn *connection) (*branch, error) {
	first := make([]byte, len(clientPreface))
	n := 0
	var err error
	// One byte that differs decides, so that a short request line is not waited on.
	for n < len(first) && err == nil && string(first[:n]) == clientPreface[:n] {
		var m int
		m, err = conn.Conn.Read(first[n:])
		n += m
	}
	if err != nil && (n == 0 || !errors.Is(err, io.EOF)) {
		return nil, err
	}
	conn.spoken = first[:n]
	if string(first[:n]) == clientPreface {
		return s.grpc, nil
	}
	return s.http, nil
}

// isTemporary reports whether accepting may work again soon, as after running out of file descriptors.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// branch is the listener of one kind of connections.
type branch struct {
	s      *splitter
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept returns the next connection of the kind.
func (b *branch) Accept() (net.Conn, error) {
	select {
	case conn := <-b.conns:
		return conn, nil
	case <-b.closed:
	case <-b.s.done:
	}
	return nil, net.ErrClosed
}

// Close ends this branch only: connections of its kind are closed from now on.
func (b *branch) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// Addr returns the address of the listener that was split.
func (b *branch) Addr() net.Addr { return b.s.base.Addr() }
