package mvcc

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// past is what a History must say, as the writers' own events had it.
type past struct {
	Event
	row, before string
}

func pastOf(e Event) past {
	p := past{Event: e, row: string(e.Row.Encoded)}
	if e.Before.Exists() {
		p.before = string(e.Before.Encoded)
	}
	return p
}

// randomHistory runs commands and returns what their writers say about them. Deletes, several keys in one revision and
// a key that changes twice in one revision are among them.
func randomHistory(t *testing.T, w *world, r *rand.Rand, batches int) (all []past) {
	t.Helper()
	for range batches {
		c := w.do(func(wr *Writer) {
			key := func() []byte { return []byte(fmt.Sprintf("k%d", r.Intn(12))) }
			switch r.Intn(5) {
			case 0:
				wr.DeleteRange(command.NewInterval(key(), []byte{0}), DeleteOptions{})
			case 1:
				k := key()
				wr.Put(k, []byte("first"), 0)
				wr.Put(k, []byte("second"), 7)
			case 2:
				k := key()
				wr.Put(k, []byte("gone at once"), 0)
				wr.DeleteRange(command.Interval{Shape: command.Point, Start: k}, DeleteOptions{})
			default:
				for i := range 1 + r.Intn(4) {
					wr.Put([]byte(fmt.Sprintf("k%d", i+r.Intn(3)*4)), []byte(strings.Repeat("v", r.Intn(50))), 0)
				}
			}
		})
		if c.Unlisted != 0 {
			t.Fatal("the events of a small batch are not listed")
		}
		for _, e := range c.Events {
			all = append(all, pastOf(e))
		}
	}
	return all
}

// The history says what the writers' events said, in whole revisions, whatever the bounds of a chunk are and whatever is
// wanted of it.
func TestHistoryAgreesWithEvents(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	w := newWorld(t, vfs.NewMem(), Options{})
	all := randomHistory(t, w, r, 300)
	ctx := context.Background()
	byRevision := func(rev kind.Revision) (out []past) {
		for _, p := range all {
			if p.Revision == rev {
				out = append(out, p)
			}
		}
		return out
	}
	for range 200 {
		v, err := w.s.View()
		if err != nil {
			t.Fatal(err)
		}
		from := kind.Revision(1 + r.Intn(int(v.Revision())))
		maxChanges, maxBytes := 1+r.Intn(40), 1+r.Intn(3000)
		level := Wanted(1 + r.Intn(2))
		wants := func(key []byte) bool { return len(key)%2 == 0 || key[1] != '3' }
		asked := 0
		events, to, err := v.History(ctx, HistoryQuery{From: from, MaxChanges: maxChanges, MaxBytes: maxBytes,
			Want: func(rev kind.Revision, _ bool, key []byte) Wanted {
				asked++
				if wants(key) {
					return level
				}
				return NotWanted
			}})
		if err != nil || to < from || asked == 0 && from > 1 {
			t.Fatalf("from %d to %d: %v", from, to, err)
		}
		bytes, i := 0, 0
		for rev := from; rev <= to; rev++ {
			for _, want := range byRevision(rev) {
				if !wants(want.Row.Key()) {
					continue
				}
				if i == len(events) {
					t.Fatalf("from %d to %d there is no change %d of revision %d", from, to, want.Sub, rev)
				}
				have := pastOf(events[i])
				if have.Revision != rev || have.Sub != want.Sub || have.Deleted != want.Deleted || have.Previous != want.Previous || have.row != want.row {
					t.Fatalf("change %d of revision %d is %+v, want %+v", want.Sub, rev, have, want)
				}
				if shown := have.before != ""; shown != (level == WantBefore && want.Previous > 0) {
					t.Fatalf("change %d of revision %d has a version before: %v", want.Sub, rev, shown)
				}
				if want.before != "" && have.before != "" && have.before != want.before {
					t.Fatalf("before change %d of revision %d was %q, want %q", want.Sub, rev, have.before, want.before)
				}
				if have.before != "" && events[i].Before.Mod != want.Previous {
					t.Fatalf("the version before change %d of %d is of revision %d", want.Sub, rev, events[i].Before.Mod)
				}
				if rev > from {
					bytes += len(have.row)
				}
				i++
			}
		}
		if i != len(events) {
			t.Fatalf("from %d to %d there are %d changes, want %d", from, to, len(events), i)
		}
		if bytes > maxBytes+200*50 && to > from {
			t.Fatalf("%d bytes are read, the bound is %d", bytes, maxBytes)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A view refuses what was compacted at its time and nothing that is compacted later; at the compacted revision itself
// the changes are there, but not what was before them.
func TestHistoryAndCompaction(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), Options{StepChanges: 3})
	for i := range 10 {
		w.put("k", fmt.Sprint(i))
	}
	early, err := w.s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	w.compact(6)
	w.deleteAll()
	late, err := w.s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	everything := func(kind.Revision, bool, []byte) Wanted { return WantBefore }
	read := func(v *View, from kind.Revision) ([]Event, kind.Revision, error) {
		return v.History(context.Background(), HistoryQuery{From: from, MaxChanges: 100, MaxBytes: 1 << 20, Want: everything})
	}
	if events, to, err := read(early, 2); err != nil || len(events) != 10 || to != 11 || events[1].Before.Mod != 2 {
		t.Errorf("the early view reads %d events to %d: %v", len(events), to, err)
	}
	if _, _, err := read(late, 5); !errors.Is(err, ErrCompacted) {
		t.Errorf("below the compacted revision the late view says %v", err)
	}
	events, to, err := read(late, 6)
	if err != nil || len(events) != 6 || to != 11 {
		t.Fatalf("from the compacted revision on the late view reads %d events to %d: %v", len(events), to, err)
	}
	if events[0].Before.Exists() || !events[1].Before.Exists() || events[0].Previous != 5 {
		t.Errorf("before the first change is %+v, before the second %+v", events[0].Before, events[1].Before)
	}
	if _, _, err := read(late, 12); !errors.Is(err, ErrFutureRevision) {
		t.Errorf("beyond the last revision the view says %v", err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for i := range 3000 {
		w.put("n", fmt.Sprint(i))
	}
	v, err := w.s.View()
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = v.History(ended, HistoryQuery{From: 6, MaxChanges: 10_000, MaxBytes: 1 << 20, Want: everything})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context it says %v", err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(v, 6); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed view says %v", err)
	}
}
