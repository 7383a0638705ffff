package watch

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/batch"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// world is a store in memory with a hub on it, and everything that ever happened.
type world struct {
	t    testing.TB
	db   *store.DB
	kv   *mvcc.Store
	hub  *Hub
	b    *batch.Batch
	stop context.CancelFunc
	done sync.WaitGroup

	log []change
}

// change is what the model knows of an event.
type change struct {
	rev     kind.Revision
	key     string
	value   string
	deleted bool
	create  kind.Revision
	version int64
	before  string // the value before
	existed bool
}

func newWorld(t testing.TB, mo mvcc.Options, o Options) *world {
	t.Helper()
	fs := vfs.NewMem()
	id := kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}
	err := store.Create(fs, "store", id, func(set func(key, value []byte)) error {
		set(store.AppliedKey(), store.EncodeApplied(store.Applied{Revision: mvcc.FirstRevision, Compacted: mvcc.NeverCompacted}))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t}
	if w.db, err = store.Open(fs, "store", id, store.Options{}); err != nil {
		t.Fatal(err)
	}
	if mo.RowCacheBytes == 0 {
		mo.RowCacheBytes = 1 << 20
	}
	if w.kv, err = mvcc.Open(w.db, mo); err != nil {
		t.Fatal(err)
	}
	w.b = batch.New(w.db)
	w.hub = New(w.kv, o)
	t.Cleanup(w.close)
	return w
}

// run starts the hub.
func (w *world) run() *world {
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	w.done.Go(func() {
		if err := w.hub.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	return w
}

func (w *world) close() {
	if w.stop != nil {
		w.stop()
		w.done.Wait()
	}
	if err := errors.Join(w.b.Close(), w.db.Close(false)); err != nil {
		w.t.Error(err)
	}
}

// do runs commands as one batch, publishes it and tells the hub.
func (w *world) do(commands ...func(*mvcc.Writer)) {
	w.t.Helper()
	wr := w.kv.Begin(w.b, nil)
	for _, c := range commands {
		wr.BeginCommand()
		c(wr)
		wr.EndCommand()
	}
	w.commit(wr)
	w.hub.Publish(wr.Changes())
}

// commit puts a batch into the store and publishes it, but does not tell the hub.
func (w *world) commit(wr *mvcc.Writer) {
	w.t.Helper()
	a := store.Applied{}
	wr.Fill(&a)
	w.b.Set(store.AppliedKey(), store.EncodeApplied(a))
	if err := w.b.Commit(); err != nil {
		w.t.Fatal(err)
	}
	w.kv.Publish(wr)
}

// put is a command that puts keys, all in one revision.
func (w *world) put(value string, keys ...string) func(*mvcc.Writer) {
	return func(wr *mvcc.Writer) {
		for _, key := range keys {
			prev := wr.Put([]byte(key), []byte(value), 0)
			c := change{rev: wr.Revision(), key: key, value: value, create: wr.Revision(), version: 1}
			if prev.Exists() {
				c.create, c.version = prev.Create, prev.Version+1
				c.before, c.existed = string(prev.Value()), true
			}
			w.log = append(w.log, c)
		}
	}
}

// remove is a command that deletes an interval.
func (w *world) remove(iv command.Interval) func(*mvcc.Writer) {
	return func(wr *mvcc.Writer) {
		var prev []mvcc.Row
		wr.Each(iv, func(r mvcc.Row) bool { prev = append(prev, r); return true })
		wr.DeleteRange(iv, mvcc.DeleteOptions{})
		for _, r := range prev {
			w.log = append(w.log, change{rev: wr.Revision(), key: string(r.Key()), deleted: true, before: string(r.Value()), existed: true})
		}
	}
}

func (w *world) compact(rev kind.Revision) {
	w.t.Helper()
	w.do(func(wr *mvcc.Writer) {
		if err := wr.Compact(rev); err != nil {
			w.t.Fatalf("compact %d: %v", rev, err)
		}
	})
	for {
		done, err := w.kv.CompactStep()
		if err != nil {
			w.t.Fatal(err)
		}
		if done {
			return
		}
	}
}

func point(key string) command.Interval { return command.NewInterval([]byte(key), nil) }
func span(key, end string) command.Interval {
	return command.NewInterval([]byte(key), []byte(end))
}

func (c change) String() string {
	kind := "put"
	if c.deleted {
		kind = "del"
	}
	return fmt.Sprintf("%d %s %s=%s create %d version %d before %q", c.rev, kind, c.key, c.value, c.create, c.version, c.before)
}

// heap returns the bytes that are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
