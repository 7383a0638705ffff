package assembly

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/snapshot"
	"holdfast/internal/store"
)

// BenchmarkSnapshot measures what it takes to bring a member in that has nothing, on the disk of the machine: the leader's
// side alone (a view of 1,000,000 keys of 256 bytes as chunks), and with the building of the new store.
func BenchmarkSnapshot(b *testing.B) {
	const keys = 1_000_000
	id := kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}
	dir := b.TempDir()
	must(b, store.Create(vfs.Default, dir+"/from", id, func(set func(key, value []byte)) error { machine.JoiningGenesis(set); return nil }))
	db, err := store.Open(vfs.Default, dir+"/from", id, store.Options{})
	must(b, err)
	defer db.Close(false)
	value := make([]byte, 256)
	for i := range keys {
		for j := range value[:128] {
			value[j] = byte(i * (j + 7) >> 3)
		}
		key := fmt.Appendf(nil, "%c/registry/pods/default/pod-%07d", store.FamilyVersion, i)
		key = append(key, 0)
		key = append(key, bytes.Repeat([]byte{0xff}, 5)...)
		key = append(key, byte(i>>16), byte(i>>8), byte(i), 9)
		must(b, db.Set(key, value, pebble.NoSync))
	}
	must(b, db.Flush())
	cpu := func() time.Duration {
		var u syscall.Rusage
		must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	for _, whole := range []bool{false, true} {
		b.Run(map[bool]string{false: "leader", true: "both"}[whole], func(b *testing.B) {
			for round := 0; b.Loop(); round++ {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				began, used := time.Now(), cpu()
				source, err := snapshot.Open(db, 1)
				must(b, err)
				path := fmt.Sprintf("%s/to-%v-%d", dir, whole, round)
				must(b, vfs.Default.MkdirAll(path, 0o700))
				builder := snapshot.NewBuilder(vfs.Default, path, id, snapshot.Expected{ID: 1, Cluster: 1}, snapshot.BuilderOptions{})
				bytes, peak := 0, uint64(0)
				for n := uint64(0); ; n++ {
					chunk, err := source.Chunk(n)
					if err == io.EOF {
						break
					}
					must(b, err)
					bytes += len(chunk)
					if whole {
						must(b, builder.Write(n, chunk))
					}
					if n%64 == 0 {
						runtime.ReadMemStats(&after)
						peak = max(peak, after.HeapInuse)
					}
				}
				if whole {
					must(b, builder.Finish())
				}
				must(b, source.Close())
				b.ReportMetric(time.Since(began).Seconds(), "s")
				b.ReportMetric((cpu() - used).Seconds(), "cpu-s")
				b.ReportMetric(float64(bytes)/1e6, "MB")
				b.ReportMetric((float64(peak)-float64(before.HeapInuse))/1e6, "heap-MB")
				must(b, vfs.Default.RemoveAll(path))
			}
		})
	}
}
