package machine

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
)

// BenchmarkApply measures an entry of 50 puts of 256 bytes over 100,000 keys, from the bytes of the entry to the
// published revision; ns/put is the figure.
func BenchmarkApply(b *testing.B) {
	r := createRig(b, vfs.NewMem(), mvcc.Options{RowCacheBytes: 64 << 20}, Options{})
	defer r.close(false)
	random := rand.New(rand.NewPCG(1, 1))
	key := make([]byte, 8)
	payload := &command.Put{Key: key, Value: make([]byte, 256)}
	var entries [][]byte
	const puts = 50
	for range 500 {
		data := command.AppendEntryHeader(nil, 1, 1, puts)
		for i := range puts {
			binary.BigEndian.PutUint64(key, random.Uint64N(100_000))
			data = command.AppendCommand(data, &command.Command{Kind: command.KindPut,
				Origin: command.Origin{Member: 2, Boot: 7, Sequence: uint64(i)}, Payload: command.AppendPut(nil, payload)})
		}
		entries = append(entries, data)
	}
	index := kind.Index(1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := r.Begin(testLocal)
		index++
		if err := p.Apply(Entry{kind.Position{Index: index, Term: 1}, entries[i%len(entries)]}); err != nil {
			b.Fatal(err)
		}
		if err := p.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/puts, "ns/put")
}
