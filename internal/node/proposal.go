package node

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/command"
	"holdfast/internal/invariant"
	"holdfast/internal/machine"
)

// proposal is a command on its way and the caller that waits for it. It belongs to the caller until it is in the
// queue, then to the queue until its fate is decided, then to the caller again.
type proposal struct {
	command  command.Command
	deadline time.Duration // in the node's monotonic time
	taken    bool          // packed into an entry: its fate is the log's
	gone     bool          // its caller has left; the queue drops it when it meets it

	reply machine.Reply
	err   error
	done  chan struct{} // receives once, when reply and err are set
}

// queue holds the proposals of this member from the call to the answer. It is bounded in number and bytes; a
// caller who finds it full is refused, never delayed.
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
		waiting  []*proposal          // not yet packed, oldest first
		pending  map[uint64]*proposal // all that are undecided, by sequence
		bytes    int                  // payload bytes of pending
	}
}

func newQueue(maxCount, maxBytes int) *queue {
	q := &queue{maxCount: maxCount, maxBytes: maxBytes}
	q.used.New = func() any { return &proposal{done: make(chan struct{}, 1)} }
	q.mu.pending = make(map[uint64]*proposal)
	return q
}

// add enqueues p and gives it its sequence. first says that the queue was empty, so somebody has to be woken.
func (q *queue) add(p *proposal) (first bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.closed != nil {
		return false, q.mu.closed
	}
	n := len(p.command.Payload)
	// A single command may be larger than the bound: --max-request-bytes says how large, and alone it is let in.
	if len(q.mu.pending) >= q.maxCount || q.mu.bytes > 0 && q.mu.bytes+n > q.maxBytes {
		return false, ErrTooManyRequests
	}
	q.mu.sequence++
	p.command.Origin.Sequence = q.mu.sequence
	q.mu.pending[q.mu.sequence] = p
	q.mu.bytes += n
	q.mu.waiting = append(q.mu.waiting, p)
	return len(q.mu.waiting) == 1, nil
}

// take moves waiting proposals into batch, up to about maxBytes of payload but at least one, and returns it.
func (q *queue) take(batch []*proposal, maxBytes int) []*proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes, i := 0, 0
	for ; i < len(q.mu.waiting); i++ {
		p := q.mu.waiting[i]
		if p.gone {
			continue
		}
		n := len(p.command.Payload)
		if len(batch) > 0 && bytes+n > maxBytes {
			break
		}
		p.taken = true
		bytes += n
		batch = append(batch, p)
	}
	rest := copy(q.mu.waiting, q.mu.waiting[i:])
	clear(q.mu.waiting[rest:])
	q.mu.waiting = q.mu.waiting[:rest]
	return batch
}

// waiting returns how many proposals wait to be packed, and the bytes of all that are undecided.
func (q *queue) waiting() (count, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mu.waiting), q.mu.bytes
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
	q.mu.bytes -= len(p.command.Payload)
	invariant.Check(q.mu.bytes >= 0, "the proposal queue counts %d bytes", q.mu.bytes)
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

// fail answers these proposals, as far as they are undecided, with err.
func (q *queue) fail(batch []*proposal, err error) {
	q.mu.Lock()
	failed := make([]*proposal, 0, len(batch))
	for _, p := range batch {
		if q.mu.pending[p.command.Origin.Sequence] == p {
			failed = append(failed, q.remove(p.command.Origin.Sequence))
		}
	}
	q.mu.Unlock()
	for _, p := range failed {
		p.err = err
		p.done <- struct{}{}
	}
}

// expire answers every proposal whose deadline has passed with err, and lets go of what nobody waits for any more.
func (q *queue) expire(now time.Duration, err error) (expired int) {
	var late []*proposal
	q.mu.Lock()
	for sequence, p := range q.mu.pending {
		if now >= p.deadline {
			p.gone = true
			late = append(late, q.remove(sequence))
		}
	}
	if len(q.mu.waiting) > 0 {
		// Without a leader nobody takes from the queue, and those that have left would stay with their payloads.
		q.mu.waiting = slices.DeleteFunc(q.mu.waiting, func(p *proposal) bool { return p.gone })
	}
	q.mu.Unlock()
	for _, p := range late {
		p.err = err
		p.done <- struct{}{}
	}
	return len(late)
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
	q.mu.waiting = nil
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
		left := q.remove(p.command.Origin.Sequence) != nil
		if left {
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
	p.command, p.reply, p.err, p.taken = command.Command{}, machine.Reply{}, nil, false
	q.used.Put(p)
	return reply, err
}
