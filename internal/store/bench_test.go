package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// BenchmarkSettings loads a store with puts as mvcc writes them, half of them over keys that are there, with values
// that compress to about half, and waits until flushes and compactions have settled. It reports the process's CPU
// time per put, the bytes on disk per put, and the CPU time of a point read afterwards through a cold block cache.
// Run it with -benchtime=1x.
func BenchmarkSettings(b *testing.B) {
	none, snappy := sstable.NoCompression, sstable.SnappyCompression
	for _, c := range []struct {
		name         string
		upper, lower *sstable.CompressionProfile
		block        int
	}{
		{"none/16K", none, none, 16 << 10},
		{"snappy/16K", snappy, snappy, 16 << 10},
		{"none-snappy/4K", none, snappy, 4 << 10},
		{"none-snappy/8K", none, snappy, 8 << 10},
		{"none-snappy/16K", none, snappy, 16 << 10},
		{"none-snappy/32K", none, snappy, 32 << 10},
		{"none-minlz/16K", none, sstable.MinLZCompression, 16 << 10},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				benchmarkLoad(b, func(p *pebble.Options) {
					for i := range p.Levels {
						p.Levels[i].BlockSize = c.block
						p.Levels[i].Compression = func() *sstable.CompressionProfile { return c.lower }
						if i < 2 {
							p.Levels[i].Compression = func() *sstable.CompressionProfile { return c.upper }
						}
					}
				})
			}
		})
	}
}

func benchmarkLoad(b *testing.B, set func(*pebble.Options)) {
	const puts, reads = 300_000, 20_000
	a := newAlarm(nil)
	p := pebbleOptions(vfs.NewMem(), Options{MemTableBytes: 8 << 20, BlockCacheBytes: 8 << 20}, a)
	p.LBaseMaxBytes = 16 << 20
	set(p)
	db, err := openPebble("s", p, a)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	r := rand.New(rand.NewPCG(1, 1))
	key := func() []byte {
		return AppendKey(nil, FamilyVersion, fmt.Sprintf("/registry/pods/default/%08x", r.IntN(puts/2)*2654435761%(1<<32)))
	}
	value := make([]byte, 300)
	begin := cpuTime()
	batch := db.NewBatch()
	for i := range puts {
		for j := range 150 {
			value[j] = byte(r.Uint32())
		}
		k := key()
		batch.Set(append(binary.BigEndian.AppendUint64(k, ^uint64(i)), 9), value, nil)
		h := append(binary.BigEndian.AppendUint64([]byte{FamilyHistory}, uint64(i)), 0, 0, 0, 0, 0)
		batch.Set(h, k[1:], nil)
		if batch.Count() >= 20 {
			if err := batch.Commit(pebble.NoSync); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
	batch.Commit(pebble.NoSync)
	if err := db.Flush(); err != nil {
		b.Fatal(err)
	}
	for m := db.Metrics(); m.Compact.NumInProgress > 0; m = db.Metrics() {
		time.Sleep(time.Millisecond)
	}
	loaded := cpuTime()
	it, err := db.NewIter(FamilyOptions(FamilyVersion))
	if err != nil {
		b.Fatal(err)
	}
	for range reads {
		if it.SeekPrefixGE(key()) {
			it.Value()
		}
	}
	it.Close()
	b.ReportMetric(float64(loaded-begin)/puts, "cpu-ns/put")
	b.ReportMetric(float64(cpuTime()-loaded)/reads, "cpu-ns/read")
	b.ReportMetric(float64(db.Metrics().DiskSpaceUsage())/puts, "disk-B/put")
}

// cpuTime returns the CPU time of the process, in nanoseconds.
func cpuTime() int64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
