// Package batch is one pending change of the store: an ordered overlay that reads see, over a Pebble batch.
//
// Invariants:
//
//   - B1 A read sees what this batch has written so far, and below it the store.
//   - B2 Commit and Spill put the records into the store in the order in which they were written, all of those
//     since the last one at once or, if the process ends, none (I2).
//   - B3 The batch has one owner and writes are never concurrent with the store's other writers of the same keys.
//   - B4 A failure of the disk is a panic with store.Failure, so that no path goes on without noticing.
//
// A record is written once, into the bytes that Pebble will take over; the overlay knows it by where it lies
// there. Most records of a batch are never read back, so nothing is sorted until someone asks for a family, and
// then only that family; from there on it is kept sorted as it grows. Pebble's own indexed batch sorts each
// record when it is written, and takes 0.65 µs for an entry of five puts where this takes 0.21, and 42 µs for one of
// twenty transactions where this takes 30 (the benchmarks are in this package).
//
// Use: New once, then for each entry Set, Delete, Get and Iter in any order, and Commit. Close at the end.
package batch

import (
	"bytes"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/invariant"
	"holdfast/internal/store"
)

// retainedBytes is how much of its buffers a batch keeps from one commit to the next.
const retainedBytes = 8 << 20

// Batch is one pending change of the store. It is not safe for concurrent use.
type Batch struct {
	db      *store.DB
	pending *pebble.Batch
	overlay overlay
	ranges  []keyRange // deleted before anything in them was written; usually none or one
	age     uint64     // counts the changes, so that an iterator notices that it must look again
	epoch   uint64     // counts commits and resets, which end the life of every iterator
	open    []*Iter    // those that are not closed
	idle    []*pebble.Iterator
	readers []io.Closer // what Get has handed out of the store
	spare   []*Iter
}

// keyRange is a deleted range of keys, lower inclusive, upper exclusive.
type keyRange struct{ lower, upper []byte }

func (r keyRange) contains(key []byte) bool {
	return store.Compare(r.lower, key) <= 0 && store.Compare(key, r.upper) < 0
}

// New returns an empty batch over db.
func New(db *store.DB) *Batch {
	return &Batch{db: db, pending: db.NewBatch(pebble.WithInitialSizeBytes(64<<10), pebble.WithMaxRetainedSizeBytes(retainedBytes))}
}

// Set writes a record. Key and value are copied.
func (b *Batch) Set(key, value []byte) {
	b.change()
	checkKey(key)
	op := b.pending.SetDeferred(len(key), len(value))
	copy(op.Key, key)
	copy(op.Value, value)
	store.Must("add a record to the batch", op.Finish())
	end := b.pending.Len()
	b.overlay.add(key[0], record{
		keyAt:    uint32(end - len(value) - varintLen(len(value)) - len(key)),
		keyLen:   uint32(len(key)),
		valueAt:  uint32(end - len(value)),
		valueLen: uint32(len(value)),
	})
}

// Delete removes the record with this key, whether it is there or not.
func (b *Batch) Delete(key []byte) {
	b.change()
	checkKey(key)
	op := b.pending.DeleteDeferred(len(key))
	copy(op.Key, key)
	store.Must("add a deletion to the batch", op.Finish())
	end := b.pending.Len()
	b.overlay.add(key[0], record{keyAt: uint32(end - len(key)), keyLen: uint32(len(key)), valueLen: tombstone})
}

// DeleteRange removes every record of the store from start up to but not including end. The batch must not have
// written a key in that range before, which is checked; it may afterwards. It suits ranges of which whole tables
// go away, as history below a compaction; reads get slower with each range that a batch holds.
func (b *Batch) DeleteRange(start, end []byte) {
	b.change()
	checkKey(start)
	checkKey(end)
	invariant.Check(store.Compare(start, end) < 0, "the range %x..%x to delete is empty or backwards", start, end)
	written := b.overlay.seek(b.data(), start, end)
	invariant.Check(written < 0, "the range %x..%x to delete holds a key that the same batch has written", start, end)
	store.Must("add a range deletion to the batch", b.pending.DeleteRange(start, end, nil))
	b.ranges = append(b.ranges, keyRange{bytes.Clone(start), bytes.Clone(end)})
}

