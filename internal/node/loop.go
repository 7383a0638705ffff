package node

import (
	"errors"
	"time"

	"go.etcd.io/raft/v3"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/replica"
	"holdfast/internal/transport"
)

// packBytes is how many bytes of commands make one entry (a larger command is an entry of its own), and how
// many must wait before an entry is made although the log is still busy with the one before.
const packBytes = 1 << 20

// packWait is how long commands wait for a busy log before they are packed all the same, so that followers hear
// of them although this member's disk stalls.
const packWait = 20 * time.Millisecond

// maxAppending is how many appends may be with the writer before packing waits for one to finish.
const maxAppending = 16

// leading is what a leader knows about its term of office. Its duties begin once it has applied the first entry of
// its own term, because only then does it know where cluster time stands.
type leading struct {
	term  kind.Term
	began bool
	at    kind.Index    // of the last entry that was applied then
	base  uint64        // cluster time, in nanoseconds, at
	since time.Duration // this moment of the node's time
}

// loopState is what only the loop touches.
type loopState struct {
	*Node
	state     replica.State
	appending int           // appends that the writer has not finished
	packed    time.Duration // when an entry was last made
	batch     []*proposal
	fellows   []command.Command // of other members, packed with them
	sequences []uint64          // of batch
	finished  []replica.Work
	orders    []func(*loopState) error
	urgent    []transport.Message
	data      []transport.Message
	outgoing  []transport.Message // handed to the transport at the end of a dispatch

	forwarding forwarding
	arrived    []arrival
	guests     guests
	changes    changes

	progress  []replica.Follower
	heard     map[kind.MemberID]time.Duration // when a follower was last known to be active
	readiness readiness

	born     kind.Term // in terms up to this an earlier life of the member may have led
	started  time.Duration
	ticked   time.Duration // when the last tick was
	advanced bool          // the first election was brought forward, or need not be
	elected  time.Duration // when a leader became known last; 0 before
	failing  bool          // nothing is appended or applied any more

	adopting kind.Position // of the last snapshot that raft has taken

	leave   time.Duration // when the member stops because it was removed; 0 if it was not
	leaving error         // and why
}

// runLoop owns the replica.
func (n *Node) runLoop() {
	l := &loopState{Node: n, state: n.Replica.State(), started: n.now(), advanced: !n.InitialElectionTickAdvance}
	l.readiness.floor, l.readiness.alone, l.born = l.state.Commit, l.started, l.state.Term
	ticker := n.Clock.NewTicker(n.TickInterval)
	defer ticker.Stop()
	if l.state.SoleVoter {
		if err := n.Replica.Campaign(); err != nil {
			n.Fail(err)
			return
		}
	}
	for {
		if err := l.turn(); err != nil {
			n.Fail(err)
			return
		}
		select {
		case <-ticker.C(): // before everything else, however much else there is
			l.tick()
			continue
		default:
		}
		if l.leave > 0 && l.now() >= l.leave {
			n.Fail(l.leaving)
			return
		}
		select {
		case <-n.stop:
			return
		case <-n.failed:
			l.abdicate(ticker.C())
			return
		case <-ticker.C():
			l.tick()
		case <-n.loop.wake:
		}
	}
}

// tick is one tick of the clock.
func (l *loopState) tick() {
	now := l.now()
	if l.state.Role == raft.StateLeader && l.ticked > 0 && now-l.ticked > 2*l.TickInterval {
		l.Metrics.heartbeatsLost.Inc()
	}
	l.ticked = now
	l.Replica.Tick()
	l.publishFollowers()
	l.advance()
	l.stalled()
	l.resign()
	if l.knowsIndex() {
		l.Metrics.readsSlow.Add(float64(l.reads.retry(l.now(), l.Replica.ReadIndex)))
	}
	if expired := l.queue.expire(l.now(), l.timeoutError); expired > 0 {
		l.Metrics.ProposalsFailed.Add(float64(expired))
	}
}

