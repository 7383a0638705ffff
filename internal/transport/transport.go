package transport

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
)

// Transport talks to the other members. All methods may be called from any goroutine.
type Transport struct {
	config   Config
	limits   Limits
	self     kind.MemberID
	log      *zap.Logger
	metrics  *metrics
	notifier *notifier
	rate     *bucket
	lobby    *lobby
	pages    *pages
	dialer   func(ctx context.Context, network, address string) (net.Conn, error)
	wall     func() time.Time

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	h     atomic.Pointer[Handler]
	peers atomic.Pointer[map[kind.MemberID]*peer] // changed under mu, by replacing it

	send struct {
		sync.Mutex
		touched []*messageLink // of the Send that is under way; empty between two
	}

	mu struct {
		sync.Mutex
		started   bool
		closed    bool
		urls      []string // this member's
		removed   map[kind.MemberID]bool
		listeners []net.Listener
		inbound   map[inboundKey]*inbound
		transfers map[kind.MemberID]*transfer
		finished  map[kind.MemberID]uint64 // the last snapshot that was received whole, by its sender
		rejected  rejections
	}
}

// New returns a Transport that does nothing before SetPeers and Serve.
func New(c Config) *Transport {
	t := &Transport{
		config:   c,
		limits:   c.Limits.withDefaults(),
		self:     c.Identity.Member,
		log:      c.Logger,
		metrics:  newMetrics(c.Identity.Member, c.Registerer),
		notifier: newNotifier(),
		rate:     newBucket(c.SnapshotBytesPerSecond),
		dialer:   c.Dial,
		wall:     c.Wall,
	}
	if t.log == nil {
		t.log = zap.NewNop()
	}
	if t.dialer == nil {
		t.dialer = dialDefault
	}
	if t.wall == nil {
		t.wall = time.Now
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.lobby = newLobby(t.limits.Strangers)
	t.pages = newPages(t)
	t.peers.Store(&map[kind.MemberID]*peer{})
	t.mu.urls = c.URLs
	t.mu.removed = map[kind.MemberID]bool{}
	t.mu.inbound = map[inboundKey]*inbound{}
	t.mu.transfers = map[kind.MemberID]*transfer{}
	t.mu.finished = map[kind.MemberID]uint64{}
	if c.Handler != nil {
		t.SetHandler(c.Handler)
	}
	return t
}

// SetHandler sets the handler. It is called once at most, before SetPeers, Serve and Send, if Config has none.
func (t *Transport) SetHandler(h Handler) {
	invariant.Check(h != nil && t.h.CompareAndSwap(nil, &h), "the peer transport gets one handler")
}

func (t *Transport) handler() Handler { return *t.h.Load() }

// start starts what runs for as long as the Transport does. Its caller holds mu.
func (t *Transport) start() {
	if t.mu.started {
		return
	}
	invariant.Check(t.h.Load() != nil, "the peer transport is used before its handler is set")
	t.mu.started = true
	t.work.Go(func() { t.notifier.run(t.ctx, t.handler) })
	t.work.Go(t.pages.serve)
}

// SetPeers says whom to talk to, and whom to turn away because they were removed. Both lists are complete: a peer that
// is no longer named is given a little time to take what waits for it, and is then forgotten. This member itself may be
// among the peers. Calling it again with the same lists changes nothing.
func (t *Transport) SetPeers(peers []Peer, removed []kind.MemberID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.closed {
		return
	}
	t.start()
	next := maps.Clone(*t.peers.Load())
	named := map[kind.MemberID]bool{}
	t.mu.removed = map[kind.MemberID]bool{}
	for _, id := range removed {
		t.mu.removed[id] = true
	}
	for _, p := range peers {
		if p.ID == t.self {
			if len(p.URLs) > 0 {
				t.mu.urls = slices.Clone(p.URLs)
			}
			continue
		}
		if t.mu.removed[p.ID] {
			continue
		}
		named[p.ID] = true
		if known := next[p.ID]; known != nil {
			known.update(p.URLs)
		} else {
			next[p.ID] = t.newPeer(p.ID, p.URLs, false)
		}
	}
	for id, p := range next {
		p.mu.Lock()
		guest := p.mu.guest
		p.mu.Unlock()
		if named[id] || guest && !t.mu.removed[id] {
			continue
		}
		delete(next, id)
		p.fade(func() { t.turnAway(id) })
	}
	t.peers.Store(&next)
}

// turnAway breaks the connections that a member has opened which is a peer no more.
func (t *Transport) turnAway(id kind.MemberID) {
	t.mu.Lock()
	removed := t.mu.removed[id]
	var open []*inbound
	for key, in := range t.mu.inbound {
		if key.from == id && (*t.peers.Load())[id] == nil {
			open = append(open, in)
		}
	}
	t.mu.Unlock()
	for _, in := range open {
		if removed {
			in.say(frame(frameBye, byte(statusRemoved)))
		}
		_ = in.conn.Close()
	}
}

// guest returns the peer with that id; one that SetPeers has not named, but that has called and belongs to the cluster,
// becomes a guest, so that it can be answered: it may have been added while this member was away (Raft thesis, section
// 4.2.1). It returns nil if there are too many guests.
func (t *Transport) guest(h hello) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := (*t.peers.Load())[h.from]; p != nil || t.mu.closed || t.mu.removed[h.from] {
		return p
	}
	guests := 0
	for _, p := range *t.peers.Load() {
		p.mu.Lock()
		if p.mu.guest {
			guests++
		}
		p.mu.Unlock()
	}
	if guests >= t.limits.Guests {
		return nil
	}
	t.start()
	next := maps.Clone(*t.peers.Load())
	p := t.newPeer(h.from, h.urls, true)
	next[h.from] = p
	t.peers.Store(&next)
	t.log.Info("a member has called that is not known yet", zap.Stringer("peer-id", h.from), zap.Strings("urls", h.urls))
	return p
}

