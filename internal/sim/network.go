package sim

import (
	"fmt"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/kind"
	"holdfast/internal/transport"
)

// network carries what members send each other, as package transport promises it and no better:
//
//	T1  Messages from one member to another arrive in order within a class, and the classes overtake each other.
//	T2  A message of raft's may be lost, or arrive twice; any other arrives at most once. A lost forward is reported as
//	    unsent only if it was never on its way.
//	T3  A cut, in one direction or in both, holds up what is on its way until it is mended, or loses it: at once, when
//	    connections are reset, or when it has lasted for deadAfter.
//	T4  Calls and snapshots fail when their connection breaks; a snapshot is taken up again where it was broken off.
type network struct {
	w *World

	mu struct {
		sync.Mutex
		links map[[2]int]*link // from and to, by the numbers of the hosts
	}
	lossPercent      int           // of raft's messages
	duplicatePercent int           // of raft's messages
	slow             time.Duration // a frame takes up to so much longer
}

// deadAfter is after how long without an answer a connection counts as broken.
const deadAfter = 3 * time.Second

// link is one direction between two hosts.
type link struct {
	from, to *host
	source   [transport.ClassSnapshot + 1]*source
	last     [transport.ClassSnapshot + 1]time.Duration // when the last frame of a class arrives
	cut      bool
	epoch    int           // grows when the connections break; what was on its way then is lost
	broken   bool          // and who sends knows it
	stuck    []*frame      // what a cut holds up
	calls    []*call       // that wait for an answer, or for a chunk to arrive
	told     time.Duration // when the sender was last told that raft's messages were lost
	up       time.Duration
}

func newNetwork(w *World) *network {
	n := &network{w: w}
	n.mu.links = map[[2]int]*link{}
	return n
}

func (n *network) link(from, to *host) *link {
	key := [2]int{from.number, to.number}
	if l := n.mu.links[key]; l != nil {
		return l
	}
	l := &link{from: from, to: to, told: -time.Hour}
	for c := transport.ClassUrgent; c <= transport.ClassSnapshot; c++ {
		l.source[c] = n.w.source(fmt.Sprintf("net %s>%s %v", from.name, to.name, c))
	}
	n.mu.links[key] = l
	return l
}

// travel draws how long a frame is on its way; no frame overtakes another of its class.
func (n *network) travel(l *link, c transport.Class) time.Duration {
	s := l.source[c]
	d := s.between(100*time.Microsecond, 3*time.Millisecond)
	if s.chance(2) {
		d += s.between(0, 40*time.Millisecond)
	}
	if n.slow > 0 {
		d += s.between(0, n.slow)
	}
	now := n.w.now()
	at := max(now+d, l.last[c]+1)
	l.last[c] = at
	return at - now
}

// frame is something on its way.
type frame struct {
	class  transport.Class
	what   string
	arrive func(to *life)
}

