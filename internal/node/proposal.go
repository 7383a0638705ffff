package node

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/command"
	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
)

// proposal is a command on its way and the caller that waits for it. It belongs to the caller until it is in the
// queue, then to the queue until its fate is decided, then to the caller again.
//
// It is waiting, or bound to a term: it was put into an entry of that term, or sent to the leader of that term, who
// alone may do so. Terms in a log never decrease, so once an entry of a later term is applied, a bound command that has
// not been applied never will be. Then, and when the leader says that it did not take it, it waits again; it is in
// nobody's hands meanwhile, and so is never applied twice (N1).
type proposal struct {
	command  command.Command
	started  time.Duration // in the node's monotonic time
	deadline time.Duration
	waits    bool      // in one of the queue's lists
	term     kind.Term // that it is bound to while it does not wait
	gone     bool      // its caller has left; the queue drops it when it meets it

	reply machine.Reply
	err   error
	done  chan struct{} // receives once, when reply and err are set
}

// isDuty reports whether a command is one of the cluster's own: it has reserved room in the queue, and goes first.
func isDuty(c *command.Command) bool {
	switch c.Kind {
	case command.KindLeaseExpire, command.KindTokenTouch, command.KindMemberPublish, command.KindVersionRaise,
		command.KindAlarm, command.KindMemberChange:
		return true
	}
	return c.AuthRevision == command.ByMember
}

// dutyShare is the part of the queue's bounds that is added for duties.
const dutyShare = 16

// queue holds the proposals of this member from the call to the answer. It is bounded in number and bytes; a
// caller who finds it full is refused, never delayed. A large command finds room as often as a small one: the bytes
// are looked at before it is counted.
type queue struct {
	maxCount int
	maxBytes int

	// used holds proposals that are decided and may be filled again. It is the queue's own, because the channels of one
	// simulated world must not be met in another.
	used sync.Pool

	timeWanted atomic.Bool // an entry is to be made although no proposal waits; see Node.LogTime

	mu struct {
		sync.Mutex
		closed   error                // once set, every proposal is answered with it
		sequence uint64               // of the last proposal; grows by one, so it never repeats in a boot
		duties   []*proposal          // waiting, oldest first; they go before the others
		waiting  []*proposal          // the others that wait, oldest first
		count    int                  // how many wait, without those that are gone
		pending  map[uint64]*proposal // all that are undecided, by sequence
		bytes    int                  // payload bytes of pending
		idle     int                  // payload bytes of those that wait
	}
}

func newQueue(maxCount, maxBytes int) *queue {
	q := &queue{maxCount: maxCount, maxBytes: maxBytes}
	q.used.New = func() any { return &proposal{done: make(chan struct{}, 1)} }
	q.mu.pending = make(map[uint64]*proposal)
	return q
}

// add enqueues p and gives it its sequence. first says that nothing waited, so somebody has to be woken.
func (q *queue) add(p *proposal) (first bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.closed != nil {
		return false, q.mu.closed
	}
	maxCount, maxBytes := q.maxCount, q.maxBytes
	if isDuty(&p.command) {
		maxCount += maxCount/dutyShare + 1
		maxBytes += maxBytes / dutyShare
	}
	if len(q.mu.pending) >= maxCount || q.mu.bytes >= maxBytes {
		return false, ErrTooManyRequests
	}
	q.mu.bytes += len(p.command.Payload)
	q.enqueue(p)
	return q.mu.count == 1, nil
}

// enqueue lets p, which is counted in bytes, wait under a new sequence. The caller holds the lock.
func (q *queue) enqueue(p *proposal) {
	q.mu.sequence++
	p.command.Origin.Sequence = q.mu.sequence
	p.waits, p.term = true, 0
	q.mu.pending[q.mu.sequence] = p
	q.mu.count++
	q.mu.idle += len(p.command.Payload)
	if isDuty(&p.command) {
		q.mu.duties = append(q.mu.duties, p)
	} else {
		q.mu.waiting = append(q.mu.waiting, p)
	}
}

// dequeue notes that p waits no more. The caller holds the lock.
func (q *queue) dequeue(p *proposal) {
	if p.waits {
		p.waits = false
		q.mu.count--
		q.mu.idle -= len(p.command.Payload)
	}
}

// take moves waiting proposals into batch, up to about maxBytes of payload but at least one, binds them to term, and
// returns batch.
func (q *queue) take(batch []*proposal, maxBytes int, term kind.Term) []*proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes, first := 0, len(batch)
	for _, list := range []*[]*proposal{&q.mu.duties, &q.mu.waiting} {
		i := 0
		for ; i < len(*list); i++ {
			p := (*list)[i]
			if p.gone {
				continue
			}
			n := len(p.command.Payload)
			if len(batch) > first && bytes+n > maxBytes {
				break
			}
			q.dequeue(p)
			p.term = term
			bytes += n
			batch = append(batch, p)
		}
		rest := copy(*list, (*list)[i:])
		clear((*list)[rest:])
		*list = (*list)[:rest]
		if rest > 0 {
			break
		}
	}
	return batch
}

// waiting returns how many proposals wait, and the bytes of all that are undecided.
func (q *queue) waiting() (count, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.count, q.mu.bytes
}

// bound returns how many proposals are bound to a term, and their bytes, and how many wait.
func (q *queue) bound() (count, bytes, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mu.pending) - q.mu.count, q.mu.bytes - q.mu.idle, q.mu.count
}

// pending returns how many proposals are undecided.
func (q *queue) pending() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mu.pending)
}

