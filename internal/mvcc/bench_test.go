package mvcc

import (
	"context"
	"fmt"
	"math/rand"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// benchWorld holds keys of 256-byte values, versions of each, in flushed tables.
func benchWorld(b *testing.B, keys, versions int, o Options) *world {
	w := newWorld(b, vfs.NewMem(), o)
	value := make([]byte, 256)
	for range versions {
		for at := 0; at < keys; at += 1000 {
			w.do(func(wr *Writer) {
				for i := at; i < min(at+1000, keys); i++ {
					wr.Put(benchKey(i), value, 0)
				}
			})
		}
	}
	w.close(true)
	w.open()
	b.ReportAllocs()
	b.ResetTimer()
	return w
}

// cpu returns the CPU time of the process so far in nanoseconds. On a busy machine it says more than the clock.
func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano() + u.Stime.Nano())
}

func benchKey(i int) []byte { return fmt.Appendf(nil, "/registry/pods/default/pod-%07d", i) }

func benchRange(b *testing.B, w *world, q func(i int) command.Range, want int) {
	ctx := context.Background()
	start := cpu()
	defer func() { b.ReportMetric((cpu()-start)/float64(b.N), "cpu-ns/op") }()
	for i := range b.N {
		a, err := w.s.Range(ctx, q(i))
		if err != nil || a.Kvs != want {
			b.Fatal(a.Kvs, err)
		}
		a.Release()
	}
}

func BenchmarkPointHit(b *testing.B) {
	w := benchWorld(b, 1000, 1, Options{})
	keys := make([]command.Range, 1000)
	for i := range keys {
		keys[i] = command.Range{Interval: command.NewInterval(benchKey(i), nil)}
		w.s.Range(context.Background(), keys[i])
	}
	b.ResetTimer()
	benchRange(b, w, func(i int) command.Range { return keys[i%1000] }, 1)
}

func BenchmarkPointMiss(b *testing.B) {
	for _, versions := range []int{1, 20} {
		b.Run(fmt.Sprintf("versions=%d", versions), func(b *testing.B) {
			w := benchWorld(b, 50_000, versions, Options{RowCacheBytes: -1})
			r := rand.New(rand.NewSource(1))
			benchRange(b, w, func(int) command.Range {
				return command.Range{Interval: command.NewInterval(benchKey(r.Intn(50_000)), nil)}
			}, 1)
		})
	}
}

func BenchmarkList10000(b *testing.B) {
	for _, k := range []struct {
		name     string
		versions int
		q        command.Range
		want     int
	}{
		{"whole", 1, command.Range{}, 10_000},
		{"versions=20", 20, command.Range{}, 10_000},
		{"keys-only", 1, command.Range{KeysOnly: true}, 10_000},
		{"count-only", 1, command.Range{CountOnly: true}, 0},
		{"page of 500", 1, command.Range{Limit: 500}, 500},
		{"by mod descending, 1", 1, command.Range{Limit: 1, Order: command.OrderDescend, Target: command.TargetMod}, 1},
	} {
		b.Run(k.name, func(b *testing.B) {
			w := benchWorld(b, 10_000, k.versions, Options{})
			k.q.Interval = everything
			benchRange(b, w, func(int) command.Range { return k.q }, k.want)
		})
	}
}

// BenchmarkPut is a put of 256 bytes in batches of 100 commands, of which half overwrite.
func BenchmarkPut(b *testing.B) {
	w := benchWorld(b, 50_000, 1, Options{})
	r := rand.New(rand.NewSource(1))
	value := make([]byte, 256)
	b.ResetTimer()
	start := cpu()
	defer func() { b.ReportMetric((cpu()-start)/float64(b.N), "cpu-ns/op") }()
	for i := 0; i < b.N; i += 100 {
		wr := w.s.Begin(w.b, nil)
		for range 100 {
			wr.BeginCommand()
			wr.Put(benchKey(r.Intn(100_000)), value, 0)
			wr.EndCommand()
		}
		w.commit(wr)
	}
}

// BenchmarkCompact is the deleting of one replaced version.
func BenchmarkCompact(b *testing.B) {
	w := newWorld(b, vfs.NewMem(), Options{})
	value := make([]byte, 256)
	for at := 0; at <= b.N; at += 1000 {
		w.do(func(wr *Writer) {
			for i := range 1000 {
				wr.Put(benchKey(i), value, 0)
			}
		})
	}
	w.compact(kind.Revision(w.s.Revision()))
	b.ReportAllocs()
	b.ResetTimer()
	start := cpu()
	defer func() { b.ReportMetric((cpu()-start)/float64(b.N), "cpu-ns/op") }()
	w.deleteAll()
}

// BenchmarkPutGrowing is a put of 256 bytes in batches of 50 commands into a store on disk that grows to a million keys. Its flushes and
// compactions are counted.
func BenchmarkPutGrowing(b *testing.B) {
	b.Chdir(b.TempDir())
	w := newWorld(b, vfs.Default, Options{})
	r := rand.New(rand.NewSource(1))
	value := make([]byte, 256)
	r.Read(value)
	b.ResetTimer()
	start := cpu()
	defer func() { b.ReportMetric((cpu()-start)/float64(b.N), "cpu-ns/op") }()
	for i := 0; i < b.N; i += 50 {
		wr := w.s.Begin(w.b, nil)
		for range 50 {
			wr.BeginCommand()
			r.Read(value[:64])
			wr.Put(benchKey(r.Intn(1_000_000)), value, 0)
			wr.EndCommand()
		}
		w.commit(wr)
	}
}
