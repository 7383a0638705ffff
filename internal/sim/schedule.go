package sim

import (
	"cmp"
	"container/heap"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// event is one thing that will happen: a message arrives, a sync is done, a timer fires, a fault begins.
type event struct {
	at     time.Duration // of the world's time
	source *source
	number uint64 // its count at the source
	life   *life  // whom it happens to, nil for the world; nothing happens to a life that is over
	timer  bool   // it is the ringing of a clock, which stops when the clock is stopped
	what   string
	do     func()
	gone   bool // it was called off
}

// before orders events. Two of the same time are told apart by who caused them, and never by which goroutine was first.
func (e *event) before(o *event) bool {
	if c := cmp.Or(cmp.Compare(e.at, o.at), cmp.Compare(e.source.name, o.source.name), cmp.Compare(e.number, o.number)); c != 0 {
		return c < 0
	}
	return false
}

type eventHeap []*event

func (h eventHeap) Len() int           { return len(h) }
func (h eventHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h eventHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)        { *h = append(*h, x.(*event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}

// schedule is the queue of what will happen. Members and their disks and clocks put events in at any time; only the
// world's one driver takes them out, one at a time.
type schedule struct {
	seed  uint64
	began time.Time
	nudge chan struct{} // something was put in

	mu struct {
		sync.Mutex
		fresh   []*event // put in since the driver looked last
		sources map[string]*source
	}
	queue eventHeap // the driver's own
}

func (s *schedule) init(seed uint64) {
	s.seed = seed
	s.began = time.Now()
	s.nudge = make(chan struct{}, 1)
	s.mu.sources = make(map[string]*source)
}

// now is the world's time.
func (s *schedule) now() time.Duration { return time.Since(s.began) }

// source is one cause of events, with random numbers of its own: what one link of the network draws does not depend on
// what a disk has drawn before.
type source struct {
	name  string
	s     *schedule
	count uint64     // under the schedule's lock
	rng   *rand.Rand // for those who come one at a time; see draw
}

// source returns the source of a name.
func (s *schedule) source(name string) *source {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.mu.sources[name]; c != nil {
		return c
	}
	c := &source{name: name, s: s, rng: rand.New(rand.NewPCG(s.seed, hashOf(name)))}
	s.mu.sources[name] = c
	return c
}

func hashOf(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// draw returns a number below n by the source's own dice.
func (c *source) draw(n int64) int64 {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.rng.Int64N(n)
}

// between draws a duration from low up to high.
func (c *source) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(c.draw(int64(high-low)))
}

// chance is true in percent of a hundred cases.
func (c *source) chance(percent int) bool { return percent > 0 && c.draw(100) < int64(percent) }

// after lets something happen d from now.
func (c *source) after(d time.Duration, l *life, what string, do func()) *event {
	return c.put(&event{at: c.s.now() + max(d, 0), life: l, what: what, do: do})
}

func (c *source) put(e *event) *event {
	s := c.s
	s.mu.Lock()
	c.count++
	e.source, e.number = c, c.count
	s.mu.fresh = append(s.mu.fresh, e)
	s.mu.Unlock()
	select {
	case s.nudge <- struct{}{}:
	default:
	}
	return e
}

// callOff makes sure that e does not happen, if it has not yet.
func (s *schedule) callOff(e *event) {
	s.mu.Lock()
	e.gone = true
	s.mu.Unlock()
}

// next returns the next event, without taking it out; nil if there is none.
func (s *schedule) next() *event {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.mu.fresh {
		heap.Push(&s.queue, e)
	}
	clear(s.mu.fresh)
	s.mu.fresh = s.mu.fresh[:0]
	for len(s.queue) > 0 && s.queue[0].gone {
		heap.Pop(&s.queue)
	}
	if len(s.queue) == 0 {
		return nil
	}
	return s.queue[0]
}

// again puts an event back.
func (s *schedule) again(e *event) { heap.Push(&s.queue, e) }

func (s *schedule) take() *event { return heap.Pop(&s.queue).(*event) }

// sleep lets the world's time go on until then, or until something new was put in.
func (s *schedule) sleep(until time.Duration) {
	timer := time.NewTimer(until - s.now())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.nudge:
	}
}
