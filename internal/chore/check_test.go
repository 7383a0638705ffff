package chore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/kind"
	"holdfast/internal/node"
)

// comparer is a member whose comparisons a test decides.
type comparer struct {
	mu        sync.Mutex
	leading   bool
	compacted kind.Revision
	result    node.Comparison
	err       error
	hang      bool // a comparison lasts until its context ends
	compared  []kind.Revision
	accused   [][]kind.MemberID
	accuseErr error
}

func (c *comparer) ClusterTime() (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return 0, c.leading
}

func (c *comparer) CompactedRevision() kind.Revision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.compacted
}

func (c *comparer) CompareHashes(ctx context.Context, rev kind.Revision) (node.Comparison, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.compared = append(c.compared, rev)
	if c.hang {
		c.mu.Unlock()
		<-ctx.Done()
		c.mu.Lock()
		return node.Comparison{}, ctx.Err()
	}
	return c.result, c.err
}

func (c *comparer) Accuse(_ context.Context, result node.Comparison) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accused = append(c.accused, result.Differ)
	return c.accuseErr
}

// set changes what comes next.
func (c *comparer) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// after lets time pass and returns the revisions at which it was compared meanwhile.
func (c *comparer) after(d time.Duration) []kind.Revision {
	<-time.After(d)
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	done := c.compared
	c.compared = nil
	return done
}

// running runs Checks for the time of a test.
func running(t *testing.T, c *comparer, always, compactions time.Duration, test func()) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			NewChecks(ChecksConfig{Node: c, Always: always, Compactions: compactions}).Run(ctx)
		}()
		<-time.After(time.Second / 10) // so that what is due comes before what is asked
		test()
		cancel()
		<-done
	})
}

// The leader compares all keys in the interval that is set; nobody else does, and without an interval nobody. Who differs
// is accused, every time; an error keeps nothing from the next time.
func TestChecksAlways(t *testing.T) {
	c := &comparer{compacted: 5, result: node.Comparison{Agreed: []kind.MemberID{1, 2}, Decided: true}}
	running(t, c, time.Minute, 0, func() {
		if got := c.after(5 * time.Minute); len(got) != 0 {
			t.Errorf("a follower has compared at %v", got)
		}
		c.set(func() { c.leading = true })
		if got := c.after(3 * time.Minute); !slices.Equal(got, []kind.Revision{0, 0, 0}) || len(c.accused) != 0 {
			t.Errorf("compared at %v, accused %v", got, c.accused)
		}
		c.set(func() { c.result.Differ = []kind.MemberID{3} })
		if got := c.after(2 * time.Minute); len(got) != 2 || len(c.accused) != 2 || !slices.Equal(c.accused[0], []kind.MemberID{3}) {
			t.Errorf("compared at %v, accused %v", got, c.accused)
		}
		c.set(func() { c.err, c.accused = errors.New("no"), nil })
		if got := c.after(time.Minute); len(got) != 1 || len(c.accused) != 0 {
			t.Errorf("after an error compared at %v, accused %v", got, c.accused)
		}
		c.set(func() { c.err = nil })
		if got := c.after(time.Minute); len(got) != 1 || len(c.accused) != 1 {
			t.Errorf("after the error compared at %v, accused %v", got, c.accused)
		}
	})
	running(t, c, 0, 0, func() {
		if got := c.after(1000 * time.Hour); len(got) != 0 {
			t.Errorf("compared at %v although it is switched off", got)
		}
	})
}

// A comparison that does not end is given up, and the next one comes.
func TestChecksDoNotHang(t *testing.T) {
	c := &comparer{leading: true, hang: true}
	running(t, c, time.Minute, 0, func() {
		if got := c.after(checkTimeout + 2*time.Minute); len(got) != 2 {
			t.Errorf("compared at %v", got)
		}
	})
}

// The result of a compaction is compared until everybody has answered, and then not again; the next leader does the same.
func TestChecksCompactions(t *testing.T) {
	c := &comparer{leading: true, result: node.Comparison{Agreed: []kind.MemberID{1, 2}, Silent: []kind.MemberID{3}, Decided: true}}
	running(t, c, 0, time.Minute, func() {
		expect := func(when string, d time.Duration, want ...kind.Revision) {
			t.Helper()
			if got := c.after(d); !slices.Equal(got, want) {
				t.Errorf("%s: compared at %v, not %v", when, got, want)
			}
		}
		expect("before a compaction", 3*time.Minute)
		c.set(func() { c.compacted = 10 })
		expect("one is silent", 2*time.Minute, 10, 10)
		c.set(func() { c.result.Silent = nil })
		expect("all answer", 3*time.Minute, 10)
		c.set(func() { c.compacted, c.err = 20, errors.New("no") })
		expect("an error", 2*time.Minute, 20, 20)
		c.set(func() { c.err, c.result.Differ, c.accuseErr = nil, []kind.MemberID{2}, errors.New("no") })
		expect("nobody could be accused", 2*time.Minute, 20, 20)
		c.set(func() { c.accused, c.accuseErr = nil, nil })
		expect("somebody differs", 3*time.Minute, 20)
		if len(c.accused) != 1 || !slices.Equal(c.accused[0], []kind.MemberID{2}) {
			t.Errorf("accused are %v", c.accused)
		}
		c.set(func() { c.leading, c.compacted = false, 30 })
		expect("another leads", 2*time.Minute)
		c.set(func() { c.leading = true })
		expect("it leads again", 2*time.Minute, 30)
	})
}
