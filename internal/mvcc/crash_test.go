package mvcc

import (
	"context"
	"fmt"
	"math/rand"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// cutFS takes a clone of the disk at every sync of a file or directory, as if the power failed there.
type cutFS struct {
	*vfs.MemFS
	cut func(*vfs.MemFS)
}

func (fs *cutFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.MemFS.Create(name, c)
	return &cutFile{f, fs}, err
}

func (fs *cutFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.MemFS.OpenDir(name)
	return &cutFile{f, fs}, err
}

type cutFile struct {
	vfs.File
	fs *cutFS
}

func (f *cutFile) Sync() error {
	f.fs.cut(f.fs.MemFS)
	err := f.File.Sync()
	f.fs.cut(f.fs.MemFS)
	return err
}

func (f *cutFile) SyncData() error {
	f.fs.cut(f.fs.MemFS)
	err := f.File.SyncData()
	f.fs.cut(f.fs.MemFS)
	return err
}

// After a power cut at any sync the store is the whole of the batches up to the one that its applied record names,
// with the deleting of compactions at a place that fits, and the deleting goes on from there (I2, V5).
func TestPowerCutAtEverySync(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var clones []*vfs.MemFS
	var armed atomic.Bool
	var mu sync.Mutex // files are synced on several goroutines of Pebble's
	r := rand.New(rand.NewSource(3))
	fs := &cutFS{MemFS: mem, cut: func(m *vfs.MemFS) {
		mu.Lock()
		defer mu.Unlock()
		if armed.Load() && len(clones) < 150 {
			clones = append(clones, m.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: len(clones) * 37 % 101, RNG: newRNG(uint64(len(clones)))}))
		}
	}}
	w := newWorld(t, fs, Options{StepChanges: 4})
	armed.Store(true)
	m := newModel()
	states := map[uint64]*model{0: m.clone()}
	for range 60 {
		w.play(r, m)
		states[uint64(w.applied.Position.Index)] = m.clone()
		if _, err := w.s.CompactStep(); err != nil {
			t.Fatal(err)
		}
		if r.Intn(4) == 0 {
			if err := w.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	armed.Store(false)
	w.close(false)
	if len(clones) < 40 {
		t.Fatalf("only %d power cuts", len(clones))
	}
	seen := map[uint64]bool{}
	for i, clone := range clones {
		after := &world{t: t, fs: clone, options: w.options}
		after.open()
		index := uint64(after.applied.Position.Index)
		seen[index] = true
		want := states[index]
		if want == nil || want.revision != after.s.Revision() || want.compacted != after.s.Compacted() {
			t.Fatalf("cut %d: applied %d, revision %d, compacted %d", i, index, after.s.Revision(), after.s.Compacted())
		}
		want = want.clone()
		after.check()
		after.ask(r, want, 20)
		after.deleteAll()
		after.check()
		after.ask(r, want, 20)
		after.play(r, want)
		after.ask(r, want, 10)
		after.close(false)
	}
	if len(seen) < 5 {
		t.Errorf("the cuts came to only %d different states", len(seen))
	}
}

// A delete of very many keys stays within bounds of memory: batches are spilled, rows and events forgotten. Readers
// see it whole or not at all meanwhile, and after a crash in the middle Undo restores the state before; the same
// command then runs again.
func TestLargeDelete(t *testing.T) {
	keys := 200_000
	if testing.Short() {
		keys = 20_000 // enough for the ten spills that are asked for below
	}
	fs := vfs.NewCrashableMem()
	w := newWorld(t, fs, Options{SpillBytes: 5 * keys, PendingRows: 1000, EventBytes: 64 << 10})
	value := strings.Repeat("v", 100)
	for i := range 20 {
		w.do(func(wr *Writer) {
			for j := range keys / 20 {
				wr.Put(fmt.Appendf(nil, "key-%02d-%06d", i, j), []byte(value), 0)
			}
		})
	}
	w.put("stays", "x")
	w.deleteAll()
	ctx := context.Background()
	before, _, _, err := w.s.HashKV(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	count := func() int64 {
		a, err := w.s.Range(ctx, command.Range{Interval: everything, CountOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		return a.Count
	}
	keysOnly := command.NewInterval([]byte("key-"), []byte("key."))
	run := func(crash int) (deleted int64, spills int, crashed *vfs.MemFS) {
		wr := w.s.Begin(w.b, nil)
		wr.BeginCommand()
		start := w.applied
		var heap runtime.MemStats
		floor, peak := uint64(0), uint64(0)
		deleted = wr.DeleteRange(keysOnly, DeleteOptions{Prev: func(Row) {}, Full: func([]byte) {
			w.b.Set(store.AppliedKey(), store.EncodeApplied(start))
			w.b.Spill()
			if spills++; spills == crash {
				if err := w.db.Flush(); err != nil {
					t.Fatal(err)
				}
				crashed = fs.CrashClone(vfs.CrashCloneCfg{})
			}
			if spills%4 == 0 {
				if n := count(); n != int64(keys)+1 {
					t.Fatalf("a reader counts %d keys in the middle", n)
				}
				runtime.GC()
				runtime.ReadMemStats(&heap)
				if floor == 0 && spills > crash {
					floor = heap.HeapAlloc // the disk in memory has grown by its clone before
				}
				peak = max(peak, heap.HeapAlloc, floor)
			}
		}})
		if held := len(wr.rows) + len(wr.events); held > 2000 {
			t.Errorf("the writer still holds %d rows and events", held)
		}
		if floor == 0 || peak-floor > 64<<20 {
			t.Errorf("the heap grew by %d MiB", (peak-floor)>>20)
		}
		wr.EndCommand()
		w.commit(wr)
		if c := wr.Changes(); c.Unlisted != c.Last || len(c.Events) != 0 {
			t.Errorf("%d events, unlisted from %d of %d", len(c.Events), c.Unlisted, c.Last)
		}
		return deleted, spills, crashed
	}
	deleted, spills, crashed := run(5)
	if deleted != int64(keys) || spills < 10 || count() != 1 {
		t.Fatalf("%d deleted in %d spills, %d left", deleted, spills, count())
	}
	w.check()
	whole, _, _, err := w.s.HashKV(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.close(false)

	fs, w.fs = crashed, crashed
	w.open()
	if n := count(); n != int64(keys)+1 {
		t.Fatalf("%d keys after the crash", n)
	}
	if err := Undo(w.db, w.applied.Revision, nil); err != nil {
		t.Fatal(err)
	}
	w.check()
	if again, _, _, err := w.s.HashKV(ctx, 0); err != nil || again != before {
		t.Fatalf("the crash and its undoing left another state: %x, %x before, %v", again, before, err)
	}
	if it, err := w.db.NewIter(nil); err != nil || it.SeekGE(appendHistoryKey(nil, w.applied.Revision+1, 0)) && it.Key()[0] == store.FamilyHistory {
		t.Fatal("undoing left history behind")
	} else if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	if deleted, _, _ := run(0); deleted != int64(keys) {
		t.Fatalf("%d deleted again", deleted)
	}
	if again, _, _, err := w.s.HashKV(ctx, 0); err != nil || again != whole {
		t.Fatalf("the command after the crash had another effect: %x, %x without it, %v", again, whole, err)
	}
	w.compact(kind.Revision(w.s.Revision()))
	w.deleteAll()
	w.check()
	if c := w.s.Counts(); c.LiveKeys != 1 || c.Versions != 1 {
		t.Errorf("%+v after compacting everything", c)
	}
}
