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
	finished  []replica.Work
	orders    []func(*loopState) error
	urgent    []transport.Message
	data      []transport.Message
	outgoing  []transport.Message // handed to the transport at the end of a dispatch
	target    kind.Index          // ready when this is applied; 0 until known
	readyDone bool

	leave   time.Duration // when the member stops because it was removed; 0 if it was not
	leaving error         // and why
}

// runLoop owns the replica.
func (n *Node) runLoop() {
	l := &loopState{Node: n, state: n.Replica.State()}
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
			return
		case <-ticker.C():
			l.tick()
		case <-n.loop.wake:
		}
	}
}

// tick is one tick of the clock.
func (l *loopState) tick() {
	l.Replica.Tick()
	l.reads.retry(l.now(), l.Replica.ReadIndex)
	if expired := l.queue.expire(l.now(), l.timeoutError()); expired > 0 {
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
		if _, ok := w.(*replica.Append); ok {
			l.appending--
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
	if err := l.pack(); err != nil {
		return err
	}
	l.reads.ask(l.now(), l.Replica.ReadIndex)
	if err := l.dispatch(); err != nil {
		return err
	}
	l.observe()
	l.reads.answer(l.applied.Load().Position.Index)
	return nil
}

// pack makes one entry of all the commands that wait, unless the log is busy and it pays to wait for more.
func (l *loopState) pack() error {
	for {
		count, bytes := l.queue.waiting()
		if count == 0 || l.state.Role != raft.StateLeader {
			return l.logTime()
		}
		if l.appending > 0 && (l.appending >= maxAppending || bytes < packBytes) && l.now()-l.packed < packWait {
			return nil
		}
		l.batch = l.queue.take(l.batch[:0], packBytes)
		if len(l.batch) == 0 {
			continue
		}
		err := l.Replica.Propose(l.encode(l.batch))
		switch {
		case errors.Is(err, raft.ErrProposalDropped):
			// Certain not to be in the log: too much of it is uncommitted, or leadership just ended.
			refusal := ErrTooManyRequests
			if l.Replica.State().Role != raft.StateLeader {
				refusal = ErrLeaderChanged
			}
			l.Metrics.ProposalsFailed.Add(float64(len(l.batch)))
			l.queue.fail(l.batch, refusal)
		case err != nil:
			return err
		}
		clear(l.batch)
		l.packed = l.now()
		if err := l.dispatch(); err != nil {
			return err
		}
	}
}

// encode makes the entry. raft keeps it, so it is allocated anew, once.
func (l *loopState) encode(batch []*proposal) []byte {
	size := 64
	for _, p := range batch {
		size += len(p.command.Payload) + len(p.command.User) + 64
	}
	data := command.AppendEntryHeader(make([]byte, 0, size), l.elapsed(), l.Clock.Wall().UnixNano(), len(batch))
	for _, p := range batch {
		data = command.AppendCommand(data, &p.command)
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
		switch w := w.(type) {
		case *replica.Append:
			l.appending++
			l.writer.box.put(w)
		case *replica.Apply:
			l.applier.box.put(w)
		case *replica.Configure:
			// Before anything of the new configuration leaves: a member that is no longer the sole voter must
			// not answer reads as one.
			l.publishStatus(l.Replica.State())
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
			l.leading.Store(&leading{term: lead.term, began: true, base: applied.Elapsed, since: l.now()})
			l.target = max(l.target, 1)
		}
	}
	if !l.readyDone && l.target > 0 && applied.Position.Index >= l.target {
		l.readyDone = true
		close(l.ready)
	}
	l.publishStatus(l.state)
}