// carry lets arrive happen to the receiver's present life when a frame has travelled, unless the connection breaks.
func (n *network) carry(l *link, f *frame) {
	to, epoch := l.to.life, l.epoch
	l.source[f.class].after(n.travel(l, f.class), to, f.what, func() {
		n.mu.Lock()
		if epoch != l.epoch {
			n.mu.Unlock()
			return
		}
		if l.cut {
			l.stuck = append(l.stuck, f)
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()
		f.arrive(to)
	})
}

// usable reports whether something can be put on its way.
func (l *link) usable() bool { return !l.broken && l.to.life.listens() && l.from.life.listens() }

// port is one life's place in the network: its transport.
type port struct {
	n       *network
	life    *life
	sending map[kind.MemberID]bool // snapshots, under the network's lock

	mu struct {
		sync.Mutex
		peers   map[kind.MemberID]bool
		removed map[kind.MemberID]bool
	}
}

// SetPeers says whom to talk to and whom to turn away.
func (p *port) SetPeers(peers []transport.Peer, removed []kind.MemberID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.peers, p.mu.removed = map[kind.MemberID]bool{}, map[kind.MemberID]bool{}
	for _, peer := range peers {
		p.mu.peers[peer.ID] = true
	}
	for _, id := range removed {
		p.mu.removed[id] = true
	}
}

func (p *port) turnsAway(id kind.MemberID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.removed[id]
}

// Send puts messages on their way, those of a class to a member in one frame.
func (p *port) Send(ms []transport.Message) {
	type address struct {
		to    kind.MemberID
		class transport.Class
	}
	var order []address
	frames := map[address][]transport.Message{}
	for _, m := range ms {
		a := address{m.To, m.Class()}
		if frames[a] == nil {
			order = append(order, a)
		}
		frames[a] = append(frames[a], m)
	}
	for _, a := range order {
		p.send(a.to, a.class, frames[a])
	}
}

func (p *port) send(id kind.MemberID, class transport.Class, ms []transport.Message) {
	if p.life.over() {
		return
	}
	to := p.n.w.hostOf(id)
	if to == nil {
		p.unsent(class, id, ms)
		return
	}
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	l := p.n.link(p.life.host, to)
	if !l.usable() {
		p.unsent(class, id, ms)
		p.unreachable(l, id)
		return
	}
	s := l.source[class]
	var kept []transport.Message
	for _, m := range ms {
		if m.Kind == transport.KindRaft && s.chance(p.n.lossPercent) {
			p.n.w.count("lost messages")
			if s.chance(50) {
				p.unreachable(l, id)
			}
			continue
		}
		kept = append(kept, m)
	}
	if len(kept) == 0 {
		return
	}
	p.put(l, class, kept)
	if class == transport.ClassUrgent && s.chance(p.n.duplicatePercent) {
		var again []transport.Message
		for _, m := range kept {
			if m.Kind == transport.KindRaft {
				again = append(again, m)
			}
		}
		p.n.w.count("doubled messages")
		p.put(l, class, again)
	}
}

func (p *port) put(l *link, class transport.Class, ms []transport.Message) {
	if len(ms) == 0 {
		return
	}
	copied := make([]transport.Message, len(ms))
	for i, m := range ms {
		copied[i] = m
		if m.Raft != nil {
			copied[i].Raft = proto.Clone(m.Raft).(*raftpb.Message)
		}
		copied[i].Payload = append([]byte(nil), m.Payload...)
	}
	p.n.w.observe(ms)
	p.n.carry(l, &frame{class, describe(ms), func(to *life) {
		if to.port.turnsAway(p.life.host.id) {
			p.refuse(to.host.id, transport.ErrRemoved)
			return
		}
		to.handler().Receive(copied)
	}})
}

// refuse lets the sender know, a moment later, that it is not talked to.
func (p *port) refuse(by kind.MemberID, why error) {
	p.later("refused", func() { p.life.handler().Refused(by, why) })
}

// later has something happen to who sends.
func (p *port) later(what string, do func()) {
	s := p.n.w.source("net " + p.life.host.name)
	s.after(s.between(time.Millisecond, 20*time.Millisecond), p.life, what, do)
}

// unsent reports the forwards among ms.
func (p *port) unsent(class transport.Class, to kind.MemberID, ms []transport.Message) {
	var forwards []transport.Message
	for _, m := range ms {
		if m.Kind == transport.KindForward {
			forwards = append(forwards, m)
		}
	}
	if len(forwards) > 0 {
		p.later("unsent", func() { p.life.handler().Unsent(forwards) })
	}
}

// unreachable tells that raft's messages were lost, ten times a second at most.
func (p *port) unreachable(l *link, id kind.MemberID) {
	if p.n.w.now()-l.told < 100*time.Millisecond {
		return
	}
	l.told = p.n.w.now()
	p.later("unreachable", func() { p.life.handler().Unreachable(id) })
}

// Active reports whether a peer is connected both ways.
func (p *port) Active(id kind.MemberID) (since time.Time, ok bool) {
	to := p.n.w.hostOf(id)
	if to == nil {
		return time.Time{}, false
	}
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	there, back := p.n.link(p.life.host, to), p.n.link(to, p.life.host)
	if !there.usable() || !back.usable() {
		return time.Time{}, false
	}
	return p.n.w.began.Add(max(there.up, back.up, to.life.since, p.life.since)), true
}

// Hello returns what a peer says of its versions.
func (p *port) Hello(id kind.MemberID) (transport.Hello, bool) {
	to := p.n.w.hostOf(id)
	if to == nil || to.lives == 0 {
		return transport.Hello{}, false
	}
	return to.hello, true
}

// cutLink cuts one direction. With reset its connections break at once, otherwise after deadAfter.
func (n *network) cutLink(from, to *host, reset bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(from, to)
	if l.cut {
		return
	}
	l.cut = true
	if reset {
		n.breakLink(l)
		return
	}
	epoch := l.epoch
	l.source[transport.ClassCall].after(deadAfter, nil, "dead", func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if l.cut && l.epoch == epoch {
			n.breakLink(l)
		}
	})
}

// breakLink loses what is on its way.
func (n *network) breakLink(l *link) {
	l.epoch++
	l.broken = true
	l.stuck = nil
	for _, c := range l.calls {
		c.end(nil, transport.ErrLost)
	}
	l.calls = nil
	if from := l.from.life; from.listens() {
		id := l.to.id
		from.port.later("unreachable", func() { from.handler().Unreachable(id) })
	}
}

// breakBoth breaks the connections of two hosts, which can be made again at once unless they are cut.
func (n *network) breakBoth(there, back *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range []*link{there, back} {
		was := l.broken
		n.breakLink(l)
		l.broken = was
		l.up = n.w.now()
	}
}

// mendLink heals one direction. What a cut has held up goes on if the connection still stands.
func (n *network) mendLink(from, to *host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(from, to)
	if !l.cut {
		return
	}
	l.cut = false
	stuck := l.stuck
	l.stuck = nil
	if l.broken {
		l.broken = false
		l.up = n.w.now()
	}
	for _, f := range stuck {
		n.carry(l, f)
	}
}

// reset breaks all connections of a host, whose process has ended; they can be made again at once.
func (n *network) reset(h *host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.w.hosts {
		if other == h {
			continue
		}
		for _, l := range []*link{n.link(h, other), n.link(other, h)} {
			was := l.broken
			n.breakLink(l)
			l.broken = was && l.cut
			l.up = n.w.now()
		}
	}
}