// forgetGuest forgets a guest that has stayed away.
func (t *Transport) forgetGuest(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if (*t.peers.Load())[p.id] != p || !p.isGone() {
		return
	}
	next := maps.Clone(*t.peers.Load())
	delete(next, p.id)
	t.peers.Store(&next)
	p.metrics.known.Set(0)
	p.cancel()
}

// Send sends messages, each to the member that it names. It does not block and cannot fail (P1); messages to this
// member itself or to a member that is no peer are dropped, forwards among them reported as unsent. A raft message that
// is not for another member, or MsgSnap, is a bug of the caller's.
func (t *Transport) Send(ms []Message) {
	for i := range ms {
		m := &ms[i]
		if m.Kind == KindRaft && !mayTravel(m.Raft.GetType()) {
			invariant.Check(false, "a raft message of the type %v was given to Send", m.Raft.GetType())
		}
	}
	peers := *t.peers.Load()
	t.send.Lock()
	defer t.send.Unlock()
	for i := range ms {
		m := &ms[i]
		p := peers[m.To]
		if p == nil {
			t.notifier.dropped(*m)
			continue
		}
		l := p.link(m.Class())
		if len(m.Raft.GetEntries()) > maxFrameEntries || m.size() > t.limits.MaxMessageBytes {
			t.log.Error("a message is larger than members may send each other, and is dropped",
				zap.Stringer("peer-id", m.To), zap.Stringer("kind", m.Kind), zap.Int("bytes", m.size()))
			l.drop(*m)
			continue
		}
		if !l.queued.touched {
			// The locks of several queues are held at a time by the holder of send only. They keep the writers from
			// parting the messages of this Send (P3).
			l.queued.Lock()
			l.queued.touched = true
			t.send.touched = append(t.send.touched, l)
		}
		l.push(m)
	}
	for i, l := range t.send.touched {
		l.queued.touched = false
		l.queued.closeSend()
		l.queued.Unlock()
		signal(l.wake)
		t.send.touched[i] = nil
	}
	t.send.touched = t.send.touched[:0]
}

func (t *Transport) peer(id kind.MemberID) *peer { return (*t.peers.Load())[id] }

// Active reports whether a peer is connected both ways and answers, and since when.
func (t *Transport) Active(id kind.MemberID) (since time.Time, ok bool) {
	if p := t.peer(id); p != nil {
		return p.activeSince()
	}
	return time.Time{}, false
}

// Hello returns what a peer has told of its versions when it was last connected, in either direction.
func (t *Transport) Hello(id kind.MemberID) (h Hello, ok bool) {
	p := t.peer(id)
	if p == nil {
		return Hello{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.hello, p.mu.hasHello
}

// ClockOffset returns how far the wall clock of a peer is ahead of this member's, and the round trip of the probe that
// measured it: the offset is right to within half of it. ok is false while nothing was measured.
func (t *Transport) ClockOffset(id kind.MemberID) (offset, roundTrip time.Duration, ok bool) {
	p := t.peer(id)
	if p == nil {
		return 0, 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	best, ok := p.mu.clock.best()
	return best.offset, best.roundTrip, ok
}

// SetSnapshotRate changes Config.SnapshotBytesPerSecond; it counts at once.
func (t *Transport) SetSnapshotRate(bytesPerSecond int64) { t.rate.set(bytesPerSecond) }

// Close breaks all connections, stops everything (P7), and closes the listeners that are served. What waits is dropped.
// It must not be called by the Handler.
func (t *Transport) Close() {
	t.mu.Lock()
	t.mu.closed = true
	t.cancel()
	for _, l := range t.mu.listeners {
		_ = l.Close()
	}
	open := slices.Collect(maps.Values(t.mu.inbound))
	t.mu.Unlock()
	for _, in := range open {
		_ = in.conn.Close()
	}
	t.lobby.close()
	t.pages.close()
	t.work.Wait()
	t.abortTransfers(ErrClosed)
}

// Serve takes the connections of peers at l until Close, and closes it. They speak TLS as secure says, and do without
// only if plain is true; secure may be nil. Besides, HTTP/1.1 is answered there. The error is that of l, and nil after
// Close.
func (t *Transport) Serve(l net.Listener, secure *tls.Config, plain bool) error {
	t.mu.Lock()
	if t.mu.closed {
		t.mu.Unlock()
		_ = l.Close()
		return nil
	}
	t.start()
	t.mu.listeners = append(t.mu.listeners, l)
	t.work.Add(1)
	t.mu.Unlock()
	defer t.work.Done()
	defer l.Close()
	return t.accept(l, secure, plain)
}
