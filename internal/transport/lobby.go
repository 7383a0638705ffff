package transport

import (
	"net"
	"net/netip"
	"sync"
)

// lobby holds the connections that have not said yet who they are. When it is full, the one that has waited longest of
// the address that has most there is shown out, so that a stranger who opens many keeps only himself waiting.
type lobby struct {
	room int

	mu struct {
		sync.Mutex
		guests []*stranger // oldest first
		closed bool
	}
}

type stranger struct {
	conn  net.Conn
	from  netip.Addr
	shown bool // out
}

func newLobby(room int) *lobby { return &lobby{room: room} }

// enter lets a connection in; it returns nil, and closes the connection, once the lobby is closed.
func (l *lobby) enter(conn net.Conn) *stranger {
	s := &stranger{conn: conn, from: hostOf(conn.RemoteAddr())}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		_ = conn.Close()
		return nil
	}
	if len(l.mu.guests) >= l.room {
		l.showOut()
	}
	l.mu.guests = append(l.mu.guests, s)
	return s
}

// showOut makes room for one. Its caller holds mu.
func (l *lobby) showOut() {
	count := map[netip.Addr]int{}
	most := 0
	for _, s := range l.mu.guests {
		count[s.from]++
		most = max(most, count[s.from])
	}
	for i, s := range l.mu.guests {
		if count[s.from] == most {
			s.shown = true
			_ = s.conn.Close()
			l.mu.guests = append(l.mu.guests[:i], l.mu.guests[i+1:]...)
			return
		}
	}
}

// leave lets a connection go on, and reports false if it was shown out before.
func (l *lobby) leave(s *stranger) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, other := range l.mu.guests {
		if other == s {
			l.mu.guests = append(l.mu.guests[:i], l.mu.guests[i+1:]...)
			break
		}
	}
	return !s.shown
}

// close shows everybody out, and whoever comes later.
func (l *lobby) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.closed = true
	for _, s := range l.mu.guests {
		_ = s.conn.Close()
	}
}

// hostOf returns the IP address of a, or none.
func hostOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}
