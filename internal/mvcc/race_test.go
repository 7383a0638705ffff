package mvcc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// Readers of every kind run beside the applier and the deleting. Every command writes its own revision into all keys,
// so an answer of one revision holds one value only; a read at a revision is whole or refused as compacted (V4); the
// revision never goes back; a stream survives the compaction of its revision.
func TestReadersBesideCompaction(t *testing.T) {
	const keys, commands = 40, 400
	w := newWorld(t, vfs.NewMem(), Options{StepChanges: 25, RowCacheBytes: 1 << 20})
	write := func() {
		w.do(func(wr *Writer) {
			next := fmt.Sprint(w.s.Revision() + 1)
			for i := range keys {
				wr.Put(fmt.Appendf(nil, "key-%02d", i), []byte(next), 0)
			}
		})
	}
	write()
	var ended atomic.Bool
	var refused, read atomic.Int64
	var wg sync.WaitGroup
	reader := func(look func(last kind.Revision) (Answer, error)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			last := kind.Revision(0)
			for !ended.Load() && !t.Failed() {
				a, err := look(last)
				if errors.Is(err, ErrCompacted) {
					refused.Add(1)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				r := decodeAnswer(t, a)
				if a.Revision < last || r.Count != keys && r.Count != 1 {
					t.Errorf("revision %d after %d, %d keys", a.Revision, last, r.Count)
				}
				last = a.Revision
				for _, kv := range r.Kvs {
					if string(kv.Value) != fmt.Sprint(kv.ModRevision) || kv.ModRevision != r.Kvs[0].ModRevision {
						t.Errorf("at %d: %v", a.Revision, kv)
						return
					}
				}
				read.Add(1)
				a.Release()
			}
		}()
	}
	ctx := context.Background()
	all := command.Range{Interval: everything}
	reader(func(kind.Revision) (Answer, error) { return w.s.Range(ctx, all) })
	reader(func(kind.Revision) (Answer, error) { return w.s.Range(ctx, point("key-07")) })
	reader(func(last kind.Revision) (Answer, error) {
		q := all
		q.Revision = max(1, w.s.Revision()-3) // often compacted by the time it is read
		if a, err := w.s.Range(ctx, q); err != nil || a.Count == keys {
			return a, err
		}
		return w.s.Range(ctx, all)
	})
	reader(func(kind.Revision) (Answer, error) {
		v, err := w.s.View()
		if err != nil {
			return Answer{}, err
		}
		defer v.Close()
		first, err := v.Range(ctx, point("key-01"))
		if err != nil {
			return Answer{}, err
		}
		a, err := v.Range(ctx, all)
		if err == nil && decodeAnswer(t, first).Kvs[0].ModRevision != decodeAnswer(t, a).Kvs[0].ModRevision {
			t.Error("two reads of a view differ")
		}
		return a, err
	})
	reader(func(kind.Revision) (Answer, error) {
		seen, mod := 0, int64(0)
		err := w.s.RangeStream(ctx, all, 100, func(a Answer) error {
			defer a.Release()
			for _, kv := range decodeAnswer(t, a).Kvs {
				if seen++; mod != 0 && mod != kv.ModRevision {
					t.Error("a stream mixes revisions")
				}
				mod = kv.ModRevision
			}
			return nil
		})
		if err == nil && seen != keys {
			t.Errorf("a stream of %d keys", seen)
		}
		if err != nil {
			return Answer{}, err
		}
		return w.s.Range(ctx, all)
	})
	wg.Add(1)
	go func() {
		defer wg.Done()
		for !ended.Load() && !t.Failed() {
			if _, err := w.s.CompactStep(); err != nil {
				t.Error(err)
			}
		}
	}()
	for i := range commands {
		write()
		if i%3 == 0 {
			w.compact(w.s.Revision())
		}
	}
	ended.Store(true)
	wg.Wait()
	if read.Load() < 100 {
		t.Errorf("only %d reads", read.Load())
	}
	t.Logf("%d reads, %d refused", read.Load(), refused.Load())
	w.deleteAll()
	w.check()
}
