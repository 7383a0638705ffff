package mvcc

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// A reader that has chosen its revision and is then overtaken by a write, a compaction and all of its deleting does
// not read through the holes: a read of the latest starts again, one of the old revision is refused, and a view is
// of the new revision (V4).
func TestCompactionOvertakesReader(t *testing.T) {
	for _, explicit := range []kind.Revision{0, 2} {
		w := newWorld(t, vfs.NewMem(), Options{RowCacheBytes: -1})
		w.put("k", "old")
		overtake := func() {
			w.s.hooks.aimed = nil
			w.put("k", "new")
			w.compact(w.s.Revision())
			w.deleteAll()
		}
		w.s.hooks.aimed = overtake
		a, err := w.s.Range(context.Background(), command.Range{Interval: everything, Revision: explicit})
		if explicit != 0 {
			if !errors.Is(err, ErrCompacted) {
				t.Errorf("a read at revision 2: %d keys, %v", a.Kvs, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if r := decodeAnswer(t, a); a.Revision != 3 || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "new" {
			t.Errorf("a read of the latest finds %v at %d", r.Kvs, a.Revision)
		}
		w.s.hooks.aimed = func() {
			w.s.hooks.aimed = nil
			w.put("k", "newer")
			w.compact(w.s.Revision())
			w.deleteAll()
		}
		v, err := w.s.View()
		if err != nil {
			t.Fatal(err)
		}
		if row, ok := v.Reader(context.Background()).Get([]byte("k")); v.Revision() != 4 || !ok || string(row.Value()) != "newer" {
			t.Errorf("a view of %d finds %q, %v", v.Revision(), row.Value(), ok)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The changes of the compacted revision itself stay until the next compaction, since a watch may start there, and so
// does every version that a read at it needs; the history below is gone.
func TestCompactedRevisionKeepsItsHistory(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), Options{StepChanges: 1})
	for _, v := range []string{"2", "3", "4", "5"} {
		w.put("k", v)
	}
	oldest := func() kind.Revision {
		v, err := w.s.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		first := kind.Revision(0)
		if err := v.history(context.Background(), 0, func(rev kind.Revision, _ uint32, _ []byte) error {
			if first == 0 {
				first = rev
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return first
	}
	for _, c := range []kind.Revision{0, 3, 4} {
		w.compact(c)
		if w.s.Deleted() == c {
			t.Errorf("the deleting for %d is said to be finished before it began", c)
		}
		w.deleteAll()
		if w.s.Deleted() != c || w.s.Counts().Versions != int64(5-max(c, 2)+1) {
			t.Errorf("after compacting %d: deleted to %d, %+v", c, w.s.Deleted(), w.s.Counts())
		}
		if got := oldest(); got != max(c, 2) {
			t.Errorf("the history begins at %d after compacting %d", got, c)
		}
		w.check()
	}
	w.do(func(wr *Writer) {
		for _, c := range []kind.Revision{-1, 0, 4} {
			if err := wr.Compact(c); !errors.Is(err, ErrCompacted) {
				t.Errorf("compact %d: %v", c, err)
			}
		}
		if err := wr.Compact(6); !errors.Is(err, ErrFutureRevision) {
			t.Errorf("compact 6: %v", err)
		}
	})
}
