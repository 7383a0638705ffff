package batch

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/store"
)

// put appends the keys of the two records of a put: the version and its history.
func putKeys(v, h []byte, user string, revision uint64) ([]byte, []byte) {
	v = append(append(append(v[:0], store.FamilyVersion), user...), 0)
	v = append(binary.BigEndian.AppendUint64(v, ^revision), 9)
	h = binary.BigEndian.AppendUint64(append(h[:0], store.FamilyHistory), revision)
	return v, append(h, 0, 0, 0, 0, 0)
}

const userKeys = 1 << 12

func users() []string {
	list := make([]string, userKeys)
	for i := range list {
		list[i] = fmt.Sprintf("/registry/pods/default/%08x", i*2654435761%(1<<32))
	}
	return list
}

// BenchmarkSet is one of the two records of a put, in batches of a thousand that are thrown away.
func BenchmarkSet(b *testing.B) {
	batch := New(open(b))
	defer batch.Close()
	list, value := users(), make([]byte, 300)
	var v, h []byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		v, h = putKeys(v, h, list[i%userKeys], uint64(i))
		batch.Set(v, value)
		if batch.Len() == 1000 {
			batch.Reset()
		}
	}
}

// BenchmarkPuts is an entry of five puts: ten records and the applied record, nothing read. It is thrown away instead
// of committed, because what a commit costs is the same for both and hides the difference.
func BenchmarkPuts(b *testing.B) {
	value, history, applied := make([]byte, 300), make([]byte, 50), store.EncodeApplied(store.Applied{})
	list := users()
	b.Run("overlay", func(b *testing.B) {
		batch := New(open(b))
		defer batch.Close()
		var v, h []byte
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			for j := range 5 {
				v, h = putKeys(v, h, list[(5*i+j)%userKeys], uint64(5*i+j))
				batch.Set(v, value)
				batch.Set(h, history)
			}
			batch.Set(store.AppliedKey(), applied)
			batch.Reset()
		}
	})
	b.Run("indexed", func(b *testing.B) {
		db := open(b)
		batch := db.NewIndexedBatch()
		var v, h []byte
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			for j := range 5 {
				v, h = putKeys(v, h, list[(5*i+j)%userKeys], uint64(5*i+j))
				batch.Set(v, value, nil)
				batch.Set(h, history, nil)
			}
			batch.Set(store.AppliedKey(), applied, nil)
			batch.Reset()
		}
		batch.Close()
	})
}

// BenchmarkTxns is an entry of twenty transactions, each of which looks for the latest version of a key by an
// iterator, writes it and ranges over ten keys, then is thrown away.
func BenchmarkTxns(b *testing.B) {
	value, history := make([]byte, 300), make([]byte, 50)
	list := users()
	fill := func(b *testing.B) *store.DB {
		db := open(b)
		first := New(db)
		defer first.Close()
		var v, h []byte
		for i, user := range list {
			v, h = putKeys(v, h, user, uint64(i))
			first.Set(v, value)
		}
		first.Spill()
		if err := db.Flush(); err != nil {
			b.Fatal(err)
		}
		return db
	}
	b.Run("overlay", func(b *testing.B) {
		batch := New(fill(b))
		defer batch.Close()
		var v, h []byte
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			for j := range 20 {
				v, h = putKeys(v, h, list[(20*i+j*7)%userKeys], uint64(userKeys+20*i+j))
				prefix := v[:len(v)-9]
				it := batch.Iter(prefix, nil)
				it.SeekGE(prefix)
				batch.Set(v, value)
				batch.Set(h, history)
				for range 10 {
					if it.Valid() {
						it.NextPrefix()
					}
				}
				it.Close()
			}
			batch.Reset()
		}
	})
	b.Run("indexed", func(b *testing.B) {
		db := fill(b)
		batch := db.NewIndexedBatch()
		var v, h []byte
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			for j := range 20 {
				v, h = putKeys(v, h, list[(20*i+j*7)%userKeys], uint64(userKeys+20*i+j))
				prefix := v[:len(v)-9]
				it, err := batch.NewIter(&pebble.IterOptions{LowerBound: prefix})
				if err != nil {
					b.Fatal(err)
				}
				it.SeekGE(prefix)
				batch.Set(v, value, nil)
				batch.Set(h, history, nil)
				for range 10 {
					if it.Valid() {
						it.NextPrefix()
					}
				}
				it.Close()
			}
			batch.Reset()
		}
		batch.Close()
	})
}
