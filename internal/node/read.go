package node

import (
	"context"
	"sync"
	"time"

	"holdfast/internal/kind"
	"holdfast/internal/replica"
)

// readRetry is how long an attempt to learn a read index may take before another is made, with a context of
// its own: an answer to the lost attempt is then of no use to anybody (etcd#20418).
const readRetry = 500 * time.Millisecond

// readBatch is all the reads that asked while the attempt before was under way.
type readBatch struct {
	done chan struct{} // closed when index is applied, or err is set
	err  error
}

// readQueue batches linearizable reads: one read index serves everybody who asked before it was asked for.
type readQueue struct {
	mu struct {
		sync.Mutex
		closed  error
		context uint64
		next    *readBatch            // gathers; nil while nobody waits
		asked   map[uint64]*readBatch // by context: waiting for an index
		asking  time.Duration         // when the last attempt was made
		indexed []indexedRead         // waiting for the applied index
	}
}

type indexedRead struct {
	index kind.Index
	batch *readBatch
}

func (q *readQueue) init() { q.mu.asked = make(map[uint64]*readBatch) }

// join returns the batch that the next attempt serves.
func (q *readQueue) join() (batch *readBatch, first bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.closed != nil {
		return nil, false, q.mu.closed
	}
	if q.mu.next == nil {
		q.mu.next = &readBatch{done: make(chan struct{})}
		first = true
	}
	return q.mu.next, first, nil
}

// ask makes an attempt for those who wait.
func (q *readQueue) ask(now time.Duration, readIndex func(uint64)) {
	q.mu.Lock()
	batch := q.mu.next
	q.mu.next = nil
	var context uint64
	if batch != nil {
		q.mu.context++
		context = q.mu.context
		q.mu.asked[context] = batch
		q.mu.asking = now
	}
	q.mu.Unlock()
	if batch != nil {
		readIndex(context)
	}
}

// retry makes a fresh attempt for batches whose attempts have brought nothing.
func (q *readQueue) retry(now time.Duration, readIndex func(uint64)) {
	q.mu.Lock()
	if len(q.mu.asked) == 0 || now-q.mu.asking < readRetry {
		q.mu.Unlock()
		return
	}
	q.mu.asking = now
	lost := make([]*readBatch, 0, len(q.mu.asked))
	for _, batch := range q.mu.asked {
		lost = append(lost, batch)
	}
	clear(q.mu.asked)
	fresh := make([]uint64, 0, len(lost))
	for _, batch := range lost {
		q.mu.context++
		q.mu.asked[q.mu.context] = batch
		fresh = append(fresh, q.mu.context)
	}
	q.mu.Unlock()
	for _, context := range fresh {
		readIndex(context)
	}
}

// indexed takes the answer to an attempt. One that nobody waits for any more is dropped.
func (q *readQueue) indexed(r replica.Read) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if batch := q.mu.asked[r.Context]; batch != nil {
		delete(q.mu.asked, r.Context)
		q.mu.indexed = append(q.mu.indexed, indexedRead{r.Index, batch})
	}
}

// answer releases the reads whose index is applied.
func (q *readQueue) answer(applied kind.Index) {
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := q.mu.indexed[:0]
	for _, r := range q.mu.indexed {
		if r.index <= applied {
			close(r.batch.done)
		} else {
			rest = append(rest, r)
		}
	}
	clear(q.mu.indexed[len(rest):])
	q.mu.indexed = rest
}

// close answers all reads, those to come included, with err.
func (q *readQueue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.closed != nil {
		return
	}
	q.mu.closed = err
	release := func(b *readBatch) { b.err = err; close(b.done) }
	if q.mu.next != nil {
		release(q.mu.next)
		q.mu.next = nil
	}
	for context, batch := range q.mu.asked {
		delete(q.mu.asked, context)
		release(batch)
	}
	for _, r := range q.mu.indexed {
		release(r.batch)
	}
	q.mu.indexed = nil
}

// ReadIndex returns when the published state holds every write that was acknowledged before the call, anywhere
// in the cluster: a read of it is linearizable (Raft thesis, section 6.4).
//
// A sole voter that leads gives every acknowledgement itself, and gives it after publishing (N2): its published
// state is such a state at any moment, and nothing has to be waited for, not even for what is being applied.
func (n *Node) ReadIndex(ctx context.Context) error {
	if n.soleLeader() {
		return nil
	}
	batch, first, err := n.reads.join()
	if err != nil {
		return err
	}
	if first {
		n.loop.ring()
	}
	timeout := n.Clock.NewTimer(n.requestTimeout())
	defer timeout.Stop()
	select {
	case <-batch.done:
		return batch.err
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C():
		if n.Status().Leader == 0 {
			return ErrNoLeader
		}
		return ErrTimeout
	}
}

// soleLeader reports whether this member gives every acknowledgement of the cluster and has applied all that it
// acknowledged in earlier lives.
func (n *Node) soleLeader() bool {
	s := n.status.Load()
	if !s.SoleVoter {
		return false
	}
	l := n.leading.Load()
	return l != nil && l.began
}
