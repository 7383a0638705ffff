package server

import (
	"container/list"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// A splitter divides the connections of one plain listener by what the client says first: an HTTP/2 client opens
// with "PRI ", whatever else comes is taken for HTTP/1.
//
//	S1  Accepting never waits for a client: each connection says its first bytes to a goroutine of its own.
//	S2  At most maxUndecided connections have not said enough yet. When one more comes, the one that has waited
//	    longest is closed, so that silent clients cannot keep talking ones out.
//	S3  A connection that says nothing is closed after undecidedTimeout.
//	S4  At most maxConnections are open; accepting waits until one closes.
//	S5  When run has returned, every goroutine that it started is gone and every connection that nobody took
//	    is closed.
type splitter struct {
	base net.Listener
	http *branch // HTTP/1
	grpc *branch // HTTP/2

	undecidedTimeout time.Duration
	maxUndecided     int
	slots            chan struct{} // one token for each open connection

	done chan struct{} // closed when the splitter stops
	stop sync.Once
	work sync.WaitGroup

	mu struct {
		sync.Mutex
		undecided list.List // of net.Conn, the longest waiting first
		stopped   bool
	}
}

const (
	undecidedTimeout = 10 * time.Second
	maxUndecided     = 1024
)

// clientPreface is the beginning of what every HTTP/2 client says first (RFC 9113, section 3.4).
const clientPreface = "PRI "

// newSplitter returns a splitter over base that keeps at most maxConnections open. It works while run does.
func newSplitter(base net.Listener, maxConnections int) *splitter {
	s := &splitter{
		base:             base,
		undecidedTimeout: undecidedTimeout,
		maxUndecided:     maxUndecided,
		slots:            make(chan struct{}, maxConnections),
		done:             make(chan struct{}),
	}
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
		conn := &connection{Conn: accepted, slots: s.slots}
		entry := s.enter(conn)
		if entry == nil {
			_ = conn.Close()
			return nil
		}
		s.work.Add(1)
		go s.decide(conn, entry)
	}
}

// close stops accepting, closes the connections that are undecided, and ends both branches.
func (s *splitter) close() {
	s.stop.Do(func() {
		close(s.done)
		_ = s.base.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mu.stopped = true
		for e := s.mu.undecided.Front(); e != nil; e = e.Next() {
			_ = e.Value.(net.Conn).Close()
		}
	})
}

// enter puts conn on the list of the undecided; it returns nil when the splitter has stopped.
func (s *splitter) enter(conn net.Conn) *list.Element {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.stopped {
		return nil
	}
	if s.mu.undecided.Len() >= s.maxUndecided {
		oldest := s.mu.undecided.Front()
		_ = oldest.Value.(net.Conn).Close()
		s.mu.undecided.Remove(oldest)
	}
	return s.mu.undecided.PushBack(conn)
}

// decide reads the first bytes of conn and hands it to a branch.
func (s *splitter) decide(conn *connection, entry *list.Element) {
	defer s.work.Done()
	first := make([]byte, len(clientPreface))
	_ = conn.SetReadDeadline(time.Now().Add(s.undecidedTimeout))
	n := 0
	var err error
	// One byte that differs decides, so that a short request line is not waited on.
	for n < len(first) && err == nil && string(first[:n]) == clientPreface[:n] {
		var m int
		m, err = conn.Conn.Read(first[n:])
		n += m
	}
	s.mu.Lock()
	s.mu.undecided.Remove(entry) // a no-op when enter has removed it
	s.mu.Unlock()
	if n == 0 || (err != nil && !errors.Is(err, io.EOF)) {
		_ = conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	conn.spoken = first[:n]
	to := s.http
	if string(first[:n]) == clientPreface {
		to = s.grpc
	}
	select {
	case to.conns <- conn:
	case <-to.closed:
		_ = conn.Close()
	case <-s.done:
		_ = conn.Close()
	}
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
