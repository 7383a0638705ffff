package lease

import (
	"bytes"

	"holdfast/internal/batch"
	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// Writer is what the commands of one batch change. It has one caller at a time, the applier. A failure of the store
// panics with a store.Failure.
type Writer struct {
	table   *Table
	batch   *batch.Batch
	changed map[kind.LeaseID]change
	counts  Counts
	key     []byte
	record  []byte
}

// change is what became of a lease in the batch.
type change struct {
	lease   Lease
	removed bool
	fresh   bool // granted in the batch: one of the same id that was there before has ended
}

// Counts is how often something happened in a batch.
type Counts struct {
	Granted, Renewed, Revoked, Expired uint64
}

// Begin returns the Writer of b. There is one at a time, until Publish or Discard.
func (t *Table) Begin(b *batch.Batch) *Writer {
	invariant.Check(!t.open, "a writer of leases is opened before the last one was published")
	t.open = true
	w := &t.writer
	w.table, w.batch, w.counts = t, b, Counts{}
	const retained = 1 << 12
	if len(w.changed) > retained {
		w.changed = nil
	}
	clear(w.changed)
	return w
}

// Publish makes what w wrote visible. Its batch must be in the store (L3).
func (t *Table) Publish(w *Writer) {
	invariant.Check(t.open && w == &t.writer, "a writer of leases is published that is not the open one")
	t.open = false
	if len(w.changed) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, c := range w.changed {
		if c.removed || c.fresh {
			t.remove(id)
		}
		if !c.removed {
			t.put(c.lease)
		}
	}
}

// Discard ends a Writer whose batch is not going to be committed.
func (w *Writer) Discard() { w.table.open = false }

// Counts returns how often something happened since Begin.
func (w *Writer) Counts() Counts { return w.counts }

// Get returns a lease and whether it exists, own changes included.
func (w *Writer) Get(id kind.LeaseID) (Lease, bool) {
	if len(w.changed) > 0 {
		if c, ok := w.changed[id]; ok {
			return c.lease, !c.removed
		}
	}
	return w.table.get(id)
}

// Grant makes a lease that does not exist, at the time now. The TTL is from 1 to MaxTTL.
func (w *Writer) Grant(id kind.LeaseID, ttl int64, now uint64) Lease {
	_, exists := w.Get(id)
	invariant.Check(!exists && id != 0 && ttl > 0 && ttl <= MaxTTL, "lease %v is granted for %d s, exists %v", id, ttl, exists)
	w.counts.Granted++
	return w.write(Lease{ID: id, TTL: ttl, Deadline: now + uint64(ttl)*NanosPerSecond}, true)
}

// Renew gives a lease its whole TTL again, at the time now, and reports whether it exists.
func (w *Writer) Renew(id kind.LeaseID, now uint64) (Lease, bool) {
	l, exists := w.Get(id)
	if !exists {
		return Lease{}, false
	}
	w.counts.Renewed++
	l.Deadline = max(l.Deadline, now+uint64(l.TTL)*NanosPerSecond)
	return w.write(l, w.changed[id].fresh), true
}

func (w *Writer) write(l Lease, fresh bool) Lease {
	w.note(change{lease: l, fresh: fresh})
	w.key = appendLeaseKey(w.key[:0], l.ID)
	w.record = appendRecord(w.record[:0], l)
	w.batch.Set(w.key, w.record)
	return l
}

// Remove ends a lease, which must not have a key any more.
func (w *Writer) Remove(id kind.LeaseID, expired bool) {
	w.counts.Revoked++
	if expired {
		w.counts.Expired++
	}
	w.note(change{lease: Lease{ID: id}, removed: true})
	w.key = appendLeaseKey(w.key[:0], id)
	w.batch.Delete(w.key)
}

func (w *Writer) note(c change) {
	if w.changed == nil {
		w.changed = make(map[kind.LeaseID]change)
	}
	w.changed[c.lease.ID] = c
}

// Attach attaches key to a lease (L1).
func (w *Writer) Attach(id kind.LeaseID, key []byte) {
	w.key = appendAttachment(w.key[:0], id, key)
	w.batch.Set(w.key, nil)
}

// Detach detaches key from a lease (L1).
func (w *Writer) Detach(id kind.LeaseID, key []byte) {
	w.key = appendAttachment(w.key[:0], id, key)
	w.batch.Delete(w.key)
}

// Keys returns up to most keys of a lease in order, own changes included. They are fresh.
func (w *Writer) Keys(id kind.LeaseID, most int) (keys [][]byte) {
	it := w.batch.Iter(appendAttachment(nil, id, nil), attachmentsEnd(id))
	defer it.Close()
	for ok := it.First(); ok && len(keys) < most; ok = it.Next() {
		_, key, sound := splitAttachment(it.Key())
		if !sound {
			store.Fail("read the keys of a lease", ErrRecord)
		}
		keys = append(keys, bytes.Clone(key))
	}
	return keys
}

// Undone says what becomes of the attachments when the change of a key from one lease to another is taken back: in a
// command that a crash has interrupted. 0 stands for no lease. It writes with set and remove.
func Undone(key []byte, from, to kind.LeaseID, set func(key, value []byte) error, remove func(key []byte) error) error {
	if to != 0 {
		if err := remove(appendAttachment(nil, to, key)); err != nil {
			return err
		}
	}
	if from != 0 {
		return set(appendAttachment(nil, from, key), nil)
	}
	return nil
}
