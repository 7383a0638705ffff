package node

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/kind"
	"holdfast/internal/replica"
)

// readRetry is how long an attempt to learn a read index may take before another is made, with a context of
// its own: an answer to the lost attempt is then of no use to anybody (etcd#20418).
const readRetry = 500 * time.Millisecond

// readBatch is all the reads that asked while the attempt before was under way.
type readBatch struct {
	done    chan struct{} // closed when index is applied, or err is set
	err     error
	indexed atomic.Bool // an index is known; it is not applied yet
}

// readQueue batches linearizable reads: one read index serves everybody who asked before it was asked for.
type readQueue struct {
	mu struct {
		sync.Mutex
		closed  error
		context uint64                  // of the last attempt
		next    *readBatch              // gathers; nil while nobody waits
		asked   map[uint64][]*readBatch // by context: waiting for an index
		asking  time.Duration           // when the last attempt was made
		indexed []indexedRead           // waiting for the applied index
	}
}

// maxAttempts is how many attempts may be under way: the next gathers everybody who asks meanwhile.
const maxAttempts = 2

type indexedRead struct {
	index   kind.Index
	batches []*readBatch
}

// init begins with a context that no earlier life of the member has used: the answer to a question of that life may
// still come, and would be too old for a question of this one (etcd#20418).
func (q *readQueue) init(boot uint64) {
	q.mu.asked = make(map[uint64][]*readBatch)
	q.mu.context = boot
}

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
	if batch == nil || len(q.mu.asked) >= maxAttempts {
		q.mu.Unlock()
		return
	}
	q.mu.next = nil
	q.mu.context++
	context := q.mu.context
	q.mu.asked[context] = []*readBatch{batch}
	q.mu.asking = now
	q.mu.Unlock()
	readIndex(context)
}

// retry makes a fresh attempt for batches whose attempts have brought nothing.
func (q *readQueue) retry(now time.Duration, readIndex func(uint64)) (lost int) {
	q.mu.Lock()
	early := now-q.mu.asking < readRetry
	q.mu.Unlock()
	if early {
		return 0
	}
	return q.again(now, readIndex)
}

// again makes one fresh attempt for all batches that wait for an index, and returns how many attempts were lost.
func (q *readQueue) again(now time.Duration, readIndex func(uint64)) (lost int) {
	q.mu.Lock()
	if len(q.mu.asked) == 0 {
		q.mu.Unlock()
		return 0
	}
	q.mu.asking = now
	var batches []*readBatch
	for _, b := range q.mu.asked {
		batches = append(batches, b...)
		lost++
	}
	clear(q.mu.asked)
	q.mu.context++
	context := q.mu.context
	q.mu.asked[context] = batches
	q.mu.Unlock()
	readIndex(context)
	return lost
}

// indexed takes the answer to an attempt. One that nobody waits for any more is dropped.
func (q *readQueue) indexed(r replica.Read) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if batches := q.mu.asked[r.Context]; batches != nil {
		delete(q.mu.asked, r.Context)
		q.mu.indexed = append(q.mu.indexed, indexedRead{r.Index, batches})
		for _, b := range batches {
			b.indexed.Store(true)
		}
	}
}

// answer releases the reads whose index is applied.
func (q *readQueue) answer(applied kind.Index) {
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := q.mu.indexed[:0]
	for _, r := range q.mu.indexed {
		if r.index <= applied {
			for _, b := range r.batches {
				close(b.done)
			}
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
	for context, batches := range q.mu.asked {
		delete(q.mu.asked, context)
		for _, b := range batches {
			release(b)
		}
	}
	for _, r := range q.mu.indexed {
		for _, b := range r.batches {
			release(b)
		}
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
		if batch.indexed.Load() {
			return ErrTimeoutAppliedIndex
		}
		n.Metrics.readsFailed.Inc()
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
