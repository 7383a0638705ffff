package batch

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// TestFailedReads holds B4: a disk that cannot be read is a store.Failure with the cause in it, from Get and from every
// move of an iterator, and never an absent record; afterwards the batch and the store can be closed, although the
// iterators were left open.
func TestFailedReads(t *testing.T) {
	mem := vfs.NewMem()
	id := kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}
	if err := store.Create(mem, "s", id, nil); err != nil {
		t.Fatal(err)
	}
	var broken atomic.Bool
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") {
			return syscall.EIO
		}
		return nil
	}))
	db, err := store.Open(fs, "s", id, store.Options{BlockCacheBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	b := New(db)
	key := store.AppendKey(nil, store.FamilyLease, "a")
	b.Set(key, make([]byte, 1000))
	b.Spill()
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	reads := map[string]func(){
		"Get":    func() { b.Get(key) },
		"First":  func() { it := b.Iter(nil, nil); it.First() },
		"SeekGE": func() { it := b.Iter(nil, nil); it.SeekGE(key) },
		"Last":   func() { it := b.Iter(nil, nil); it.Last() },
		"SeekLT": func() { it := b.Iter(nil, nil); it.SeekLT([]byte{0xff, 0}) },
	}
	for name, read := range reads {
		err := func() (err error) {
			defer func() { err = store.Recovered(recover()) }()
			read()
			return nil
		}()
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s gives %v", name, err)
		}
	}
	b.Set(key, nil)
	if _, ok := b.Get(key); !ok {
		t.Error("what the batch has written itself cannot be read")
	}
	if err := errors.Join(b.Close(), db.Close(false)); err != nil {
		t.Error(err)
	}
}
