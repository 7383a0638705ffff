package watch

import (
	"context"
	"sync"
	"sync/atomic"

	"holdfast/internal/kind"
)

// AllWatchers is the watch id of a response that is about every watcher of the stream, or about none.
const AllWatchers = -1

// Response is what a client is to be told.
type Response struct {
	WatchID         int64
	Revision        kind.Revision // for the header; 0 in the cancelling of a watcher that was compacted away
	Created         bool
	Canceled        bool
	CompactRevision kind.Revision
	Reason          string   // why a watcher was refused
	Fragment        bool     // the client takes the events in several responses
	Events          [][]byte // one after another; each piece is one event if Fragment is set, and some otherwise
	Bytes           int      // of the events
	Count           int      // of the events

	lapses int // of its stream, when progress was put into the queue
}

// Stream is the queue between the hub and one client. Watch, Cancel, Refuse and the Progress methods belong to whoever
// reads the client's requests, Take to whoever writes to it; all may run at the same time.
type Stream struct {
	hub    *Hub
	client string // the connection
	ready  chan struct{}
	eased  chan struct{} // the queue has room for control responses again

	mu struct {
		sync.Mutex
		watchers map[int64]*Watcher
		nextID   int64
		cost     int64
		lagging  int           // watchers that are
		latest   kind.Revision // no watcher starts later
		floor    kind.Revision // no header of events may be lower: it was said before
		closed   bool

		items    queue
		controls int      // in items
		batches  int      // in items
		sending  bool     // a batch was taken and the next Take has not come: it may be on its way
		unsent   []*chunk // that such batches hold
		starved  bool     // a lagging watcher waits for room
		lapses   int      // how often the ring has dropped what waited here
		taking   uint64
	}
}

// item is one thing in the queue: for a watcher a *revision, all of which it is given, or a *bundle; without a watcher a
// *Response.
type item struct {
	w      *Watcher
	epoch  uint32
	events uint32
	what   any
}

// part is what a watcher is given of one revision: the events of these numbers, or all for nil.
type part struct {
	r     *revision
	match []uint32
}

// bundle is parts of several revisions in one response, or of one revision a part.
type bundle struct {
	head   kind.Revision // for the header
	parts  []part
	events int
	read   *chunk // where the parts were read, nil for the ring
}

// chunk counts the bytes of a pass for as long as a client has not taken what it was given of it.
type chunk struct {
	hub     *Hub
	bytes   int64
	holders atomic.Int64
}

func (c *chunk) hold() {
	if c != nil && c.holders.Add(1) == 1 {
		c.hub.counts.private.Add(c.bytes)
	}
}

func (c *chunk) release() {
	if c != nil && c.holders.Add(-1) == 0 {
		c.hub.counts.private.Add(-c.bytes)
	}
}

// queue is a list of items with an end that is cheap to take from.
type queue struct {
	items []item
	head  int
}

// queueKept is how many places an empty queue keeps: after a burst, as when watchers are made, it gives them back.
const queueKept = 32

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(i item) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, i)
}

func (q *queue) pop() item {
	i := q.items[q.head]
	q.items[q.head] = item{}
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > queueKept {
			q.items = nil
		}
	}
	return i
}

// Ready yields a value when Take may find something.
func (s *Stream) Ready() <-chan struct{} { return s.ready }

func (s *Stream) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// maxControls is how many answers to requests may wait in a queue before no more requests are read.
const maxControls = 256

// Admit returns when there is room for the answer to one more request: a client that asks and does not read has to wait.
func (s *Stream) Admit(ctx context.Context) error {
	for {
		s.mu.Lock()
		full := s.mu.controls >= maxControls
		s.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-s.eased:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// The methods below are called under the stream's lock.

// room is how many events may wait for a client that falls behind.
func (s *Stream) room() int { return 128 + 2*len(s.mu.watchers) }

// full reports whether one more event has no place.
func (s *Stream) full() bool { return s.mu.items.len()-s.mu.controls >= s.room() }

// hungry reports whether the stream can take a batch: one at a time is under way to a client.
func (s *Stream) hungry() bool { return s.mu.batches == 0 && !s.mu.sending && !s.full() }

func (s *Stream) control(r *Response) {
	if s.mu.closed {
		return
	}
	s.mu.controls++
	s.mu.items.push(item{what: r})
}

func (s *Stream) give(w *Watcher, what any) {
	if s.mu.closed {
		return
	}
	n := 0
	switch what := what.(type) {
	case *revision:
		n = len(what.events())
	case *bundle:
		n = what.events
		s.mu.batches++
		what.read.hold()
	}
	s.hub.counts.pending.Add(int64(n))
	s.mu.items.push(item{w, w.epoch, uint32(n), what})
}

// setState moves w to another state and keeps the count of those that lag.
func (s *Stream) setState(w *Watcher, to state) {
	w.state = to
	if lags := to == lagging; lags != w.counted {
		w.counted = lags
		if lags {
			s.mu.lagging++
			s.hub.counts.lagging.Add(1)
		} else {
			s.mu.lagging--
			s.hub.counts.lagging.Add(-1)
		}
	}
}