// turn does everything that can be done now. Messages that keep a leader in office come before data, and data before
// new proposals.
func (l *loopState) turn() error {
	var more bool
	l.urgent, l.data, more = l.inbox.take(l.urgent, l.data)
	if more {
		l.loop.ring()
	}
	for _, m := range l.urgent {
		if err := l.receive(m); err != nil {
			return err
		}
	}
	l.orders = l.ordered.take(l.orders)
	for _, do := range l.orders {
		if err := do(l); err != nil {
			return err
		}
	}
	l.finished = l.loop.take(l.finished)
	for _, w := range l.finished {
		switch w := w.(type) {
		case *replica.Append:
			l.appending--
		case *replica.Configure:
			l.changes.configuring--
			l.changes.applied = kind.Index(w.Entry.GetIndex())
			l.changes.proposed = 0
		}
		if err := l.Replica.Done(w); err != nil {
			return err
		}
	}
	for _, m := range l.data {
		if err := l.receive(m); err != nil {
			return err
		}
	}
	if err := l.dispatch(); err != nil {
		return err
	}
	l.observe()
	if l.guests.term != 0 && !l.guests.over && (l.state.Role != raft.StateLeader || l.guests.term != l.state.Term) {
		l.vacate()
	}
	l.admit()
	if err := l.propose(); err != nil {
		return err
	}
	if l.knowsIndex() {
		l.reads.ask(l.now(), l.Replica.ReadIndex)
	}
	if err := l.dispatch(); err != nil {
		return err
	}
	applied := l.applied.Load().Position.Index
	l.reads.answer(applied)
	l.ready(applied)
	l.observe()
	return nil
}

// knowsIndex reports whether a read index can be had: there is a leader, and if this member is, it has applied an entry
// of its own term.
func (l *loopState) knowsIndex() bool {
	if l.state.Leader != l.Identity.Member {
		return l.state.Leader != 0
	}
	lead := l.leading.Load()
	return lead != nil && lead.began && lead.term == l.state.Term
}

// propose sends what waits on its way: into the log on a leader, to the leader otherwise.
func (l *loopState) propose() error {
	if l.state.Role != raft.StateLeader {
		l.forward()
		return l.change()
	}
	if l.state.Transferee != 0 {
		return nil // raft takes nothing until the other leads, or has not come to it in an election timeout
	}
	if err := l.change(); err != nil {
		return err
	}
	return l.pack()
}

// pack makes one entry of all the commands that wait, unless the log is busy and it pays to wait for more.
func (l *loopState) pack() error {
	for {
		count, bytes := l.queue.waiting()
		if count+l.guests.count == 0 {
			return l.logTime()
		}
		if l.appending > 0 && (l.appending >= maxAppending || bytes+l.guests.bytes < packBytes) && l.now()-l.packed < packWait {
			return nil
		}
		lanes := l.guests.busy()
		if count > 0 {
			lanes++
		}
		term := l.state.Term
		l.batch = l.queue.take(l.batch[:0], packBytes/max(lanes, 1), term)
		l.batch = l.divert(l.batch, term)
		l.fellows = l.guests.take(l.fellows[:0], packBytes/max(lanes, 1))
		if len(l.batch)+len(l.fellows) == 0 {
			continue
		}
		err := l.Replica.Propose(l.encode(l.batch, l.fellows))
		l.packed = l.now()
		if errors.Is(err, raft.ErrProposalDropped) {
			if err := l.dispatch(); err != nil {
				return err
			}
			l.dropped(term)
			return nil
		}
		clear(l.batch)
		clear(l.fellows)
		if err != nil {
			return err
		}
		if err := l.dispatch(); err != nil {
			return err
		}
	}
}

// dropped decides about a batch that is certain not to be in the log: too much of it is uncommitted, or leadership is
// about to end or has ended.
func (l *loopState) dropped(term kind.Term) {
	l.sequences = l.sequences[:0]
	for _, p := range l.batch {
		l.sequences = append(l.sequences, p.command.Origin.Sequence)
	}
	why := l.whyDropped()
	l.refused(l.Identity.Member, &refusal{reason: why, term: term, sequences: l.sequences})
	for len(l.fellows) > 0 {
		n := 1
		for n < len(l.fellows) && l.fellows[n].Origin.Member == l.fellows[0].Origin.Member {
			n++
		}
		l.refuse(l.fellows[0].Origin.Member, why, term, "", sequencesOf(l.fellows[:n]))
		l.fellows = l.fellows[n:]
	}
	clear(l.batch)
	l.flush()
}

