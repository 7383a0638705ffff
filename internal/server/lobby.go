package server

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A lobby holds the connections that have not said yet what they want: those whose TLS handshake is not finished, and
// those whose first bytes have not come.
//
//	L1  It never holds more than room connections, nor more than share of one address.
//	L2  When it is full for a newcomer, the one that keeps us waiting the longest has to go, once our
//	    patience is at its end. One that waits for us never has to go, so that a rush of honest clients only queues.
//	L3  The work of handshakes, which clients can cause cheaply, is done for as many at a time as there are processors:
//	    the others wait their turn, and calls under way keep theirs.
type lobby struct {
	room, share int
	turns       chan struct{} // a token for each handshake that is being worked on

	left chan struct{} // gets a token when a guest has left or waits; it holds one

	mu struct {
		sync.Mutex
		closed   bool
		patience time.Duration
		guests   int
		of       map[netip.Addr]int // guests by address
		waiting  list.List          // of *guest, those that we wait for, the longest waiting first
	}
}

// guest is a connection in a lobby.
type guest struct {
	conn net.Conn   // the bare one, whose closing waits for nobody
	from netip.Addr // invalid for a client without an IP address

	// The rest is guarded by the lobby's lock.
	answered bool          // its client got an answer in the handshake
	since    time.Time     // when the present wait began
	entry    *list.Element // in waiting, or nil when it is its turn
	outside  bool          // it has left or was shown out
}

// Bounds of how long a client may keep us waiting while others want its place; one that has been answered gets at
// least answeredPatience. Patience shrinks with each one that is shown out and grows with each that makes up its mind:
// in a rush of honest clients, which make each other slow, hardly anybody is shown out, and silent ones in great
// number are soon.
const (
	leastPatience    = 20 * time.Millisecond
	answeredPatience = 500 * time.Millisecond
	mostPatience     = 2 * time.Second
)

func newLobby(room, share, workers int) *lobby {
	l := &lobby{room: room, share: share, turns: make(chan struct{}, workers), left: make(chan struct{}, 1)}
	l.mu.patience = mostPatience
	l.mu.of = map[netip.Addr]int{}
	return l
}

// enter lets in a connection, which is given bare. It may have to wait, until done is closed at the longest; it returns nil then, or when the lobby
// is closed.
func (l *lobby) enter(conn net.Conn, done <-chan struct{}) *guest {
	g := &guest{conn: conn, from: addressOf(conn.RemoteAddr())}
	for {
		in, open := l.tryEnter(g)
		if in {
			return g
		}
		if !open {
			return nil
		}
		again := time.NewTimer(leastPatience)
		select {
		case <-l.left:
		case <-again.C:
		case <-done:
			again.Stop()
			return nil
		}
		again.Stop()
	}
}

func (l *lobby) tryEnter(g *guest) (in, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return false, false
	}
	now := time.Now()
	if g.from.IsValid() && l.mu.of[g.from] >= l.share && !l.showOut(now, g.from) {
		return false, true
	}
	if l.mu.guests >= l.room && !l.showOut(now, netip.Addr{}) {
		return false, true
	}
	l.mu.guests++
	l.mu.of[g.from]++
	g.since = now
	g.entry = l.mu.waiting.PushBack(g)
	return true, true
}

// showOut closes the connection that has kept us waiting the longest, of the given address if it is valid. It reports
// whether there was one that may be shown out.
func (l *lobby) showOut(now time.Time, of netip.Addr) bool {
	for e := l.mu.waiting.Front(); e != nil; e = e.Next() {
		g := e.Value.(*guest)
		if of.IsValid() && g.from != of || now.Sub(g.since) < l.patience(g) {
			continue
		}
		l.forget(g)
		l.mu.patience = max(l.mu.patience/2, leastPatience)
		_ = g.conn.Close() // its own goroutine sees it closed and ends
		return true
	}
	return false
}

// patience is how long g may keep us waiting while others want its place.
func (l *lobby) patience(g *guest) time.Duration {
	if g.answered {
		return max(l.mu.patience, answeredPatience)
	}
	return l.mu.patience
}

// forget takes g off the books.
func (l *lobby) forget(g *guest) {
	if g.outside {
		return
	}
	g.outside = true
	if g.entry != nil {
		l.mu.waiting.Remove(g.entry)
		g.entry = nil
	}
	l.mu.guests--
	if l.mu.of[g.from]--; l.mu.of[g.from] == 0 {
		delete(l.mu.of, g.from)
	}
}

// leave is called when g is no longer undecided; decided says that it is clear what it wants. It reports whether g had
// been shown out before.
func (l *lobby) leave(g *guest, decided bool) (shownOut bool) {
	l.mu.Lock()
	shownOut = g.outside
	if decided {
		l.mu.patience = min(l.mu.patience+l.mu.patience/4, mostPatience)
	}
	l.forget(g)
	l.mu.Unlock()
	l.tell()
	return shownOut
}

// tell wakes who waits to enter.
func (l *lobby) tell() {
	select {
	case l.left <- struct{}{}:
	default:
	}
}

// answered notes that g's client has said enough to be answered, which has cost us more than it.
func (l *lobby) answered(g *guest) {
	l.mu.Lock()
	g.answered = true
	l.mu.Unlock()
}

// turn ends a wait for g's client, which has said something, and returns when the work for it may be done.
func (l *lobby) turn(g *guest) {
	l.mu.Lock()
	if g.entry != nil {
		l.mu.waiting.Remove(g.entry)
		g.entry = nil
	}
	l.mu.Unlock()
	l.turns <- struct{}{}
}

// wait ends g's turn: its client has to say something first.
func (l *lobby) wait(g *guest) {
	<-l.turns
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		_ = g.conn.Close()
		return
	}
	if !g.outside {
		g.since = time.Now()
		g.entry = l.mu.waiting.PushBack(g)
	}
}

// close shows everybody out, and lets nobody in any more.
func (l *lobby) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.closed = true
	for e := l.mu.waiting.Front(); e != nil; e = e.Next() {
		_ = e.Value.(*guest).conn.Close()
	}
}

// addressOf returns the IP address of a client; of IPv6 the first 64 bits, for a client has all the others. It is
// invalid for clients without one.
func addressOf(client net.Addr) netip.Addr {
	tcp, ok := client.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(tcp.IP)
	if !ok {
		return netip.Addr{}
	}
	if a = a.Unmap(); a.Is6() {
		prefix, err := a.Prefix(64)
		if err != nil {
			return netip.Addr{}
		}
		return prefix.Addr()
	}
	return a
}
