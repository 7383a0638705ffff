package server

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"google.golang.org/grpc/peer"
)

// connection is a connection that came through a splitter: it says its first bytes again, gives its place back when it
// is closed, and knows what the answers that are on their way over it hold.
type connection struct {
	net.Conn        // a *wire, or a *tls.Conn over it; only decide sets it, before anybody else reads
	spoken   []byte // what decide has read; only decide writes it, before anybody else reads
	wire     *wire
	split    *splitter

	mu struct {
		sync.Mutex
		closed bool
		held   map[*hold]struct{}
	}
}

// hold is something that an answer holds until it has been sent.
type hold struct{ release func() }

// Read returns the first bytes first. Both gRPC and net/http have one reader for each connection.
func (c *connection) Read(b []byte) (int, error) {
	if len(c.spoken) > 0 {
		n := copy(b, c.spoken)
		c.spoken = c.spoken[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// Close closes the connection; closing again does nothing more. gRPC drops the answers that it has not sent without
// a word when a connection ends, so what they hold is released here.
func (c *connection) Close() error {
	c.wire.closing.Store(true)
	err := c.Conn.Close()
	c.mu.Lock()
	first := !c.mu.closed
	held := c.mu.held
	c.mu.closed, c.mu.held = true, nil
	c.mu.Unlock()
	if first {
		c.split.giveBack(addressOf(c.wire.RemoteAddr()))
	}
	for h := range held {
		h.release()
	}
	return err
}

// secure returns the state of TLS, and false for a connection without.
func (c *connection) secure() (tls.ConnectionState, bool) {
	conn, ok := c.Conn.(*tls.Conn)
	if !ok {
		return tls.ConnectionState{}, false
	}
	return conn.ConnectionState(), true
}

// RemoteAddr returns the client's address, through which handlers find the connection.
func (c *connection) RemoteAddr() net.Addr { return peerAddress{c.Conn.RemoteAddr(), c} }

// peerAddress is the address of a client with its connection.
type peerAddress struct {
	net.Addr
	connection *connection
}

// tie returns a function that releases what an answer to the call of ctx holds, and sees to it that the end of the
// connection releases it too; the first of both counts. A connection that did not come through a splitter cannot
// tell its end: what its answers hold is released now, and tie returns nil.
func tie(ctx context.Context, release func()) func() {
	p, ok := peer.FromContext(ctx)
	if !ok {
		release()
		return nil
	}
	address, ok := p.Addr.(peerAddress)
	if !ok {
		release()
		return nil
	}
	c, h := address.connection, &hold{release}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		release()
		return nil
	}
	if c.mu.held == nil {
		c.mu.held = make(map[*hold]struct{})
	}
	c.mu.held[h] = struct{}{}
	return func() { c.let(h) }
}

// let releases h unless the end of the connection has done so.
func (c *connection) let(h *hold) {
	c.mu.Lock()
	_, held := c.mu.held[h]
	delete(c.mu.held, h)
	c.mu.Unlock()
	if held {
		h.release()
	}
}
