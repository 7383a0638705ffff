package machine

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/internal/command"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// A disk that fails under a command is an error of Apply, not an answer and not a panic; nothing is committed
// afterwards, and a member that starts again with a sound disk executes the entry.
func TestDiskFails(t *testing.T) {
	disk := vfs.NewMem()
	r := createRig(t, disk, mvcc.Options{}, Options{})
	var list []any
	for i := range 2000 {
		list = append(list, put(fmt.Sprintf("k%04d", i), "a value that takes some room in its block"))
	}
	r.apply(r.pack(list...))
	r.close(true)
	for name, c := range map[string]any{
		"put":    put("k0500", "x"),
		"keep":   &command.Put{Key: []byte("k0600"), IgnoreValue: true},
		"delete": &command.DeleteRange{Interval: span("k1", "l")},
		"txn": &command.Txn{Compares: []command.Compare{{Interval: span("k0", "k1"), Target: command.CompareVersion, Number: 1}},
			Success: []command.Op{{Range: &command.Range{Interval: span("k", "l")}}, {Put: put("k0001", "x")}}},
	} {
		broken := errors.New("the disk is broken")
		var failing atomic.Bool
		fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if failing.Load() && op.Kind == errorfs.OpFileReadAt {
				return broken
			}
			return nil
		}))
		db, err := store.Open(fs, "store", testIdentity, store.Options{BlockCacheBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		kv, err := mvcc.Open(db, mvcc.Options{RowCacheBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		m, err := Open(db, kv, Options{})
		if err != nil {
			t.Fatal(err)
		}
		second := &rig{t: t, fs: fs, db: db, kv: kv, Machine: m, last: m.Applied().Index}
		before := second.State()
		p := second.Begin(testLocal)
		failing.Store(true)
		if err := p.Apply(Entry{second.next(), second.pack(put("new", "1"), c)}); !errors.Is(err, broken) {
			t.Errorf("%s on a broken disk: %v", name, err)
		}
		if err := p.Commit(); !errors.Is(err, broken) {
			t.Errorf("%s on a broken disk was committed: %v", name, err)
		}
		failing.Store(false)
		if second.State() != before {
			t.Errorf("%s on a broken disk moved the state to %+v", name, second.State())
		}
		second.Machine.Close()
		db.Close(false)

		third := openRig(t, disk, mvcc.Options{}, Options{})
		if third.State() != before {
			t.Errorf("after %s the state is %+v, it was %+v", name, third.State(), before)
		}
		third.close(false)
	}
}

// BenchmarkDeleteMany measures one command that deletes 200,000 keys, spills included, by key.
func BenchmarkDeleteMany(b *testing.B) {
	const keys = 200_000
	for b.Loop() {
		b.StopTimer()
		r := createRig(b, vfs.NewMem(), mvcc.Options{}, Options{})
		for at := 0; at < keys; {
			var list []any
			for range 1000 {
				list = append(list, put(fmt.Sprintf("key-%08d", at), "0123456789abcdef"))
				at++
			}
			r.apply(r.pack(list...))
		}
		b.StartTimer()
		r.do(&command.DeleteRange{Interval: span("key", "kez")})
		b.StopTimer()
		if r.State().LiveKeys != 0 {
			b.Fatal(r.State().LiveKeys)
		}
		r.close(false)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
}
