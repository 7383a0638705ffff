package node

import "sync"

// mailbox hands values from any goroutine to one that takes all there are at once: the taker acts at its own
// pace, and what came meanwhile is a batch. What may be in it is bounded by whoever puts.
type mailbox[T any] struct {
	wake chan struct{} // holds one token while there may be something to take
	mu   *struct {
		sync.Mutex
		values []T
	}
}

func newMailbox[T any]() mailbox[T] {
	return mailbox[T]{
		wake: make(chan struct{}, 1),
		mu: new(struct {
			sync.Mutex
			values []T
		}),
	}
}

// put adds values and wakes the taker.
func (m *mailbox[T]) put(values ...T) {
	m.mu.Lock()
	m.mu.values = append(m.mu.values, values...)
	m.mu.Unlock()
	m.ring()
}

// ring wakes the taker without a value.
func (m *mailbox[T]) ring() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take appends everything there is to into[:0] and returns it; into must be what an earlier take returned, used up.
func (m *mailbox[T]) take(into []T) []T {
	clear(into)
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.mu.values
	m.mu.values = into[:0]
	return taken
}
