package mvcc

import (
	"context"
	"fmt"
	"sync"
)

// freeBytes is the size up to which an answer needs no reservation.
const freeBytes = 256 << 10

// budget is the memory that large answers share. Whoever waits holds nothing, so nobody waits for a waiter; the
// line is first come, first served, so a large answer is not overtaken for ever by small ones.
type budget struct {
	total int64
	mu    struct {
		sync.Mutex
		free int64 // may be negative: the applier never waits
		line []*waiter
	}
}

type waiter struct {
	need    int64
	granted chan struct{} // closed under mu when need has been taken from free
}

func newBudget(total int64) *budget {
	b := &budget{total: total}
	b.mu.free = total
	return b
}

// reservation is what one answer holds of the budget.
type reservation struct {
	budget *budget
	mu     struct {
		sync.Mutex
		held int64
	}
}

// try takes n bytes more, unless that would mean to wait.
func (r *reservation) try(n int64) bool {
	b := r.budget
	b.mu.Lock()
	ok := len(b.mu.line) == 0 && b.mu.free >= n
	if ok {
		b.mu.free -= n
	}
	b.mu.Unlock()
	if ok {
		r.add(n)
	}
	return ok
}

// force takes n bytes more, whether they are there or not.
func (r *reservation) force(n int64) {
	r.budget.mu.Lock()
	r.budget.mu.free -= n
	r.budget.mu.Unlock()
	r.add(n)
}

// wait takes n bytes and waits for them in line. The reservation must hold nothing.
func (r *reservation) wait(ctx context.Context, n int64) error {
	b := r.budget
	if n > b.total {
		return fmt.Errorf("%w: the answer has %d bytes and answer-budget-bytes allows %d for all answers together; read it with RangeStream, in pages with a limit, or raise answer-budget-bytes",
			ErrAnswerTooLarge, n, b.total)
	}
	if r.try(n) {
		return nil
	}
	w := &waiter{need: n, granted: make(chan struct{})}
	b.mu.Lock()
	b.mu.line = append(b.mu.line, w)
	b.serve()
	b.mu.Unlock()
	select {
	case <-w.granted:
		r.add(n)
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.granted:
		b.mu.free += n
	default:
		for i, other := range b.mu.line {
			if other == w {
				b.mu.line = append(b.mu.line[:i], b.mu.line[i+1:]...)
				break
			}
		}
	}
	b.serve()
	return ctx.Err()
}

// serve grants the front of the line what it needs, as far as it goes. The caller holds mu.
func (b *budget) serve() {
	for len(b.mu.line) > 0 && b.mu.line[0].need <= b.mu.free {
		w := b.mu.line[0]
		b.mu.line[0] = nil
		b.mu.line = b.mu.line[1:]
		b.mu.free -= w.need
		close(w.granted)
	}
}

func (r *reservation) add(n int64) {
	r.mu.Lock()
	r.mu.held += n
	r.mu.Unlock()
}

// give gives n of the held bytes back.
func (r *reservation) give(n int64) {
	r.mu.Lock()
	n = min(n, r.mu.held)
	r.mu.held -= n
	r.mu.Unlock()
	r.back(n)
}

// release gives everything back. More than one call does no harm.
func (r *reservation) release() {
	r.mu.Lock()
	n := r.mu.held
	r.mu.held = 0
	r.mu.Unlock()
	r.back(n)
}

func (r *reservation) back(n int64) {
	if n == 0 {
		return
	}
	r.budget.mu.Lock()
	r.budget.mu.free += n
	r.budget.serve()
	r.budget.mu.Unlock()
}

// account is the memory of one answer while it is being built. An answer that turns out large is measured, which
// reads no values and takes a fraction of the time, so that it gets exactly what it needs and is copied once.
type account struct {
	budget *budget
	held   *reservation // nil until the answer is large
	mode   accountMode
}

type accountMode uint8

const (
	small    accountMode = iota // only what needs no reservation
	measured                    // all bytes have been reserved
	forced                      // the applier: take what is needed
)

// take reserves n bytes for a buffer; false means that the answer is large and must be measured.
func (a *account) take(n int) bool {
	switch {
	case n <= freeBytes || a.mode == measured:
		return true
	case a.mode == small:
		return false
	}
	if a.held == nil {
		a.held = &reservation{budget: a.budget}
	}
	a.held.force(int64(n))
	return true
}

// give takes back a reservation of n bytes that take has made.
func (a *account) give(n int) {
	if n > freeBytes && a.mode == forced {
		a.held.give(int64(n))
	}
}

// await waits for the n bytes of a measured answer.
func (a *account) await(ctx context.Context, n int) error {
	a.held = &reservation{budget: a.budget}
	if n > freeBytes {
		if err := a.held.wait(ctx, int64(n)); err != nil {
			return err
		}
	}
	a.mode = measured
	return nil
}

// shrink gives back n bytes of what await has reserved, when the answer is built.
func (a *account) shrink(n int) {
	if n > 0 {
		a.held.give(int64(n))
	}
}

func (a *account) release() {
	if a.held != nil {
		a.held.release()
	}
}

// grow returns b with room for n bytes more, and false if the answer must be measured first.
func (a *account) grow(b []byte, n int) ([]byte, bool) {
	if len(b)+n <= cap(b) {
		return b, true
	}
	size := max(len(b)+n, 2*cap(b), 512)
	if a.mode == small && len(b)+n <= freeBytes {
		size = min(size, freeBytes)
	}
	if !a.take(size) {
		return b, false
	}
	old := cap(b)
	b = append(make([]byte, 0, size), b...)
	a.give(old)
	return b, true
}
