package transport

import (
	"context"
	"sync"
	"time"

	"holdfast/internal/kind"
)

// notifier tells the handler what became of messages, on a goroutine of its own: Send is called by the very goroutines
// that the handler hands its work to.
type notifier struct {
	wake chan struct{}

	mu struct {
		sync.Mutex
		unsent      []Message
		unreachable map[kind.MemberID]struct{}
	}
}

// unreachableInterval is the shortest time between two calls of Unreachable for a peer.
const unreachableInterval = 100 * time.Millisecond

func newNotifier() *notifier {
	n := &notifier{wake: make(chan struct{}, 1)}
	n.mu.unreachable = map[kind.MemberID]struct{}{}
	return n
}

// dropped notes that a message was dropped before any connection took it whole.
func (n *notifier) dropped(ms ...Message) {
	n.mu.Lock()
	for _, m := range ms {
		switch m.Kind {
		case KindForward:
			n.mu.unsent = append(n.mu.unsent, m)
		case KindRaft:
			n.mu.unreachable[m.To] = struct{}{}
		}
	}
	n.mu.Unlock()
	signal(n.wake)
}

// lost notes that a peer is out of reach, or was.
func (n *notifier) lost(id kind.MemberID) {
	n.mu.Lock()
	n.mu.unreachable[id] = struct{}{}
	n.mu.Unlock()
	signal(n.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run calls the handler until ctx ends.
func (n *notifier) run(ctx context.Context, h func() Handler) {
	last := map[kind.MemberID]time.Time{}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		case <-timer.C:
		}
		now := time.Now()
		wait := time.Hour
		var due []kind.MemberID
		n.mu.Lock()
		unsent := n.mu.unsent
		n.mu.unsent = nil
		for id := range n.mu.unreachable {
			if left := unreachableInterval - now.Sub(last[id]); left > 0 {
				wait = min(wait, left)
				continue
			}
			delete(n.mu.unreachable, id)
			due = append(due, id)
		}
		n.mu.Unlock()
		for id, at := range last {
			if now.Sub(at) > time.Minute {
				delete(last, id)
			}
		}
		if len(unsent) > 0 {
			h().Unsent(unsent)
		}
		for _, id := range due {
			last[id] = now
			h().Unreachable(id)
		}
		timer.Reset(wait)
	}
}
