package transport

import (
	"context"
	"sync"
	"time"
)

// bucket bounds the bytes that are sent in a second. What it is asked for may make a debt, which later callers wait for,
// so that no request is too large for it.
type bucket struct {
	mu struct {
		sync.Mutex
		rate   int64 // bytes a second; 0: no bound
		tokens float64
		at     time.Time // when tokens was right
	}
}

// burstTime is for how long unused tokens are kept, and lookAgain how often a waiter looks whether the rate has changed.
const (
	burstTime = 100 * time.Millisecond
	lookAgain = 100 * time.Millisecond
)

func newBucket(rate int64) *bucket {
	b := &bucket{}
	b.set(rate)
	return b
}

func (b *bucket) set(rate int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	b.mu.rate = max(rate, 0)
	if b.mu.rate == 0 {
		b.mu.tokens = 0
	}
}

// fill adds the tokens of the time that has passed. Its caller holds mu.
func (b *bucket) fill() {
	now := time.Now()
	if rate := float64(b.mu.rate); rate > 0 {
		b.mu.tokens = min(b.mu.tokens+rate*now.Sub(b.mu.at).Seconds(), rate*burstTime.Seconds())
	}
	b.mu.at = now
}

// take waits until n more bytes may be sent.
func (b *bucket) take(ctx context.Context, n int) error {
	for {
		b.mu.Lock()
		b.fill()
		if b.mu.rate == 0 || b.mu.tokens >= 0 {
			if b.mu.rate > 0 {
				b.mu.tokens -= float64(n)
			}
			b.mu.Unlock()
			return ctx.Err()
		}
		wait := time.Duration(-b.mu.tokens / float64(b.mu.rate) * float64(time.Second))
		b.mu.Unlock()
		timer := time.NewTimer(min(wait+time.Millisecond, lookAgain))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}
