package wal

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/internal/kind"
)

// TestEveryFailingOperation holds W3 and I4: whichever operation of the file system fails, the caller learns of it, the
// log takes nothing more, and the next Open finds what was synced.
func TestEveryFailingOperation(t *testing.T) {
	for seed := range uint64(4) {
		total := 0
		for n := 0; n == 0 || n < total; n++ {
			// The fault is over after one operation, as a transient one is: the log must remember by itself.
			var count atomic.Int64
			var failed errorfs.Op
			inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
				if i := count.Add(1); i == int64(n) {
					failed = op
					return errorfs.ErrInjected
				}
				return nil
			})
			mem := vfs.NewMem()
			must(t, mem.MkdirAll("data", 0o700))
			err := withFault(t, errorfs.Wrap(mem, inject), seed)
			if n == 0 {
				must(t, err)
				total = int(count.Load())
				continue
			}
			if !errors.Is(err, errorfs.ErrInjected) && !(failed.Kind == errorfs.OpRemove && strings.HasSuffix(failed.Path, newName)) {
				t.Fatalf("seed %d: operation %d (%+v) failed, and the caller was told %v", seed, n, failed, err)
			}
		}
		t.Logf("seed %d: %d operations", seed, total)
	}
}

func withFault(t *testing.T, fs vfs.FS, seed uint64) error {
	mem := vfs.Root(fs)
	if err := Create(fs, testDir, testID, kind.Position{}, smallLog); err != nil {
		// Whatever is there, the next attempt succeeds.
		if again := Create(mem, testDir, testID, kind.Position{}, smallLog); again != nil && !errors.Is(again, ErrExists) {
			t.Fatal(again)
		}
		must(t, open(t, mem, kind.Position{}, smallLog).Close())
		return err
	}
	a := newAuthor(seed)
	var err error
	for range 3 { // lives
		if a.log, err = Open(fs, testDir, testID, Witness{a.applied, a.adopted}, smallLog); err == nil {
			for range 25 {
				if err = a.step(); err != nil {
					break
				}
			}
			if err != nil && a.log.failed == nil {
				// Only making a file may fail and leave the log alive, and then it must go on.
				must(t, a.log.PrepareSpare())
				must(t, a.log.Sync())
			} else if err != nil {
				for i, call := range []func() error{
					a.log.Sync, a.log.Mark, a.log.PrepareSpare, a.log.Close,
					func() error { return a.log.Append(nil, hard(99, 0, 0)) },
					func() error { return a.log.Truncate(1 << 20) },
					func() error { return a.log.Reset(kind.Position{Index: 1 << 20, Term: 1}) },
				} {
					if again := call(); again == nil && i != 3 || i < 3 && !errors.Is(again, errorfs.ErrInjected) {
						t.Fatalf("after %v, call %d of the log says %v", err, i, again)
					}
				}
			} else if err = a.log.Close(); err == nil {
				a.durable()
			}
		}
		if err != nil {
			break
		}
	}
	l, openErr := Open(mem, testDir, testID, Witness{a.applied, a.adopted}, smallLog)
	if openErr != nil {
		t.Fatalf("after %v: %v", err, openErr)
	}
	a.check(t, l)
	must(t, l.Close())
	return err
}

// TestFullDisk holds that a disk without room for a segment loses nothing and leaves the log alive.
func TestFullDisk(t *testing.T) {
	for _, kindOf := range []errorfs.OpKind{errorfs.OpCreate, errorfs.OpFileWriteAt, errorfs.OpFileSyncData} {
		var full atomic.Bool
		mem := vfs.NewMem()
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			isNew := strings.HasSuffix(op.Path, newName)
			if full.Load() && isNew && (op.Kind == kindOf || kindOf == errorfs.OpCreate) {
				return fmt.Errorf("no room: %w", syscall.ENOSPC)
			}
			return nil
		}))
		l := newLog(t, fs, smallLog)
		full.Store(true)
		var err error
		i := uint64(1)
		for ; err == nil && i < 100; i++ {
			err = l.Append(entriesOf(i, i, 1, 500), nil)
		}
		i--
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if err := l.PrepareSpare(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		must(t, l.Sync())
		sameEntries(t, all(t, l), entriesOf(1, i-1, 1, 500))
		full.Store(false)
		must(t, l.Append(entriesOf(i, i, 1, 500), nil))
		must(t, l.Close())
		l = open(t, mem, kind.Position{}, smallLog)
		sameEntries(t, all(t, l), entriesOf(1, i, 1, 500))
		must(t, l.Close())
	}
}