// Get returns the value of key and whether there is one. The value must not be changed and is valid until the next
// call that changes b, or Release. Each value out of the store holds a block in memory until then.
func (b *Batch) Get(key []byte) (value []byte, ok bool) {
	data := b.data()
	if r, found := b.overlay.get(data, key); found {
		return r.value(data), r.valueLen != tombstone
	}
	if b.deleted(key) {
		return nil, false
	}
	value, closer, err := b.db.Get(key)
	if err != nil {
		if errors.Is(err, pebble.ErrNotFound) {
			return nil, false
		}
		store.Fail("read a record of the store", err)
	}
	b.readers = append(b.readers, closer)
	return value, true
}

// Release gives back what the values returned by Get hold.
func (b *Batch) Release() {
	for i, c := range b.readers {
		c.Close()
		b.readers[i] = nil
	}
	b.readers = b.readers[:0]
}

// Len returns the number of records that wait to be committed.
func (b *Batch) Len() int { return int(b.pending.Count()) }

// Size returns the bytes of the records that wait to be committed.
func (b *Batch) Size() int { return b.pending.Len() }

// Commit puts the records into the store, without waiting for a disk: the log is what makes them durable. The batch
// is empty afterwards and may be used again. Iterators must have been closed. After an error the store has failed
// and the batch may only be closed.
func (b *Batch) Commit() error {
	invariant.Check(len(b.open) == 0, "%d iterators of the batch are still open at its commit", len(b.open))
	b.endReads()
	if b.pending.Empty() {
		return nil
	}
	if err := commit(b.pending); err != nil {
		return store.WrapRead("commit a batch to the store", err)
	}
	b.clear()
	return nil
}

// commit turns the panic that Pebble's end of the world is on this goroutine into an error.
func commit(p *pebble.Batch) (err error) {
	defer func() {
		if e := store.Recovered(recover()); e != nil {
			err = e
		}
	}()
	return p.Commit(pebble.NoSync)
}

// Spill commits what is there so far and goes on with an empty overlay, since the store has it then. It is for a
// command with very many effects, whose caller has written a record that says how far it has come. It panics with
// store.Failure where Commit returns an error.
func (b *Batch) Spill() { store.Must("spill a batch into the store", b.Commit()) }

// Reset forgets the records that wait. Iterators must have been closed.
func (b *Batch) Reset() {
	invariant.Check(len(b.open) == 0, "%d iterators of the batch are still open at its reset", len(b.open))
	b.endReads()
	b.clear()
}

// Close releases everything that the batch holds, records that wait and iterators that a Failure has left open
// included. It must not be used afterwards.
func (b *Batch) Close() error {
	for len(b.open) > 0 {
		b.open[0].Close()
	}
	b.endReads()
	return store.WrapRead("close a batch", b.pending.Close())
}

// change notes that the batch is about to change.
func (b *Batch) change() {
	b.age++
	if len(b.readers) > 0 {
		b.Release()
	}
}

// clear empties the batch and keeps its buffers.
func (b *Batch) clear() {
	b.change()
	b.epoch++
	b.pending.Reset()
	b.overlay.clear()
	clear(b.ranges)
	b.ranges = b.ranges[:0]
}

// endReads gives back all that reads of the store hold.
func (b *Batch) endReads() {
	b.Release()
	for i, it := range b.idle {
		it.Close()
		b.idle[i] = nil
	}
	b.idle = b.idle[:0]
}

// deleted says whether a key of the store lies in a range that the batch deletes.
func (b *Batch) deleted(key []byte) bool {
	for _, r := range b.ranges {
		if r.contains(key) {
			return true
		}
	}
	return false
}

// data returns the bytes that the records lie in. They may move when the batch changes.
func (b *Batch) data() []byte {
	if b.pending.Empty() {
		return nil
	}
	return b.pending.Repr()
}

// checkKey requires that key has a shape that may be stored.
func checkKey(key []byte) {
	if err := store.ValidateKey(key); err != nil || store.Split(key) == 0 {
		invariant.Check(false, "the key %x has no shape of the store: %v", key, err)
	}
}

// varintLen returns the bytes that n takes as a varint.
func varintLen(n int) int {
	l := 1
	for ; n >= 0x80; n >>= 7 {
		l++
	}
	return l
}
