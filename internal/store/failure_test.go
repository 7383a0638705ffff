package store

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// failingStore opens a store on a file system that fails writes and syncs of files whose names contain part, from the
// moment when the switch is set.
func failingStore(t *testing.T, part string, failure error) (db *DB, mem *vfs.MemFS, broken *atomic.Bool, told chan error) {
	t.Helper()
	mem = vfs.NewCrashableMem()
	if err := Create(mem, "data/store", testIdentity, nil); err != nil {
		t.Fatal(err)
	}
	broken, told = new(atomic.Bool), make(chan error, 8)
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		write := op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpCreate
		if broken.Load() && write && strings.Contains(op.Path, part) {
			return failure
		}
		return nil
	}))
	db, err := Open(fs, "data/store", testIdentity, Options{OnFailure: func(err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	return db, mem, broken, told
}

// TestFailedWrites holds S4: a disk that refuses to write or to sync a table or the MANIFEST reaches the owner once,
// with the cause in it; flushing says so instead of waiting for ever; closing returns; and what was durable before is
// what a power cut leaves.
func TestFailedWrites(t *testing.T) {
	for _, part := range []string{".sst", "MANIFEST"} {
		for _, failure := range []error{syscall.ENOSPC, syscall.EIO} {
			t.Run(part+" "+failure.Error(), func(t *testing.T) {
				db, mem, broken, told := failingStore(t, part, failure)
				if err := errors.Join(apply(db, 1), db.Flush(), apply(db, 2)); err != nil {
					t.Fatal(err)
				}
				broken.Store(true)
				if err := db.Flush(); !errors.Is(err, failure) {
					t.Errorf("the flush says %v", err)
				}
				select {
				case err := <-told:
					if !errors.Is(err, failure) {
						t.Errorf("the owner is told %v", err)
					}
				case <-time.After(time.Minute):
					t.Fatal("the owner is not told")
				}
				if p, err := db.Durable(); err != nil || p.Index != 1 {
					t.Errorf("durable is %v, %v", p, err)
				}
				if err := db.Close(true); !errors.Is(err, failure) {
					t.Errorf("closing says %v", err)
				}
				if len(told) > 0 {
					t.Errorf("the owner is told again: %v", <-told)
				}
				after := testOpen(t, mem.CrashClone(vfs.CrashCloneCfg{}), Options{})
				if a, err := after.Applied(); err != nil || a.Position.Index != 1 {
					t.Errorf("afterwards the store stands at %v, %v", a.Position, err)
				}
			})
		}
	}
}

// TestFailedFlushRests holds S4's "nothing is tried again": after a flush that has failed the engine is at rest, although
// it would begin the flush anew at once, and closing ends it.
func TestFailedFlushRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		if err := Create(mem, "data/store", testIdentity, nil); err != nil {
			t.Fatal(err)
		}
		var tries atomic.Int64
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			// It may succeed in the end, so that a store that does not rest fails the test instead of hanging it.
			if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") && tries.Add(1) < 1000 {
				return syscall.ENOSPC
			}
			return nil
		}))
		db, err := Open(fs, "data/store", testIdentity, Options{OnFailure: func(error) {}})
		if err != nil {
			t.Fatal(err)
		}
		if err := apply(db, 1); err != nil {
			t.Fatal(err)
		}
		if err := db.Flush(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("the flush says %v", err)
		}
		synctest.Wait()
		if n := tries.Load(); n != 1 {
			t.Errorf("the table was begun %d times", n)
		}
		if err := db.Close(false); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("closing says %v", err)
		}
	})
}

// TestFatalOnOurGoroutine holds that Pebble's end of the world is a Failure where an entry is applied, which the
// machine recovers, and that other panics pass.
func TestFatalOnOurGoroutine(t *testing.T) {
	var told error
	l := &logger{alarm: newAlarm(func(err error) { told = err })}
	err := func() (err error) {
		defer func() { err = Recovered(recover()) }()
		l.Fatalf("commit error: %v", syscall.EIO)
		return nil
	}()
	if !errors.Is(err, syscall.EIO) || !errors.Is(told, syscall.EIO) {
		t.Errorf("recovered %v, the owner is told %v", err, told)
	}
	defer func() {
		if recover() != "a bug" {
			t.Error("a bug was taken for a failure")
		}
	}()
	func() {
		defer func() { Recovered(recover()) }()
		panic("a bug")
	}()
}

// TestMust holds that nil passes and that a failure says what was being done.
func TestMust(t *testing.T) {
	Must("do nothing", nil)
	defer func() {
		if err := Recovered(recover()); !errors.Is(err, syscall.EIO) || !strings.HasPrefix(err.Error(), "read a key: ") {
			t.Errorf("recovered %v", err)
		}
	}()
	Must("read a key", syscall.EIO)
}

// TestStall holds that the owner hears of writes that wait, and of their end.
func TestStall(t *testing.T) {
	fs := vfs.NewMem()
	if err := Create(fs, "data/store", testIdentity, nil); err != nil {
		t.Fatal(err)
	}
	began, ended := make(chan string, 100), make(chan struct{}, 100)
	hold := make(chan struct{})
	slow := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && strings.Contains(op.Path, ".sst") {
			<-hold
		}
		return nil
	}))
	db := testOpen(t, slow, Options{MemTableBytes: 64 << 10, OnStallBegin: func(reason string) { began <- reason }, OnStallEnd: func() { ended <- struct{}{} }})
	written := make(chan error, 1)
	go func() {
		var err error
		for index := uint64(1); index <= 4000 && err == nil; index++ {
			err = apply(db, index)
		}
		written <- err
	}()
	if reason := <-began; !strings.Contains(reason, "memtable") {
		t.Errorf("the reason is %q", reason)
	}
	close(hold)
	<-ended
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}
