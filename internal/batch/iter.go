package batch

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/invariant"
	"holdfast/internal/store"
)

// Iter walks over the records that the batch and the store have together, in the order of the store's keys. It sees
// the batch as it is at each step: a record that was written behind its position is not met, one that was written
// before it is, and the one it stands on may be deleted. It sees the store as it was when it was made. It must be
// closed before the batch is committed, spilled, reset or closed.
type Iter struct {
	b            *Batch
	store        *pebble.Iterator
	lower, upper []byte // empty for none
	slot         int    // in the open iterators of the batch
	age, epoch   uint64 // of the batch, when the overlay's cursor was last placed

	over cursor // in the overlay
	back bool   // the last step went down

	valid                  bool
	fromStore, fromOverlay bool   // where the current key stands; the overlay's record counts if both
	held                   []byte // a copy of the current key, while the cursors move
}

// cursor is a place in the overlay.
type cursor struct {
	data []byte
	f    *family // nil if the cursor stands nowhere
	at   int
	key  []byte
	rec  record
}

// Iter returns an iterator over the keys from lower up to but not including upper; nil stands for no bound. The
// bounds are copied. It is not positioned yet.
func (b *Batch) Iter(lower, upper []byte) *Iter {
	var it *Iter
	if n := len(b.spare); n > 0 {
		it, b.spare = b.spare[n-1], b.spare[:n-1]
	} else {
		it = &Iter{}
	}
	*it = Iter{b: b, age: b.age, epoch: b.epoch, lower: append(it.lower[:0], lower...), upper: append(it.upper[:0], upper...), held: it.held[:0]}
	if n := len(b.idle); n > 0 {
		it.store, b.idle = b.idle[n-1], b.idle[:n-1]
		it.store.SetBounds(lower, upper)
	} else {
		var err error
		if it.store, err = b.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper}); err != nil {
			store.Fail("open an iterator of the store", err)
		}
	}
	it.slot = len(b.open)
	b.open = append(b.open, it)
	return it
}

// Close ends the iterator. It must not be used afterwards.
func (it *Iter) Close() {
	b := it.b
	invariant.Check(b != nil, "an iterator of a batch was closed twice")
	it.check()
	if len(b.idle) < 4 && it.store.Error() == nil {
		b.idle = append(b.idle, it.store)
	} else {
		it.store.Close() // an error of it has been raised by the step that met it
	}
	last := len(b.open) - 1
	b.open[it.slot] = b.open[last]
	b.open[it.slot].slot = it.slot
	b.open[last] = nil
	b.open = b.open[:last]
	it.b, it.store, it.over, it.valid = nil, nil, cursor{}, false
	b.spare = append(b.spare, it)
}

// Valid says whether the iterator stands on a record.
func (it *Iter) Valid() bool { return it.valid }

// Key returns the key of the current record. It must not be changed and is valid until the next step.
func (it *Iter) Key() []byte {
	if it.fromOverlay {
		return it.over.key
	}
	return it.store.Key()
}

// Value returns the value of the current record. It must not be changed and is valid until the next step.
func (it *Iter) Value() []byte {
	if it.fromOverlay {
		return it.over.rec.value(it.over.data)
	}
	value, err := it.store.ValueAndErr()
	store.Must("read a value of the store", err)
	return value
}

// First goes to the first record and says whether there is one.
func (it *Iter) First() bool {
	it.begin(false)
	it.store.First()
	it.over.seekGE(&it.b.overlay, it.lower, it.lower, it.upper)
	return it.settleUp()
}

// SeekGE goes to the first record at or after key and says whether there is one.
func (it *Iter) SeekGE(key []byte) bool {
	it.begin(false)
	it.store.SeekGE(key)
	it.over.seekGE(&it.b.overlay, key, it.lower, it.upper)
	return it.settleUp()
}

// Last goes to the last record and says whether there is one.
func (it *Iter) Last() bool {
	it.begin(true)
	it.store.Last()
	it.over.seekLT(&it.b.overlay, nil, it.lower, it.upper)
	return it.settleDown()
}

// SeekLT goes to the last record before key and says whether there is one.
func (it *Iter) SeekLT(key []byte) bool {
	it.begin(true)
	it.store.SeekLT(key)
	it.over.seekLT(&it.b.overlay, key, it.lower, it.upper)
	return it.settleDown()
}

