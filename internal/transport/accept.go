package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.uber.org/zap"
)

// handshakeRecord is the first byte of every TLS handshake (RFC 8446, section 5.1).
const handshakeRecord = 0x16

// accept takes connections until l fails, and returns when all that came of them has ended.
func (t *Transport) accept(l net.Listener, secure *tls.Config, plain bool) error {
	for {
		conn, err := l.Accept()
		if err == nil {
			s := t.lobby.enter(conn)
			if s != nil {
				t.work.Go(func() { t.receive(s, secure, plain) })
			}
			continue
		}
		if t.ctx.Err() != nil {
			return nil
		}
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			return err
		}
		// Out of file descriptors, for example: some will be free again.
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.ctx.Done():
			return nil
		}
	}
}

// receive finds out who is there and serves him.
func (t *Transport) receive(s *stranger, secure *tls.Config, plain bool) {
	from := s.conn.RemoteAddr()
	_ = s.conn.SetDeadline(time.Now().Add(t.limits.HelloTimeout))
	conn, first, err := t.unwrap(s.conn, secure, plain)
	if err == nil && first != preface[0] {
		if !t.lobby.leave(s) {
			_ = conn.Close()
			return
		}
		_ = conn.SetDeadline(time.Time{})
		t.pages.take(&spoken{conn, []byte{first}})
		return
	}
	var h hello
	if err == nil {
		h, err = readHello(&spoken{conn, []byte{first}})
	}
	if !t.lobby.leave(s) {
		err = errors.New("it did not say who it is while others waited")
	}
	if err != nil {
		_ = s.conn.Close()
		t.reject(from, err)
		return
	}
	t.welcome(conn, h)
}

// unwrap makes the TLS handshake, if there is to be one, and reads the first byte of what follows.
func (t *Transport) unwrap(raw net.Conn, secure *tls.Config, plain bool) (conn net.Conn, first byte, err error) {
	var b [1]byte
	if _, err := io.ReadFull(raw, b[:]); err != nil {
		return nil, 0, err
	}
	if b[0] != handshakeRecord {
		if secure != nil && !plain {
			return nil, 0, errors.New("it speaks without TLS, where members need it; its peer URL for this member should begin with https://")
		}
		return raw, b[0], nil
	}
	if secure == nil {
		return nil, 0, errors.New("it speaks TLS, which this member does not here; its peer URL for this member should begin with http://")
	}
	server := tls.Server(&spoken{raw, b[:]}, secure)
	if err := server.HandshakeContext(t.ctx); err != nil {
		return nil, 0, fmt.Errorf("TLS: %w", err)
	}
	var inner [1]byte
	if _, err := io.ReadFull(server, inner[:]); err != nil {
		return nil, 0, err
	}
	return server, inner[0], nil
}

// spoken is a connection of which the first bytes were read already.
type spoken struct {
	net.Conn
	first []byte
}

func (s *spoken) Read(b []byte) (int, error) {
	if len(s.first) > 0 {
		n := copy(b, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	return s.Conn.Read(b)
}

func readHello(r io.Reader) (hello, error) {
	body, err := readSealed(r)
	if err != nil {
		return hello{}, err
	}
	return decodeHello(body)
}

// judge says what this member has against a hello.
func (t *Transport) judge(h hello) status {
	t.mu.Lock()
	removed := t.mu.removed[h.from]
	t.mu.Unlock()
	switch {
	case h.cluster != t.config.Identity.Cluster:
		return statusWrongCluster
	case removed:
		return statusRemoved
	case h.to != t.self || h.from == t.self:
		return statusWrongMember
	case h.max < protocolMin || h.min > protocolMax || h.class < ClassUrgent || h.class > ClassSnapshot:
		return statusVersion
	}
	return statusWelcome
}

// welcome answers a hello, and serves the connection if nothing is against it.
func (t *Transport) welcome(conn net.Conn, h hello) {
	defer conn.Close()
	w := welcome{status: t.judge(h), protocol: min(h.max, protocolMax), min: protocolMin, max: protocolMax,
		cluster: t.config.Identity.Cluster, member: t.self, versions: t.config.Hello}
	var p *peer
	if w.status == statusWelcome {
		if p = t.guest(h); p == nil {
			w.status = statusBusy
		}
	}
	_, err := conn.Write(w.encode())
	if w.status != statusWelcome {
		t.reject(conn.RemoteAddr(), fmt.Errorf("it says that it is member %v of cluster %v and calls member %v: %s", h.from, h.cluster, h.to, w.status))
		return
	}
	if err != nil {
		return
	}
	_ = conn.SetDeadline(time.Time{})
	p.met(h.versions)
	t.serve(conn, h, p)
}

func (s status) String() string {
	switch s {
	case statusWelcome:
		return "welcome"
	case statusRemoved:
		return "it was removed"
	case statusWrongCluster:
		return "that is another cluster"
	case statusWrongMember:
		return "that is not this member"
	case statusVersion:
		return "it speaks no version of the protocol that this member speaks"
	case statusBusy:
		return "too many members call that are not known here"
	}
	return "unknown"
}

// rejections keeps the log from being filled by strangers.
type rejections struct {
	since   time.Time
	logged  int
	skipped int
}

// Of the connections that are rejected in a minute, this many are logged.
const loggedRejections = 10

// reject logs why a connection was rejected.
func (t *Transport) reject(from net.Addr, err error) {
	if t.ctx.Err() != nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return // whoever only looks whether the port is open does not matter
	}
	t.mu.Lock()
	r := &t.mu.rejected
	if now := time.Now(); now.Sub(r.since) > time.Minute {
		*r = rejections{since: now, skipped: r.skipped}
	}
	if r.logged >= loggedRejections {
		r.skipped++
		t.mu.Unlock()
		return
	}
	r.logged++
	skipped := r.skipped
	r.skipped = 0
	t.mu.Unlock()
	t.log.Warn("rejected connection on the peer port", zap.Stringer("remote-addr", from), zap.Error(err), zap.Int("not-logged-before", skipped))
}