// remove takes the proposal with this sequence out, if it is still undecided. The caller must hold the lock.
func (q *queue) remove(sequence uint64) *proposal {
	p := q.mu.pending[sequence]
	if p == nil {
		return nil
	}
	delete(q.mu.pending, sequence)
	q.dequeue(p)
	q.mu.bytes -= len(p.command.Payload)
	invariant.Check(q.mu.bytes >= 0 && q.mu.idle >= 0 && q.mu.count >= 0, "the proposal queue counts %d bytes, %d of %d waiting",
		q.mu.bytes, q.mu.idle, q.mu.count)
	return p
}

// deliver answers the proposals that the replies are for; callers that have left are passed over.
func (q *queue) deliver(replies []machine.Reply) {
	if len(replies) == 0 {
		return
	}
	var few [64]*proposal
	ready := few[:0]
	q.mu.Lock()
	for i := range replies {
		if p := q.remove(replies[i].Origin.Sequence); p != nil {
			p.reply = replies[i]
			ready = append(ready, p)
		}
	}
	q.mu.Unlock()
	for _, p := range ready {
		p.done <- struct{}{}
	}
}

// settle lets those wait again that are bound to a term before this one. An entry of this term is applied, and the
// replies to everything up to it have been delivered: what is left was certainly lost.
func (q *queue) settle(term kind.Term) (again int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.loosen(func(p *proposal) bool { return p.term < term })
}

// loosen lets the bound proposals wait again for which lost holds, oldest first. The caller holds the lock.
func (q *queue) loosen(lost func(p *proposal) bool) int {
	var sequences []uint64
	for sequence, p := range q.mu.pending {
		if !p.waits && lost(p) {
			sequences = append(sequences, sequence)
		}
	}
	slices.Sort(sequences)
	for _, sequence := range sequences {
		q.again(sequence)
	}
	return len(sequences)
}

// again lets a bound proposal wait under a new sequence. The caller holds the lock.
func (q *queue) again(sequence uint64) {
	p := q.mu.pending[sequence]
	delete(q.mu.pending, sequence)
	q.enqueue(p)
}

// requeue lets those of these proposals wait again that are bound to term: it is certain that nobody has appended them.
func (q *queue) requeue(sequences []uint64, term kind.Term) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, sequence := range sequences {
		if p := q.mu.pending[sequence]; p != nil && !p.waits && p.term == term {
			q.again(sequence)
		}
	}
}

// fail answers those of these proposals that are bound to term, and undecided, with err.
func (q *queue) fail(sequences []uint64, term kind.Term, err error) (failed int) {
	var list []*proposal
	q.mu.Lock()
	for _, sequence := range sequences {
		if p := q.mu.pending[sequence]; p != nil && !p.waits && p.term == term {
			list = append(list, q.remove(sequence))
		}
	}
	q.mu.Unlock()
	for _, p := range list {
		p.err = err
		p.done <- struct{}{}
	}
	return len(list)
}

// abandon answers everything that is bound to a term with err: what has become of it cannot be known any more.
func (q *queue) abandon(err error) {
	var list []*proposal
	q.mu.Lock()
	for sequence, p := range q.mu.pending {
		if !p.waits {
			p.gone = true // the loop may be sending it
			list = append(list, q.remove(sequence))
		}
	}
	q.mu.Unlock()
	for _, p := range list {
		p.err = err
		p.done <- struct{}{}
	}
}

// expire answers every proposal whose deadline has passed with what late says, and lets go of what nobody waits for any
// more.
func (q *queue) expire(now time.Duration, late func(started time.Duration) error) (expired int) {
	var list []*proposal
	q.mu.Lock()
	for sequence, p := range q.mu.pending {
		if now >= p.deadline {
			p.gone = true
			list = append(list, q.remove(sequence))
		}
	}
	// Without a leader nobody takes from the lists, and those that have left would stay with their payloads.
	for _, l := range []*[]*proposal{&q.mu.duties, &q.mu.waiting} {
		if len(*l) > 0 {
			*l = slices.DeleteFunc(*l, func(p *proposal) bool { return p.gone })
		}
	}
	q.mu.Unlock()
	for _, p := range list {
		p.err = late(p.started)
		p.done <- struct{}{}
	}
	return len(list)
}

// close answers all proposals, those to come included, with err.
func (q *queue) close(err error) {
	q.mu.Lock()
	if q.mu.closed == nil {
		q.mu.closed = err
	}
	all := make([]*proposal, 0, len(q.mu.pending))
	for sequence, p := range q.mu.pending {
		p.gone = true // the loop may be packing it
		all = append(all, p)
		q.remove(sequence)
	}
	q.mu.duties, q.mu.waiting = nil, nil
	q.mu.Unlock()
	for _, p := range all {
		p.err = err
		p.done <- struct{}{}
	}
}

// wait blocks until p is decided or ctx ends. A caller that leaves gives its place up: the command may still be
// applied, but is never proposed again.
func (q *queue) wait(ctx context.Context, p *proposal) (machine.Reply, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		q.mu.Lock()
		left := !p.gone && q.mu.pending[p.command.Origin.Sequence] == p
		if left {
			q.remove(p.command.Origin.Sequence)
			p.gone = true
		}
		q.mu.Unlock()
		if left {
			return machine.Reply{}, ctx.Err() // p is not reused: the queue may still hold it
		}
		<-p.done
	}
	reply, err := p.reply, p.err
	if p.gone {
		return reply, err // expired while it waited: the queue may still hold it
	}
	p.command, p.reply, p.err, p.term = command.Command{}, machine.Reply{}, nil, 0
	q.used.Put(p)
	return reply, err
}
