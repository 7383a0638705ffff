package mvcc

import (
	"context"
	"fmt"
	"math/rand"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// knobs are settings under which the same operations must give the same answers.
var knobs = []struct {
	name string
	Options
}{
	{"defaults", Options{StepChanges: 3}},
	{"no cache", Options{RowCacheBytes: -1, StepChanges: 1}},
	{"tiny cache", Options{RowCacheBytes: 1, StepChanges: 7}},
	{"blind", Options{PendingRows: 2, EventBytes: 400, SpillBytes: 1, StepChanges: 2}},
}

// The same random operations on the store and on a map with revisions agree: batches of several commands,
// compactions with the deleting in between, flushes, reopening, and reads with all options.
func TestAgreesWithModel(t *testing.T) {
	for _, k := range knobs {
		for seed := range int64(4) {
			t.Run(fmt.Sprintf("%s/%d", k.name, seed), func(t *testing.T) {
				r := rand.New(rand.NewSource(seed))
				w := newWorld(t, vfs.NewMem(), k.Options)
				m := newModel()
				for range 150 {
					w.play(r, m)
					w.ask(r, m, 6)
					for range r.Intn(3) {
						if _, err := w.s.CompactStep(); err != nil {
							t.Fatal(err)
						}
					}
					switch r.Intn(40) {
					case 0:
						if err := w.db.Flush(); err != nil {
							t.Fatal(err)
						}
					case 1:
						w.close(true)
						w.open()
					case 2:
						w.deleteAll()
						w.check()
					}
				}
				w.check()
				w.deleteAll()
				w.check()
				w.ask(r, m, 200)
			})
		}
	}
}

// HashKV does not depend on how far the deleting has got, on flushes, or on a restart (V5).
func TestHashKVIsLogical(t *testing.T) {
	r := rand.New(rand.NewSource(7))
	w := newWorld(t, vfs.NewMem(), Options{StepChanges: 5})
	m := newModel()
	for range 60 {
		w.play(r, m)
	}
	if w.s.Compacted() < w.s.Revision()-1 {
		w.compact(w.s.Revision() - 1)
	}
	ctx := context.Background()
	hash := func() [3]uint32 {
		kv, _, rev, err := w.s.HashKV(ctx, 0)
		if err != nil || rev != w.s.Revision() {
			t.Fatal(rev, err)
		}
		old, _, _, err := w.s.HashKV(ctx, w.s.Compacted())
		if err != nil {
			t.Fatal(err)
		}
		whole, err := w.s.Hash(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return [3]uint32{kv, old, whole}
	}
	want := hash()
	for done := false; !done; {
		var err error
		if done, err = w.s.CompactStep(); err != nil {
			t.Fatal(err)
		}
		if have := hash(); have != want {
			t.Fatalf("%x in the middle of the deleting, %x before", have, want)
		}
	}
	w.close(true)
	w.open()
	if have := hash(); have != want {
		t.Fatalf("%x after a restart, %x before", have, want)
	}
	w.put("one more", "")
	if have := hash(); have == want {
		t.Fatal("a put does not change the hash")
	}
	if h, compacted, rev, err := w.s.HashKV(ctx, -5); h != 0 || rev != -5 || compacted != w.s.Compacted() || err != nil {
		t.Fatal(h, compacted, rev, err)
	}
	if _, _, _, err := w.s.HashKV(ctx, w.s.Revision()+1); err != ErrFutureRevision {
		t.Fatal(err)
	}
	if c := w.s.Compacted(); c > 1 {
		if _, _, _, err := w.s.HashKV(ctx, c-1); err != ErrCompacted {
			t.Fatal(err)
		}
	}
}
