package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// open makes a store in memory.
func open(t testing.TB) *store.DB {
	t.Helper()
	fs := vfs.NewMem()
	id := kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}
	if err := store.Create(fs, "s", id, nil); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(fs, "s", id, store.Options{BlockCacheBytes: 16 << 20, OnFailure: func(err error) { t.Errorf("the store failed: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(false); err != nil {
			t.Error(err)
		}
	})
	return db
}

// randomKey draws one of some hundred keys of every shape: with and without a suffix, with bytes that look like
// lengths, and prefixes of one another.
func randomKey(r *rand.Rand) []byte {
	parts := []string{"", "a", "a\x00", "a\x00\x00", "a\x09", "ab", "\x00", "\x09\x09", "\xff", "\xff\xff", "b", "v"}
	switch r.IntN(4) {
	case 0:
		return store.AppendKey(nil, store.FamilyLease, parts[r.IntN(len(parts))])
	case 1:
		b := binary.BigEndian.AppendUint64([]byte{store.FamilyHistory}, uint64(r.IntN(20)))
		return append(binary.BigEndian.AppendUint32(b, uint32(r.IntN(2))), 0)
	default:
		b := store.AppendKey(nil, store.FamilyVersion, parts[r.IntN(len(parts))])
		if r.IntN(6) == 0 {
			return b
		}
		return append(binary.BigEndian.AppendUint64(b, ^uint64(r.IntN(6))), 9)
	}
}

// model is a sorted list of records.
type model []entry

type entry struct{ key, value []byte }

func (m model) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(m, key, func(e entry, key []byte) int { return store.Compare(e.key, key) })
}

func (m *model) set(key, value []byte) {
	if i, ok := m.find(key); ok {
		(*m)[i].value = value
	} else {
		*m = slices.Insert(*m, i, entry{key, value})
	}
}

func (m *model) delete(key []byte) {
	if i, ok := m.find(key); ok {
		*m = slices.Delete(*m, i, i+1)
	}
}

func (m *model) deleteRange(lower, upper []byte) {
	*m = slices.DeleteFunc(*m, func(e entry) bool {
		return store.Compare(lower, e.key) <= 0 && store.Compare(e.key, upper) < 0
	})
}

// TestModel holds B1 and B2: random operations give what a sorted list gives, over a real store, with iterators that
// stay open while the batch changes under them.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { runModel(t, seed, 1500) })
	}
}

