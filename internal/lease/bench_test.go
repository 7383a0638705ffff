package lease

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"holdfast/internal/kind"
)

const million = 1_000_000

// fill grants leases in batches, whose deadlines are spread over ten minutes.
func (r *rig) fill(n int) {
	for at := 0; at < n; at += 5000 {
		r.change(func(w *Writer) {
			for i := range 5000 {
				w.Grant(kind.LeaseID(rand.Int64()|1), 600, uint64(at+i)*NanosPerSecond/2000)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkOpen opens a store with a million leases, flushed.
func BenchmarkOpen(b *testing.B) {
	r := newRig(b)
	r.fill(million)
	if err := r.db.Flush(); err != nil {
		b.Fatal(err)
	}
	r.Table = nil
	before := heap()
	for b.Loop() {
		r.Table = nil
		r.open()
	}
	b.ReportMetric(float64(heap()-before)/float64(r.Len()), "bytes/lease")
}

// BenchmarkGrant, with batches of 100 and their commits.
func BenchmarkGrant(b *testing.B) {
	r := newRig(b)
	r.fill(million)
	id := kind.LeaseID(0)
	for b.Loop() {
		r.change(func(w *Writer) {
			for range 100 {
				id--
				w.Grant(id, 60, uint64(-id))
			}
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/lease")
}

// BenchmarkRenew keeps a million leases alive, in batches of 100.
func BenchmarkRenew(b *testing.B) {
	r := newRig(b)
	r.fill(million)
	all := r.All()
	now, at := uint64(600)*NanosPerSecond, 0
	for b.Loop() {
		r.change(func(w *Writer) {
			for range 100 {
				at = (at + 7919) % len(all)
				w.Renew(all[at].ID, now)
			}
		})
		now += NanosPerSecond / 300
		r.Due(now-600*NanosPerSecond, 100)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/lease")
}
