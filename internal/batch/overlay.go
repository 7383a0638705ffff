package batch

import (
	"math"
	"slices"

	"holdfast/internal/store"
)

// tombstone is the value length of a record that was deleted.
const tombstone = math.MaxUint32

// record says where the key and the value of a record lie in the bytes of the batch.
type record struct{ keyAt, keyLen, valueAt, valueLen uint32 }

func (r record) key(data []byte) []byte { return data[r.keyAt : r.keyAt+r.keyLen : r.keyAt+r.keyLen] }

func (r record) value(data []byte) []byte {
	if r.valueLen == tombstone {
		return nil
	}
	return data[r.valueAt : r.valueAt+r.valueLen : r.valueAt+r.valueLen]
}

// overlay is what a batch has written, by family. Keys of different families never compare equal and are ordered by
// their first byte, so the families one after the other are the whole.
type overlay struct {
	place    [256]uint16 // of a family in families, counted from 1
	families []*family
}

// family holds the records of one family. sorted has one record for each key, the latest; fresh has those written
// since the last read, in the order of writing.
type family struct {
	first  byte
	sorted []record
	fresh  []record
}

// add notes a record of a family.
func (o *overlay) add(first byte, r record) {
	p := o.place[first]
	if p == 0 {
		o.families = append(o.families, &family{first: first})
		p = uint16(len(o.families))
		o.place[first] = p
	}
	f := o.families[p-1]
	f.fresh = append(f.fresh, r)
}

// clear forgets the records and keeps the memory, unless it has become large.
func (o *overlay) clear() {
	for _, f := range o.families {
		const retained = 1 << 16
		if cap(f.sorted) > retained {
			f.sorted = nil
		}
		if cap(f.fresh) > retained {
			f.fresh = nil
		}
		f.sorted, f.fresh = f.sorted[:0], f.fresh[:0]
	}
}

// family returns the family of a first byte, sorted, or nil if it has no records.
func (o *overlay) family(data []byte, first byte) *family {
	p := o.place[first]
	if p == 0 {
		return nil
	}
	f := o.families[p-1]
	if len(f.fresh) > 0 {
		f.sort(data)
	}
	if len(f.sorted) == 0 {
		return nil
	}
	return f
}

// get returns the latest record of key.
func (o *overlay) get(data, key []byte) (record, bool) {
	if len(key) == 0 {
		return record{}, false
	}
	f := o.family(data, key[0])
	if f == nil {
		return record{}, false
	}
	i, found := f.find(data, key)
	if !found {
		return record{}, false
	}
	return f.sorted[i], true
}

// find returns the place of key among the sorted records, or where it would be.
func (f *family) find(data, key []byte) (int, bool) {
	return slices.BinarySearchFunc(f.sorted, key, func(r record, key []byte) int { return store.Compare(r.key(data), key) })
}

// sort moves the fresh records to their places. A few are put in one by one; many are sorted and merged.
func (f *family) sort(data []byte) {
	const few = 16
	if len(f.fresh) > few {
		f.merge(data)
		return
	}
	for _, r := range f.fresh {
		key := r.key(data)
		if n := len(f.sorted); n == 0 || store.Compare(f.sorted[n-1].key(data), key) < 0 {
			f.sorted = append(f.sorted, r)
			continue
		}
		if i, found := f.find(data, key); found {
			f.sorted[i] = r
		} else {
			f.sorted = slices.Insert(f.sorted, i, r)
		}
	}
	f.fresh = f.fresh[:0]
}

// merge sorts the fresh records and merges them with the others from the back, within one slice.
func (f *family) merge(data []byte) {
	byKey := func(a, b record) int { return store.Compare(a.key(data), b.key(data)) }
	if !slices.IsSortedFunc(f.fresh, byKey) {
		slices.SortStableFunc(f.fresh, byKey)
	}
	n, m := len(f.sorted), len(f.fresh)
	if n == 0 || byKey(f.sorted[n-1], f.fresh[0]) < 0 {
		f.sorted = append(f.sorted, f.fresh...)
	} else {
		f.sorted = slices.Grow(f.sorted, m)[:n+m]
		for at := n + m - 1; m > 0; at-- {
			// At equal keys the fresh record is later and goes behind, so that it is the one that stays.
			if n > 0 && byKey(f.sorted[n-1], f.fresh[m-1]) > 0 {
				n--
				f.sorted[at] = f.sorted[n]
			} else {
				m--
				f.sorted[at] = f.fresh[m]
			}
		}
	}
	f.fresh = f.fresh[:0]
	f.keepLatest(data)
}

// keepLatest drops all but the last of records with equal keys.
func (f *family) keepLatest(data []byte) {
	at := 0
	for i, r := range f.sorted {
		if i > 0 && store.Compare(f.sorted[at-1].key(data), r.key(data)) == 0 {
			at--
		}
		f.sorted[at] = r
		at++
	}
	f.sorted = f.sorted[:at]
}

// next returns the family with the lowest first byte in [from, to] that has records, sorted, or nil.
func (o *overlay) next(data []byte, from, to int) *family {
	best := -1
	for _, f := range o.families {
		if c := int(f.first); c >= from && c <= to && (best < 0 || c < best) && len(f.fresh)+len(f.sorted) > 0 {
			best = c
		}
	}
	if best < 0 {
		return nil
	}
	return o.family(data, byte(best))
}

// previous returns the family with the highest first byte in [from, to] that has records, sorted, or nil.
func (o *overlay) previous(data []byte, from, to int) *family {
	best := -1
	for _, f := range o.families {
		if c := int(f.first); c >= from && c <= to && c > best && len(f.fresh)+len(f.sorted) > 0 {
			best = c
		}
	}
	if best < 0 {
		return nil
	}
	return o.family(data, byte(best))
}

// seek returns the place in its family of the first record in [lower, upper), or -1 if there is none.
func (o *overlay) seek(data, lower, upper []byte) int {
	for c := int(lower[0]); ; {
		f := o.next(data, c, int(upper[0]))
		if f == nil {
			return -1
		}
		i, _ := f.find(data, lower)
		if i < len(f.sorted) {
			if store.Compare(f.sorted[i].key(data), upper) < 0 {
				return i
			}
			return -1
		}
		c = int(f.first) + 1
	}
}
