package node

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// sweeper deletes what compactions have made invisible, in small steps with pauses, beside everything else.
type sweeper struct {
	wake chan struct{}
	mu   struct {
		sync.Mutex
		goal    kind.Revision // the compacted revision
		swept   kind.Revision // everything up to here is deleted
		waiters []sweepWaiter
	}
}

type sweepWaiter struct {
	revision kind.Revision
	done     chan struct{}
}

func (s *sweeper) init(compacted kind.Revision) {
	s.wake = make(chan struct{}, 1)
	s.mu.goal = compacted
	s.wake <- struct{}{} // an earlier life may have left some over
}

// compacted tells the goal. It is called with every batch, so it looks before it does anything.
func (s *sweeper) compacted(revision kind.Revision) {
	s.mu.Lock()
	moved := revision > s.mu.goal
	s.mu.goal = max(s.mu.goal, revision)
	s.mu.Unlock()
	if moved {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// replaced starts anew with another store, which may have deleted less than the one before.
func (s *sweeper) replaced(compacted, deleted kind.Revision) {
	s.mu.Lock()
	s.mu.goal, s.mu.swept = compacted, deleted
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (n *Node) runSweeper() {
	pause := n.Clock.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-n.stop:
			return
		case <-n.failed:
			return
		case <-n.sweeper.wake:
		}
		started := n.now()
		n.sweeper.mu.Lock()
		goal := n.sweeper.mu.goal
		n.sweeper.mu.Unlock()
		for {
			done, err := n.KV().CompactStep()
			if errors.Is(err, store.ErrReplaced) {
				continue
			}
			if err != nil {
				n.Fail(fmt.Errorf("delete compacted versions: %w", err))
				return
			}
			if done {
				break
			}
			pause.Reset(n.SweepPause)
			select {
			case <-n.stop:
				return
			case <-n.failed:
				return
			case <-pause.C():
			}
		}
		n.sweeper.finished(goal)
		if goal > 0 {
			n.Logger.Info("finished scheduled compaction", zap.Int64("compact-revision", int64(goal)), zap.Duration("took", n.now()-started))
		}
	}
}

// finished releases those who wait for a revision up to this one.
func (s *sweeper) finished(revision kind.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.swept = max(s.mu.swept, revision)
	rest := s.mu.waiters[:0]
	for _, w := range s.mu.waiters {
		if w.revision <= s.mu.swept {
			close(w.done)
		} else {
			rest = append(rest, w)
		}
	}
	clear(s.mu.waiters[len(rest):])
	s.mu.waiters = rest
}

// WaitCompacted returns when everything that the compaction at revision made invisible has been deleted here.
func (n *Node) WaitCompacted(ctx context.Context, revision kind.Revision) error {
	s := &n.sweeper
	s.mu.Lock()
	if revision <= s.mu.swept {
		s.mu.Unlock()
		return nil
	}
	w := sweepWaiter{revision, make(chan struct{})}
	s.mu.waiters = append(s.mu.waiters, w)
	s.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-n.stop:
		return ErrStopped
	case <-n.failed:
		return ErrStopped
	}
}