func runModel(t *testing.T, seed uint64, steps int) {
	r := rand.New(rand.NewPCG(seed, 1))
	db := open(t)
	b := New(db)
	defer b.Close()
	var now model
	iterate := r.IntN(4) // how often iterators are used, so that small and large fresh lists both occur
	committed := storeContents(t, db.DB)
	now = slices.Clone(committed)
	var it *Iter
	var at int              // the model's place of the iterator
	var lower, upper []byte // its bounds
	within := func(key []byte) bool {
		return (lower == nil || store.Compare(lower, key) <= 0) && (upper == nil || store.Compare(key, upper) < 0)
	}
	check := func(what string, ok bool) {
		t.Helper()
		expected := at >= 0 && at < len(now) && within(now[at].key)
		if ok != expected || it.Valid() != expected {
			t.Fatalf("%s says %v, expected %v", what, ok, expected)
		}
		if ok && (!bytes.Equal(it.Key(), now[at].key) || !bytes.Equal(it.Value(), now[at].value)) {
			t.Fatalf("%s stands on %x, expected %x", what, it.Key(), now[at].key)
		}
	}
	closeIter := func() {
		if it != nil {
			it.Close()
			it = nil
		}
	}
	for step := range steps {
		var current []byte
		if it != nil && it.Valid() {
			current = bytes.Clone(it.Key())
		}
		switch op := r.IntN(20 + iterate*6); {
		case op < 6:
			key, value := randomKey(r), fmt.Appendf(nil, "%d", step)
			if r.IntN(8) == 0 {
				value = append(value, make([]byte, 100<<r.IntN(9))...) // lengths of one, two and three bytes
			}
			size := b.Size()
			b.Set(key, value)
			now.set(key, value)
			if grown := b.Size() - size; grown < len(key)+len(value) {
				t.Fatalf("a record of %d bytes made the batch grow by %d", len(key)+len(value), grown)
			}
		case op < 9:
			key := randomKey(r)
			b.Delete(key)
			now.delete(key)
		case op < 15:
			key := randomKey(r)
			value, ok := b.Get(key)
			i, expected := now.find(key)
			if ok != expected || ok && !bytes.Equal(value, now[i].value) {
				t.Fatalf("step %d: Get(%x) = %q, %v; expected %v", step, key, value, ok, expected)
			}
		case op == 15 && r.IntN(4) == 0:
			x, y := randomKey(r), randomKey(r)
			if store.Compare(x, y) > 0 {
				x, y = y, x
			}
			if store.Compare(x, y) == 0 || !untouched(b, x, y) {
				continue
			}
			b.DeleteRange(x, y)
			now.deleteRange(x, y)
		case op == 16:
			closeIter()
			switch r.IntN(3) {
			case 0:
				b.Reset()
				now = slices.Clone(committed)
			case 1:
				b.Spill()
			case 2:
				if err := b.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			if b.Len() != 0 {
				t.Fatalf("%d records are left", b.Len())
			}
			committed = slices.Clone(now)
			if r.IntN(3) == 0 {
				if err := db.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			continue
		case op == 17:
			closeIter()
			lower, upper = nil, nil
			if r.IntN(2) == 0 {
				lower = randomKey(r)
			}
			if r.IntN(2) == 0 {
				upper = randomKey(r)
			}
			if lower != nil && upper != nil && store.Compare(lower, upper) > 0 {
				lower, upper = upper, lower
			}
			it = b.Iter(lower, upper)
			continue
		case it == nil:
			continue
		case !it.Valid() || r.IntN(5) == 0:
			key := randomKey(r)
			i, _ := now.find(key)
			first, last := 0, len(now)
			if lower != nil {
				first, _ = now.find(lower)
			}
			if upper != nil {
				last, _ = now.find(upper)
			}
			switch r.IntN(4) {
			case 0:
				at = first
				check("First", it.First())
			case 1:
				at = max(i, first)
				check("SeekGE", it.SeekGE(key))
			case 2:
				at = last - 1
				check("Last", it.Last())
			case 3:
				at = min(i, last) - 1
				check("SeekLT", it.SeekLT(key))
			}
			continue
		default:
			i, found := now.find(current)
			switch r.IntN(4) {
			case 0, 1:
				at = i
				if found {
					at++
				}
				check("Next", it.Next())
			case 2:
				for at = i; at < len(now) && bytes.Equal(now[at].key[:store.Split(now[at].key)], current[:store.Split(current)]); at++ {
				}
				check("NextPrefix", it.NextPrefix())
			case 3:
				at = i - 1
				check("Prev", it.Prev())
			}
			continue
		}
	}
	closeIter()
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := storeContents(t, db.DB); !equalModels(got, now) {
		t.Fatalf("the store holds %d records, expected %d, or others", len(got), len(now))
	}
}

// untouched says whether the batch has written nothing in the range.
func untouched(b *Batch, lower, upper []byte) bool { return b.overlay.seek(b.data(), lower, upper) < 0 }

func equalModels(a, b model) bool {
	return slices.EqualFunc(a, b, func(x, y entry) bool { return bytes.Equal(x.key, y.key) && bytes.Equal(x.value, y.value) })
}

func storeContents(t testing.TB, r pebble.Reader) (m model) {
	t.Helper()
	it, err := r.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		m = append(m, entry{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
	}
	if err := it.Error(); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMetamorphic holds B1 against Pebble's indexed batch, which was written by others: the same records, the same
// walk up and down after each handful of changes.
func TestMetamorphic(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		db := open(t)
		b, x := New(db), db.NewIndexedBatch()
		for range 40 {
			for range r.IntN(40) {
				key := randomKey(r)
				if r.IntN(3) > 0 {
					value := fmt.Append(nil, r.Uint64())
					b.Set(key, value)
					x.Set(key, value, nil)
				} else {
					b.Delete(key)
					x.Delete(key, nil)
				}
			}
			expected := storeContents(t, x)
			it := b.Iter(nil, nil)
			var up, down model
			for ok := it.First(); ok; ok = it.Next() {
				up = append(up, entry{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
			}
			for ok := it.Last(); ok; ok = it.Prev() {
				down = append(down, entry{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
			}
			it.Close()
			slices.Reverse(down)
			if !equalModels(up, expected) || !equalModels(down, expected) {
				t.Fatalf("seed %d: the walks differ from the indexed batch's", seed)
			}
			if r.IntN(8) == 0 {
				b.Spill()
				x.Close()
				x = db.NewIndexedBatch()
			}
		}
		x.Close()
		b.Close()
	}
}

// violates requires that f breaks an invariant.
func violates(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if _, ok := recover().(invariant.Violation); !ok {
			t.Errorf("%s is let through", what)
		}
	}()
	f()
}

// TestMisuse holds the rules of the owner: what would give wrong answers silently is a violation instead.
func TestMisuse(t *testing.T) {
	b := New(open(t))
	defer b.Close()
	key := store.AppendKey(nil, store.FamilyLease, "a")
	b.Set(key, nil)
	lower, upper := store.FamilyBounds(store.FamilyLease)
	violates(t, "a range deletion over a written key", func() { b.DeleteRange(lower, upper) })
	violates(t, "a backward range deletion", func() { b.DeleteRange(upper, lower) })
	violates(t, "a key without an end", func() { b.Set([]byte("la"), nil) })
	violates(t, "an empty key", func() { b.Delete(nil) })
	it := b.Iter(nil, nil)
	violates(t, "a commit under an iterator", func() { b.Commit() })
	violates(t, "a step from nowhere", func() { it.Next() })
	it.Close()
	violates(t, "a closed iterator", func() { it.First() })
}

// TestBoundsOfAnyBytes holds that bounds which are no keys, a bare suffix among them, order as the Comparer says.
func TestBoundsOfAnyBytes(t *testing.T) {
	db := open(t)
	b, x := New(db), db.NewIndexedBatch()
	defer b.Close()
	defer x.Close()
	r := rand.New(rand.NewPCG(7, 7))
	for range 60 {
		key := randomKey(r)
		b.Set(key, key)
		x.Set(key, key, nil)
	}
	bounds := [][]byte{nil, {0}, {1}, {2}, {'l'}, {'v'}, {0xff}, {0xff, 0xff}, {'m', 2}, {9, 9, 9, 9, 9, 9, 9, 9, 9}, {'z', 1}, {'h', 0, 2}}
	for _, lower := range bounds {
		for _, upper := range bounds {
			if lower != nil && upper != nil && store.Compare(lower, upper) > 0 {
				continue
			}
			p, err := x.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
			if err != nil {
				t.Fatal(err)
			}
			it := b.Iter(lower, upper)
			p.First()
			for ok := it.First(); ok || p.Valid(); ok = it.Next() {
				if ok != p.Valid() || !bytes.Equal(it.Key(), p.Key()) {
					t.Fatalf("bounds %x %x: a walk up differs", lower, upper)
				}
				p.Next()
			}
			p.Last()
			for ok := it.Last(); ok || p.Valid(); ok = it.Prev() {
				if ok != p.Valid() || !bytes.Equal(it.Key(), p.Key()) {
					t.Fatalf("bounds %x %x: a walk down differs", lower, upper)
				}
				p.Prev()
			}
			it.Close()
			p.Close()
		}
	}
}