// whyDropped says why raft has dropped a proposal: too much is uncommitted, or this member leads no more, or not for long.
func (l *loopState) whyDropped() reason {
	if l.state.Role != raft.StateLeader || l.state.Transferee != 0 {
		return reasonAgain
	}
	return reasonBusy
}

// encode makes the entry. raft keeps it, so it is allocated anew, once.
func (l *loopState) encode(batch []*proposal, fellows []command.Command) []byte {
	size := command.EntryHeaderBytes
	for _, p := range batch {
		size += command.CommandBytes(&p.command)
	}
	for i := range fellows {
		size += command.CommandBytes(&fellows[i])
	}
	data := command.AppendEntryHeader(make([]byte, 0, size), l.elapsed(), l.Clock.Wall().UnixNano(), len(batch)+len(fellows))
	for _, p := range batch {
		data = command.AppendCommand(data, &p.command)
	}
	for i := range fellows {
		data = command.AppendCommand(data, &fellows[i])
	}
	return data
}

// elapsed is the cluster time that an entry made now carries: 0, which the machine raises to what it has, until
// this leader's duties have begun.
func (n *Node) elapsed() uint64 {
	if l := n.leading.Load(); l != nil && l.began {
		return l.base + uint64(n.now()-l.since)
	}
	return 0
}

// dispatch hands out all the work there is.
func (l *loopState) dispatch() error {
	for {
		w, ok := l.Replica.Next()
		if !ok {
			break
		}
		if _, send := w.(*replica.Send); l.failing && !send {
			continue
		}
		switch w := w.(type) {
		case *replica.Append:
			l.appending++
			if at := w.Snapshot.GetMetadata(); at != nil {
				l.adopting = kind.Position{Index: kind.Index(at.GetIndex()), Term: kind.Term(at.GetTerm())}
			}
			l.writer.box.put(w)
		case *replica.Apply:
			l.applier.box.put(w)
		case *replica.Configure:
			// Before anything of the new configuration leaves: a member that is no longer the sole voter must
			// not answer reads as one.
			l.changes.configuring++
			l.publish(l.Replica.State())
			l.applier.box.put(w)
		case *replica.Send:
			l.post(w.Messages)
		}
	}
	l.flush()
	for _, r := range l.Replica.Reads() {
		l.reads.indexed(r)
	}
	l.state = l.Replica.State()
	l.settled.Store(uint64(l.state.Applied))
	return nil
}

// observe notices what has changed since the last turn: leadership, its duties, readiness, what others may see.
func (l *loopState) observe() {
	applied := l.applied.Load()
	lead := l.leading.Load()
	switch {
	case l.state.Role != raft.StateLeader:
		if lead != nil {
			l.leading.Store(nil)
		}
	case lead == nil || lead.term != l.state.Term:
		lead = &leading{term: l.state.Term}
		l.leading.Store(lead)
		fallthrough
	default:
		if !lead.began && applied.Position.Term == lead.term {
			l.leading.Store(&leading{term: lead.term, began: true, at: applied.Position.Index, base: applied.Elapsed, since: l.now()})
			l.loop.ring() // for what has waited for it
		}
	}
	if old := l.status.Load(); old.Leader != l.state.Leader || old.Term != l.state.Term {
		if l.state.Leader != 0 && l.state.Leader != old.Leader {
			l.elected = l.now()
		}
		l.publish(l.state)
		if l.knowsIndex() {
			l.reads.again(l.now(), l.Replica.ReadIndex) // what was asked of another leader is lost
			l.loop.ring()
		}
		next := make(chan struct{})
		close(*l.changed.Swap(&next))
		return
	}
	l.publish(l.state)
}

// publish lets others see where the replica stands. Who has just become the sole voter is shown as that when the change is
// applied here: what was acknowledged by another voter before it may be waiting for the applier, and a read that asked
// nobody would miss it.
func (l *loopState) publish(r replica.State) {
	r.SoleVoter = r.SoleVoter && l.changes.configuring == 0
	l.publishStatus(r)
}
