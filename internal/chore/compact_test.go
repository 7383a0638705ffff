package chore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
)

// history is a member that is at one revision more every second, and takes compactions.
type history struct {
	t         *testing.T
	began     time.Time
	mu        sync.Mutex // for what follows
	leading   bool
	fail      error
	compacted kind.Revision
	at        []time.Duration // of each compaction
	to        []kind.Revision
	tried     int
}

func (h *history) ClusterTime() (uint64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return 0, h.leading
}
func (h *history) CurrentRevision() kind.Revision {
	return 1 + kind.Revision(time.Since(h.began)/time.Second)
}
func (h *history) CompactedRevision() kind.Revision {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.compacted
}

// let changes, or looks at, the history.
func (h *history) let(do func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do()
}

func (h *history) Propose(_ context.Context, c command.Command) (machine.Reply, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried++
	compaction, whole, err := command.DecodeCompaction(c.Payload)
	if err != nil || !whole || c.Kind != command.KindCompact || c.AuthRevision != command.ByMember {
		h.t.Errorf("proposed is %+v, %v", c, err)
	}
	if h.fail != nil {
		return machine.Reply{}, h.fail
	}
	h.compacted = compaction.Revision
	h.at, h.to = append(h.at, time.Since(h.began)), append(h.to, compaction.Revision)
	return machine.Reply{}, nil
}

// runFor runs a compactor of the rules over a leading member for d.
func runFor(t *testing.T, period time.Duration, revisions int64, d time.Duration, meanwhile func(h *history)) *history {
	t.Helper()
	h := &history{t: t, began: time.Now(), leading: true}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewCompactor(CompactorConfig{Node: h, Period: period, Revisions: revisions}).Run(ctx)
	}()
	if meanwhile != nil {
		meanwhile(h)
	}
	<-time.After(d - time.Since(h.began))
	synctest.Wait()
	cancel()
	<-done
	return h
}

// By time: nothing before one period has passed, then once a period, or once an hour for long periods; nothing that is
// younger than the period is ever compacted, and little that is older is left.
func TestCompactByTime(t *testing.T) {
	for _, c := range []struct{ period, interval, slack time.Duration }{
		{5 * time.Minute, 5 * time.Minute, 30 * time.Second},
		{time.Hour, time.Hour, 6 * time.Minute},
		{10 * time.Hour, time.Hour, 6 * time.Minute},
		{2 * time.Second, 2 * time.Second, 200 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := runFor(t, c.period, 0, c.period+5*c.interval+time.Second/10, nil)
			if len(h.at) != 6 {
				t.Fatalf("%v: compactions at %v", c.period, h.at)
			}
			for i, at := range h.at {
				if due := c.period + time.Duration(i)*c.interval; at < due-c.slack || at > due+c.slack || at < c.period {
					t.Errorf("%v: compaction %d is at %v, not %v", c.period, i, at, due)
				}
				kept := at - time.Duration(h.to[i]-1)*time.Second
				if kept < c.period || kept > c.period+c.slack+time.Second {
					t.Errorf("%v: at %v all but the last %v is compacted", c.period, at, kept)
				}
			}
		})
	}
}

// By number: every five minutes, all but so many.
func TestCompactByNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runFor(t, 0, 1000, 31*time.Minute, nil)
		if want := []time.Duration{20 * time.Minute, 25 * time.Minute, 30 * time.Minute}; !slices.Equal(h.at, want) {
			t.Errorf("compactions at %v", h.at)
		}
		if want := []kind.Revision{201, 501, 801}; !slices.Equal(h.to, want) {
			t.Errorf("compactions to %v", h.to)
		}
	})
}

// By both rules a revision stays as long as one of them keeps it.
func TestCompactByBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := runFor(t, 5*time.Minute, 1000, 21*time.Minute, nil)
		if len(h.to) != 1 {
			t.Errorf("more revisions are to be kept than five minutes hold: compactions to %v at %v", h.to, h.at)
		}
		for i, to := range h.to {
			if now := 1 + kind.Revision(h.at[i]/time.Second); now-to < 1000 {
				t.Errorf("at revision %d compacted to %d", now, to)
			}
		}
		h = runFor(t, 5*time.Minute, 10, 21*time.Minute, nil)
		for i, to := range h.to {
			if kept := h.at[i] - time.Duration(to-1)*time.Second; kept < 5*time.Minute {
				t.Errorf("at %v all but %v is compacted", h.at[i], kept)
			}
		}
		if len(h.to) != 4 {
			t.Errorf("compactions to %v at %v", h.to, h.at)
		}
	})
}

// Without a rule there is no compaction. Who does not lead compacts nothing, and knows what is old when it begins to
// lead. A failed compaction is made again soon; one that somebody else has made is not.
func TestCompactorLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if h := runFor(t, 0, 0, time.Hour, nil); h.tried != 0 {
			t.Errorf("%d compactions without a rule", h.tried)
		}
		h := runFor(t, 10*time.Minute, 0, 27*time.Minute+time.Second, func(h *history) {
			h.let(func() { h.leading = false })
			<-time.After(24*time.Minute + time.Second)
			h.let(func() {
				if h.tried != 0 {
					t.Errorf("a member that does not lead has compacted %d times", h.tried)
				}
				h.leading = true
			})
		})
		if want := []time.Duration{25 * time.Minute}; !slices.Equal(h.at, want) || h.to[0] != 15*60+1 {
			t.Errorf("a new leader compacts at %v to %v", h.at, h.to)
		}
		h = runFor(t, 10*time.Minute, 0, 13*time.Minute+time.Second, func(h *history) {
			h.let(func() { h.fail = errors.New("no leader") })
			<-time.After(11*time.Minute + time.Second)
			h.let(func() { h.fail = nil })
		})
		if want := []time.Duration{12 * time.Minute}; !slices.Equal(h.at, want) || h.tried != 3 {
			t.Errorf("compactions at %v, %d tried", h.at, h.tried)
		}
		h = runFor(t, 10*time.Minute, 0, 20*time.Minute-time.Second, func(h *history) {
			<-time.After(9 * time.Minute)
			h.let(func() { h.compacted = 100_000 })
		})
		if h.tried != 0 {
			t.Errorf("%d compactions of what has been compacted", h.tried)
		}
	})
}
