package sim

import (
	"runtime"
	"strings"
	"sync"
	"time"

	"holdfast/internal/node"
)

// clock is the time of one host. It may run fast or slow, stand still, and show any time of day.
type clock struct {
	host *host

	mu struct {
		sync.Mutex
		world  time.Duration // at this moment of the world
		local  time.Duration // the clock showed this
		rate   float64       // of local time to the world's
		stands bool
		wall   time.Duration // how far the time of day is off
	}
}

func newClock(h *host) *clock {
	c := &clock{host: h}
	c.mu.rate = 1
	return c
}

// read is Now under the lock.
func (c *clock) read() time.Duration {
	if c.mu.stands {
		return c.mu.local
	}
	return c.mu.local + time.Duration(float64(c.host.w.now()-c.mu.world)*c.mu.rate)
}

// set changes how the clock goes from now on. Timers that were set before ring when they would have.
func (c *clock) set(rate float64, stands bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.local = c.read()
	c.mu.world = c.host.w.now()
	c.mu.rate, c.mu.stands = rate, stands
}

func (c *clock) rate() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.rate
}

// jump moves the time of day.
func (c *clock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.wall += d
}

// lifeClock is a host's clock as one life of its member sees it: its timers ring no more when the life is over.
type lifeClock struct {
	*clock
	life *life
}

var _ node.Clock = lifeClock{}

// Now returns the host's monotonic time.
func (c lifeClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read()
}

// Wall returns the host's time of day.
func (c lifeClock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.host.w.began.Add(c.read() + c.mu.wall)
}

// NewTicker returns a timer that rings every d.
func (c lifeClock) NewTicker(d time.Duration) node.Timer { return c.timer(d, d) }

// NewTimer returns a timer that rings once.
func (c lifeClock) NewTimer(d time.Duration) node.Timer { return c.timer(d, 0) }

func (c lifeClock) timer(d, every time.Duration) node.Timer {
	t := &timer{clock: c, c: make(chan time.Time, 1), every: every}
	t.source = c.host.w.source("clock " + c.host.name + " " + caller())
	t.set(d)
	return t
}

// caller names the function that asked for a timer: of two that ring at the same moment the name says which is first.
func caller() string {
	var pcs [1]uintptr
	runtime.Callers(4, pcs[:])
	frame, _ := runtime.CallersFrames(pcs[:]).Next()
	return frame.Function[strings.LastIndexByte(frame.Function, '/')+1:]
}

type timer struct {
	clock  lifeClock
	source *source
	c      chan time.Time

	mu struct {
		sync.Mutex
		next *event // nil when it will not ring
	}
	every time.Duration // of local time; 0 rings once
}

// C is where it rings.
func (t *timer) C() <-chan time.Time { return t.c }

// Stop silences it.
func (t *timer) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop()
}

func (t *timer) stop() {
	if t.mu.next != nil {
		t.clock.host.w.callOff(t.mu.next)
		t.mu.next = nil
	}
	select {
	case <-t.c:
	default:
	}
}

// Reset lets it ring d from now.
func (t *timer) Reset(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop()
	if t.every > 0 {
		t.every = d
	}
	t.set(d)
}

func (t *timer) set(d time.Duration) {
	e := &event{at: t.source.s.now() + max(time.Duration(float64(d)/t.clock.rate()), 0), life: t.clock.life, timer: true, what: "rings"}
	e.do = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.mu.next != e {
			return
		}
		t.mu.next = nil
		if t.every > 0 {
			t.set(t.every)
		}
		select {
		case t.c <- t.clock.Wall():
		default:
		}
	}
	t.mu.next = t.source.put(e)
}
