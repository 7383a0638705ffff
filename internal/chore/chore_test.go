package chore

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/batch"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/machine"
	"holdfast/internal/store"
)

const second = lease.NanosPerSecond

// fake is a member whose time stands still unless a test moves it, and whose machine ends leases.
type fake struct {
	t       *testing.T
	table   *lease.Table
	batch   *batch.Batch
	now     uint64
	leading bool
	fail    error
	cost    time.Duration // of the applier for a lease
	applied time.Duration
	times   int     // calls of LogTime
	batches []int   // leases that each proposal held
	ended   []int64 // ids
	alarm   bool    // a command about an alarm is due
	alarms  int     // those that were proposed
	mark    bool    // the members should compare
	raise   bool    // a command about the version is due
	raised  int     // those that were proposed
}

func newFake(t *testing.T) *fake {
	id := kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}
	fs := vfs.NewMem()
	if err := store.Create(fs, "store", id, nil); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(fs, "store", id, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	table, err := lease.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, table: table, batch: batch.New(db), leading: true}
	t.Cleanup(func() {
		if err := errors.Join(f.batch.Close(), db.Close(false)); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fake) ClusterTime() (uint64, bool) { return f.now, f.leading }
func (f *fake) LogTime()                    { f.times++ }
func (f *fake) Leases() *lease.Table        { return f.table }
func (f *fake) ApplyTime() time.Duration    { return f.applied }

func (f *fake) AlarmDue() (command.Command, bool) {
	if !f.alarm {
		return command.Command{}, false
	}
	return command.Command{Kind: command.KindAlarm}, true
}

func (f *fake) MarkDue() bool { return f.mark }

func (f *fake) VersionDue() (command.Command, bool) {
	return command.Command{Kind: command.KindVersionRaise}, f.raise
}

func (f *fake) change(do func(w *lease.Writer)) {
	w := f.table.Begin(f.batch)
	do(w)
	if err := f.batch.Commit(); err != nil {
		f.t.Fatal(err)
	}
	f.table.Publish(w)
}

func (f *fake) Propose(_ context.Context, c command.Command) (machine.Reply, error) {
	if c.Kind == command.KindAlarm {
		f.alarms++
		f.alarm = f.fail != nil
		return machine.Reply{}, f.fail
	}
	if c.Kind == command.KindVersionRaise {
		f.raised++
		f.raise = f.fail != nil
		return machine.Reply{}, f.fail
	}
	if c.Kind != command.KindLeaseExpire {
		f.t.Errorf("a command of kind %v is proposed", c.Kind)
	}
	if f.fail != nil {
		return machine.Reply{}, f.fail
	}
	e, whole, err := command.DecodeLeaseExpire(c.Payload)
	if err != nil || !whole {
		f.t.Error(whole, err)
	}
	f.batches = append(f.batches, len(e.IDs))
	f.change(func(w *lease.Writer) {
		for _, id := range e.IDs {
			l, exists := w.Get(id)
			if !exists || l.Deadline > f.now {
				f.t.Errorf("at %d lease %+v, %v, is proposed to end", f.now, l, exists)
				continue
			}
			w.Remove(id, true)
			f.ended = append(f.ended, int64(id))
		}
	})
	f.applied += time.Duration(len(e.IDs)) * f.cost
	return machine.Reply{}, nil
}

func (f *fake) grant(n int, ttl int64) {
	f.change(func(w *lease.Writer) {
		for i := range n {
			w.Grant(kind.LeaseID(i+1), ttl, f.now)
		}
	})
}

// A member sees to the alarm about itself whether it leads or not, and again when that has failed.
func TestAlarm(t *testing.T) {
	for _, leading := range []bool{true, false} {
		f := newFake(t)
		f.leading = leading
		c := New(Config{Node: f})
		c.turn(t.Context())
		if f.alarms != 0 {
			t.Errorf("leading %v: nothing is wrong, and %d alarms", leading, f.alarms)
		}
		f.alarm, f.fail = true, errors.New("no leader")
		c.turn(t.Context())
		f.fail = nil
		c.turn(t.Context())
		c.turn(t.Context())
		if f.alarms != 2 {
			t.Errorf("leading %v: %d proposals, one of which failed", leading, f.alarms)
		}
	}
}

// The leader raises the version, again when that has failed, and lets the log know the time when the members should
// compare (K4); nobody else does.
func TestRaiseAndMark(t *testing.T) {
	f := newFake(t)
	c := New(Config{Node: f})
	f.raise, f.mark, f.leading = true, true, false
	c.turn(t.Context())
	if f.raised+f.times != 0 {
		t.Errorf("one that does not lead: %d raised, %d times", f.raised, f.times)
	}
	f.leading, f.fail = true, errors.New("no leader")
	c.turn(t.Context())
	f.fail, f.mark = nil, false
	c.turn(t.Context())
	c.turn(t.Context())
	if f.raised != 2 || f.times != 1 {
		t.Errorf("%d raised, one of which failed, %d times", f.raised, f.times)
	}
}

// Without leases nothing is logged; with one the time is, at least twice in 500 ms (K2); it ends when its time has come,
// and the chore is there at that moment.
func TestTurn(t *testing.T) {
	f := newFake(t)
	c := New(Config{Node: f})
	if wait := c.turn(t.Context()); wait != interval || f.times != 0 {
		t.Errorf("without leases: wait %v, %d times", wait, f.times)
	}
	f.grant(1, 2)
	for range 3 {
		before := f.times
		if wait := c.turn(t.Context()); wait != interval || f.times != before+1 {
			t.Errorf("at %d: wait %v, %d times", f.now, wait, f.times)
		}
		f.now += uint64(interval)
	}
	f.now = 2*second - uint64(30*time.Millisecond)
	if wait := c.turn(t.Context()); wait != 30*time.Millisecond || len(f.batches) != 0 {
		t.Errorf("before its end: wait %v, %d proposals", wait, len(f.batches))
	}
	f.now = 2 * second
	if wait := c.turn(t.Context()); wait != interval || !slices.Equal(f.ended, []int64{1}) {
		t.Errorf("at its end: wait %v, ended are %v", wait, f.ended)
	}
}

// One who does not lead, or does not know the time yet, does nothing (K1).
func TestNotLeading(t *testing.T) {
	f := newFake(t)
	f.grant(5, 1)
	f.now, f.leading = 100*second, false
	if wait := New(Config{Node: f}).turn(t.Context()); wait != interval || f.times != 0 || len(f.batches) != 0 {
		t.Errorf("wait %v, %d times, %d proposals", wait, f.times, len(f.batches))
	}
}

// Many leases that end at once end in batches that the applier is through with in a few milliseconds, whatever a lease
// costs, and in no more batches than that takes (K3).
func TestBatches(t *testing.T) {
	for _, cost := range []time.Duration{time.Microsecond, 20 * time.Microsecond, 400 * time.Microsecond} {
		f := newFake(t)
		f.cost = cost
		const leases = 20_000
		f.grant(leases, 1)
		f.now = 2 * second
		New(Config{Node: f}).turn(t.Context())
		if len(f.ended) != leases {
			t.Errorf("%v a lease: %d of %d have ended", cost, len(f.ended), leases)
		}
		slow := 0
		for _, n := range f.batches {
			if n > mostBatch {
				t.Errorf("%v a lease: a batch of %d", cost, n)
			}
			if time.Duration(n)*cost > 2*slowBatch {
				slow++
			}
		}
		if slow > 3 {
			t.Errorf("%v a lease: %d batches take longer than %v", cost, slow, 2*slowBatch)
		}
		if most := leases/mostBatch + int(time.Duration(leases)*cost/fastBatch) + 20; cost < 100*time.Microsecond && len(f.batches) > most {
			t.Errorf("%v a lease: %d batches, %d would do", cost, len(f.batches), most)
		}
	}
}

// A proposal that fails is made again after a while, if this member still leads.
func TestFailure(t *testing.T) {
	f := newFake(t)
	f.grant(3, 1)
	c := New(Config{Node: f})
	f.now, f.fail = 5*second, errors.New("no leader")
	if wait := c.turn(t.Context()); wait != interval {
		t.Errorf("wait %v", wait)
	}
	f.fail = nil
	f.now += lease.RetryAfter
	c.turn(t.Context())
	if len(f.ended) != 3 {
		t.Errorf("%v have ended", f.ended)
	}
}

// Run ends with its context.
func TestRunEnds(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(Config{Node: f}).Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