// Next goes to the next record and says whether there is one. The iterator must be valid.
func (it *Iter) Next() bool {
	it.face(false)
	if it.fromStore {
		it.store.Next()
	}
	if it.fromOverlay {
		it.over.next(&it.b.overlay, it.upper)
	}
	return it.settleUp()
}

// NextPrefix goes to the first record after the current one that has another prefix, and says whether there is one.
// The iterator must be valid.
func (it *Iter) NextPrefix() bool {
	it.face(false)
	key := it.Key()
	prefix := key[:store.Split(key)]
	for it.over.f != nil && bytes.Equal(prefix, it.over.key[:store.Split(it.over.key)]) {
		it.over.next(&it.b.overlay, it.upper)
	}
	if it.store.Valid() {
		switch k := it.store.Key(); {
		case !it.fromStore && !bytes.Equal(prefix, k[:store.Split(k)]):
		case store.Split(it.upper) == len(it.upper):
			it.store.NextPrefix()
		default: // Pebble refuses NextPrefix under an upper bound that has a suffix.
			it.held = append(append(it.held[:0], prefix...), 0)
			it.store.SeekGE(it.held)
		}
	}
	return it.settleUp()
}

// Prev goes to the record before and says whether there is one. The iterator must be valid.
func (it *Iter) Prev() bool {
	it.face(true)
	if it.fromStore {
		it.store.Prev()
	}
	if it.fromOverlay {
		it.over.prev(&it.b.overlay, it.lower)
	}
	return it.settleDown()
}

// check requires that the batch has not been committed or reset under the iterator.
func (it *Iter) check() {
	if it.b == nil || it.epoch != it.b.epoch {
		invariant.Check(false, "an iterator of a batch was used after its end")
	}
}

// begin prepares a seek in a direction.
func (it *Iter) begin(back bool) {
	it.check()
	it.age, it.over.data, it.back = it.b.age, it.b.data(), back
}

// face prepares a step: both cursors stand at the current key or at the first one beyond it in the direction of the
// step, although the batch may have changed and the last step may have gone the other way.
func (it *Iter) face(back bool) {
	it.check()
	invariant.Check(it.valid, "a step of an iterator of a batch that stands on no record")
	if it.back == back && it.age == it.b.age {
		return
	}
	it.held = append(it.held[:0], it.Key()...)
	turned := it.back != back
	it.begin(back)
	if back {
		it.over.seekLE(&it.b.overlay, it.held, it.lower, it.upper)
	} else {
		it.over.seekGE(&it.b.overlay, it.held, it.lower, it.upper)
	}
	it.fromOverlay = it.over.f != nil && store.Compare(it.over.key, it.held) == 0
	if !turned {
		return
	}
	// Seeking the other way puts the store's cursor at the current key if it has it, else at the next one beyond.
	if !back {
		it.store.SeekGE(it.held)
	} else if it.store.SeekGE(it.held); !it.store.Valid() || store.Compare(it.store.Key(), it.held) != 0 {
		it.store.SeekLT(it.held)
	}
	it.fromStore = it.store.Valid() && store.Compare(it.store.Key(), it.held) == 0
}

// settleUp finds the first record at or after both cursors that is not deleted.
func (it *Iter) settleUp() bool { return it.settle(1, it.store.Next, it.over.next, it.upper) }

// settleDown finds the last record at or before both cursors that is not deleted.
func (it *Iter) settleDown() bool { return it.settle(-1, it.store.Prev, it.over.prev, it.lower) }

func (it *Iter) settle(sign int, stepStore func() bool, stepOverlay func(*overlay, []byte), bound []byte) bool {
	for {
		inStore, inOverlay := it.store.Valid(), it.over.f != nil
		if !inStore {
			if err := it.store.Error(); err != nil {
				it.valid = false
				store.Fail("read the store", err)
			}
		}
		order := 0 // below zero the store's key comes first in this direction, above zero the overlay's
		switch {
		case !inStore && !inOverlay:
			it.valid, it.fromStore, it.fromOverlay = false, false, false
			return false
		case !inOverlay:
			order = -1
		case !inStore:
			order = 1
		default:
			order = sign * store.Compare(it.store.Key(), it.over.key)
		}
		if order < 0 {
			if len(it.b.ranges) > 0 && it.b.deleted(it.store.Key()) {
				stepStore()
				continue
			}
		} else if it.over.rec.valueLen == tombstone {
			if order == 0 {
				stepStore()
			}
			stepOverlay(&it.b.overlay, bound)
			continue
		}
		it.valid, it.fromStore, it.fromOverlay = true, order <= 0, order >= 0
		return true
	}
}
