package transport

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/kind"
)

// peer is another member: where it can be reached, the links to it, and what is known of it.
type peer struct {
	t       *Transport
	id      kind.MemberID
	metrics peerMetrics
	ctx     context.Context // ends when the peer is forgotten
	cancel  context.CancelFunc

	urgent, data *messageLink
	calls        *callLink

	mu struct {
		sync.Mutex
		urls   []string
		guest  bool // SetPeers has not named it: it has called by itself
		fading bool // SetPeers no longer names it: it gets what waits for it, and nothing more

		hello      Hello
		hasHello   bool
		outbound   bool      // the urgent link is up
		answered   time.Time // when the last probe on it was answered
		inbound    int       // urgent connections from the peer
		active     bool
		since      time.Time
		clock      clock
		complained string    // the last complaint about the peer that was logged
		complainAt time.Time // and when
		sending    bool      // a snapshot
		unseen     time.Time // when a guest was last connected
	}
}

func (t *Transport) newPeer(id kind.MemberID, urls []string, guest bool) *peer {
	p := &peer{t: t, id: id, metrics: t.metrics.of(id)}
	p.ctx, p.cancel = context.WithCancel(t.ctx)
	p.mu.urls, p.mu.guest = slices.Clone(urls), guest
	p.mu.unseen = time.Now()
	if !guest {
		p.metrics.known.Set(1)
	}
	p.metrics.active.Set(0)
	p.urgent = newMessageLink(p, ClassUrgent, t.limits.UrgentQueueBytes)
	p.data = newMessageLink(p, ClassData, t.limits.DataQueueBytes)
	p.calls = newCallLink(p)
	for _, l := range []*link{&p.urgent.link, &p.data.link, &p.calls.link} {
		t.work.Go(func() { l.run(p.ctx) })
	}
	return p
}

// link returns the link that a class of messages takes.
func (p *peer) link(c Class) *messageLink {
	if c == ClassUrgent {
		return p.urgent
	}
	return p.data
}

func (p *peer) urls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.urls
}

// update changes where the peer can be reached, and makes it one that SetPeers has named.
func (p *peer) update(urls []string) {
	p.mu.Lock()
	p.mu.guest = false
	changed := !slices.Equal(p.mu.urls, urls)
	if changed {
		p.mu.urls = slices.Clone(urls)
	}
	p.mu.Unlock()
	p.metrics.known.Set(1)
	if changed {
		p.tryNow()
	}
}

// tryNow ends the pause of the links that wait before they try again.
func (p *peer) tryNow() {
	for _, l := range []*link{&p.urgent.link, &p.data.link, &p.calls.link} {
		signal(l.kick)
	}
}

// met notes what the peer has told of its versions.
func (p *peer) met(h Hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.hello, p.mu.hasHello = h, true
}

// up notes that the urgent link is connected, or is no longer.
func (p *peer) up(connected bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.outbound = connected
	if !connected {
		p.mu.answered = time.Time{}
	}
	p.judge()
}

// answers notes that a probe on the urgent link was answered: at wall by the peer's clock, sent at sent by ours.
func (p *peer) answers(sent time.Time, roundTrip time.Duration, wall time.Time) {
	p.metrics.roundTrip.Observe(roundTrip.Seconds())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.answered = time.Now()
	p.mu.clock.add(wall.Sub(sent.Add(roundTrip/2)), roundTrip)
	p.judge()
}

// calledBy notes that the peer has opened an urgent connection (1), or that one has ended (-1).
func (p *peer) calledBy(n int) {
	p.mu.Lock()
	p.mu.inbound += n
	p.mu.unseen = time.Now()
	p.judge()
	p.mu.Unlock()
	if n > 0 {
		p.tryNow() // it is there, so it can probably be reached
	}
}

// judge finds out whether the peer is active. Its caller holds mu.
func (p *peer) judge() {
	active := p.mu.outbound && !p.mu.answered.IsZero() && p.mu.inbound > 0
	if active == p.mu.active {
		return
	}
	p.mu.active = active
	id := zap.Stringer("peer-id", p.id)
	if active {
		p.mu.since = time.Now()
		p.mu.complained = ""
		p.metrics.active.Set(1)
		p.t.log.Info("peer became active", id)
		return
	}
	p.metrics.active.Set(0)
	p.metrics.disconnected.Inc()
	p.t.log.Warn("peer became inactive", id)
}

func (p *peer) activeSince() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mu.active || time.Since(p.mu.answered) > p.t.limits.DeadAfter {
		return time.Time{}, false
	}
	return p.mu.since, true
}

// complainAgain is how long the log is spared a complaint that it has had.
const complainAgain = time.Minute

// complain logs why the peer cannot be talked to, if that is news.
func (p *peer) complain(err error) {
	now := time.Now()
	text := err.Error()
	p.mu.Lock()
	news := text != p.mu.complained || now.Sub(p.mu.complainAt) > complainAgain
	if news {
		p.mu.complained, p.mu.complainAt = text, now
	}
	p.mu.Unlock()
	if news && p.ctx.Err() == nil {
		p.t.log.Warn("a peer cannot be reached; trying again", zap.Stringer("peer-id", p.id), zap.Error(err))
	}
}

// fade gives what waits for the peer a last chance and forgets it; then ended is called.
func (p *peer) fade(ended func()) {
	p.mu.Lock()
	p.mu.fading = true
	p.mu.Unlock()
	p.t.work.Go(func() {
		deadline := time.NewTimer(p.t.limits.LastWords)
		defer deadline.Stop()
		select {
		case <-deadline.C:
		case <-p.ctx.Done():
		}
		p.cancel()
		p.metrics.known.Set(0)
		ended()
	})
}

// guestPatience is how long a guest may stay away before it is forgotten.
const guestPatience = time.Minute

// isGone reports whether the peer is a guest that has stayed away.
func (p *peer) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.guest && p.mu.inbound == 0 && time.Since(p.mu.unseen) > guestPatience
}
