package batch

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// TestSpillLarge holds B2 for batches that are larger than a memtable, which Pebble takes over as they are: the batch
// can be used again, and a power cut at any moment leaves all records of each spill or none, with the cursor that was in it.
func TestSpillLarge(t *testing.T) {
	fs := vfs.NewCrashableMem()
	id := kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}
	if err := store.Create(fs, "s", id, nil); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(fs, "s", id, store.Options{MemTableBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	const spills, records = 12, 300
	cursor := store.AppendKey(nil, store.FamilyMeta, "cursor")
	key := func(i int) []byte {
		return store.AppendKey(nil, store.FamilyLease, string(binary.BigEndian.AppendUint32(nil, uint32(i))))
	}
	b := New(db)
	var cuts []*vfs.MemFS
	for n := range spills {
		for i := range records {
			b.Set(key(n*records+i), make([]byte, 100+n*30))
		}
		b.Set(cursor, binary.BigEndian.AppendUint32(nil, uint32(n+1)))
		b.Spill()
		if _, ok := b.Get(key(n * records)); !ok || b.Len() != 0 {
			t.Fatalf("spill %d: the batch has %d records, or the store has none", n, b.Len())
		}
		cuts = append(cuts, fs.CrashClone(vfs.CrashCloneCfg{}))
	}
	if err := errors.Join(b.Close(), db.Close(true)); err != nil {
		t.Fatal(err)
	}
	cuts = append(cuts, fs.CrashClone(vfs.CrashCloneCfg{}))
	last := 0
	for _, cut := range cuts {
		db, err := store.Open(cut, "s", id, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		last = 0
		if value, closer, err := db.Get(cursor); err == nil {
			last = int(binary.BigEndian.Uint32(value))
			closer.Close()
		} else if !errors.Is(err, pebble.ErrNotFound) {
			t.Fatal(err)
		}
		count := 0
		lower, upper := store.FamilyBounds(store.FamilyLease)
		if err := db.Visit(lower, upper, func(_, _ []byte) error { count++; return nil }); err != nil {
			t.Fatal(err)
		}
		if count != last*records {
			t.Errorf("the cursor stands at %d and %d records are there", last, count)
		}
		if err := db.Close(false); err != nil {
			t.Fatal(err)
		}
	}
	if last != spills {
		t.Errorf("after a flush %d spills are there", last)
	}
}
