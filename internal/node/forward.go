package node

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.uber.org/zap"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/transport"
)

// What a member sends ahead to the leader, undecided. It is less than a leader holds for a member, so that what waits,
// waits where its callers are, and in order.
const (
	maxForwarded      = maxGuestCount / 4
	maxForwardedBytes = maxGuestBytes / 2
)

// forwarding is what a follower's loop knows about its way to the leader.
type forwarding struct {
	number uint64 // of the last forward
	sent   time.Duration
	batch  []*proposal

	// After a refusal nothing is sent to that leader of that term until the time has come: it is about to hand over, or
	// does not lead any more.
	refusedBy   kind.MemberID
	refusedTerm kind.Term
	resumeAt    time.Duration
}

// forward sends the commands that wait to the leader. Those that come while others are under way gather until they are
// half as many: an answer is on its way then, which wakes the loop.
func (l *loopState) forward() {
	f := &l.forwarding
	leader, term := l.state.Leader, l.state.Term
	if leader == 0 || leader == l.Identity.Member || l.state.Role == raft.StateLeader {
		return
	}
	if f.refusedBy == leader && f.refusedTerm == term && l.now() < f.resumeAt {
		return
	}
	for {
		bound, bytes, waiting := l.queue.bound()
		if waiting == 0 || bound >= maxForwarded || bytes >= maxForwardedBytes || waiting*2 < bound && l.now()-f.sent < packWait {
			return
		}
		f.batch = l.queue.take(f.batch[:0], packBytes, term)
		if len(f.batch) == 0 {
			return
		}
		f.number++
		f.sent = l.now()
		size := command.EntryHeaderBytes + 32
		for _, p := range f.batch {
			size += command.CommandBytes(&p.command)
		}
		payload := appendForwardHeader(make([]byte, 0, size), term, f.number, len(f.batch))
		for _, p := range f.batch {
			payload = command.AppendCommand(payload, &p.command)
		}
		clear(f.batch)
		l.outgoing = append(l.outgoing, transport.Message{From: l.Identity.Member, To: leader, Kind: transport.KindForward, Payload: payload})
	}
}

// arrival is a forward that has come. Whether it is taken is decided when raft's view is fresh: one that is refused must
// not be taken later, should it come twice.
type arrival struct {
	forward
	from      kind.MemberID
	full      bool     // the inbox had no room for it; only its sequences are left
	sequences []uint64 // of one that is full
}

// arrive reads a forward. It returns false for what cannot be read.
func (n *Node) arrive(m transport.Message) (a arrival, ok bool) {
	f, err := decodeForward(m.Payload)
	if err != nil {
		n.Logger.Warn("commands of another member are dropped", zap.Stringer("member", m.From), zap.Error(err))
		return arrival{}, false
	}
	if name := f.commands[0].Origin.Member; name != m.From {
		n.Logger.Warn("commands are dropped that a member has sent in the name of another", zap.Stringer("member", m.From),
			zap.Stringer("name", name))
		return arrival{}, false
	}
	return arrival{forward: f, from: m.From}, true
}

// admit takes the commands of other members, if this one leads in their term.
func (l *loopState) admit() {
	for i := range l.arrived {
		a := &l.arrived[i]
		g := &l.guests
		leads := l.state.Role == raft.StateLeader && l.state.Term == a.term
		switch {
		case leads && g.term != a.term:
			g.begin(a.term)
		case !leads && g.term != a.term && a.term > max(g.term, l.born):
			l.refuse(a.from, reasonAgain, a.term, "", a.sequencesOf())
			continue
		case g.term != a.term:
			// This member has led since, or may have led in that term in an earlier life: a first copy may be in the log.
			continue
		}
		if !g.first(life{a.from, a.boot}, a.number) {
			continue
		}
		if !leads {
			l.refuse(a.from, reasonAgain, a.term, "", a.sequencesOf())
			continue
		}
		if a.full || !g.room(a.from) {
			l.refuse(a.from, reasonBusy, a.term, "", a.sequencesOf())
			continue
		}
		for i := range a.commands {
			c := &a.commands[i]
			switch {
			case len(c.Payload) > l.MaxRequestBytes:
				l.refuse(a.from, reasonText, a.term, ErrRequestTooLarge.Error(), []uint64{c.Origin.Sequence})
			case c.Kind == command.KindMemberChange:
				l.changes.add(a.term, *c)
			default:
				g.put(a.from, *c)
			}
		}
	}
	clear(l.arrived)
	l.arrived = l.arrived[:0]
}

func (a *arrival) sequencesOf() []uint64 {
	if a.full {
		return a.sequences
	}
	return a.forward.sequences()
}

// refuse tells a member, this one included, that its commands were certainly not appended.
func (l *loopState) refuse(to kind.MemberID, why reason, term kind.Term, text string, sequences []uint64) {
	if len(sequences) == 0 {
		return
	}
	slices.Sort(sequences)
	f := refusal{reason: why, term: term, text: text, sequences: sequences}
	if to == l.Identity.Member {
		l.refused(to, &f)
		return
	}
	l.outgoing = append(l.outgoing, transport.Message{From: l.Identity.Member, To: to, Kind: transport.KindRefused, Payload: appendRefusal(nil, &f)})
}

// refused decides about commands that a leader has certainly not appended.
func (l *loopState) refused(from kind.MemberID, f *refusal) {
	switch f.reason {
	case reasonAgain:
		l.queue.requeue(f.sequences, f.term)
		l.rest(from, f.term)
	case reasonBusy:
		l.Metrics.ProposalsFailed.Add(float64(l.queue.fail(f.sequences, f.term, ErrTooManyRequests)))
	case reasonText:
		l.Metrics.ProposalsFailed.Add(float64(l.queue.fail(f.sequences, f.term, refusalOf(f.text))))
	}
}

// rest has nothing sent to that leader for a tick, unless a new term begins before.
func (l *loopState) rest(leader kind.MemberID, term kind.Term) {
	l.forwarding.refusedBy, l.forwarding.refusedTerm, l.forwarding.resumeAt = leader, term, l.now()+l.TickInterval
}

// Unsent tells of forwards that were certainly never sent.
func (n *Node) Unsent(ms []transport.Message) {
	n.order(func(l *loopState) error {
		for _, m := range ms {
			f, err := decodeForward(m.Payload)
			if m.Kind != transport.KindForward || err != nil {
				continue
			}
			l.refused(m.To, &refusal{reason: reasonAgain, term: f.term, sequences: f.sequences()})
		}
		return nil
	})
}

// refuseDropped sees to it that the senders of commands for which the inbox had no room are told. Of the commands only
// the numbers are kept.
func (n *Node) refuseDropped(ms []transport.Message) {
	for _, m := range ms {
		if m.Kind != transport.KindForward {
			continue
		}
		if a, ok := n.arrive(m); ok {
			a.full, a.sequences, a.commands = true, a.forward.sequences(), nil
			n.order(func(l *loopState) error {
				l.arrived = append(l.arrived, a)
				return nil
			})
		}
	}
}

// vacate refuses what waits with this member and belongs to a term in which it leads no more.
func (l *loopState) vacate() {
	if l.guests.count > 0 {
		for _, lane := range l.guests.lanes {
			l.refuse(lane.member, reasonAgain, l.guests.term, "", sequencesOf(lane.waits))
		}
	}
	l.guests.leave()
}
