package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// MaxTTL is the longest TTL, in seconds: a deadline stays far below the end of the numbers for three centuries.
const MaxTTL = 9_000_000_000

// NanosPerSecond turns a TTL into cluster time.
const NanosPerSecond = 1_000_000_000

// Lease is one lease.
type Lease struct {
	ID       kind.LeaseID
	TTL      int64  // in seconds, from 1 to MaxTTL
	Deadline uint64 // in nanoseconds of cluster time; from then on it may be ended
}

// slot is the place of a lease in memory. A free one has a TTL of 0.
type slot struct {
	Lease
	at uint32 // its place in the order
}

// Table is the leases of a store. Begin and Publish belong to the applier, all other methods to anybody.
//
// The applier alone changes index and slots, and so may read them without the lock; it changes them under it. The
// order is guarded by the lock against both.
type Table struct {
	db *store.DB
	mu struct {
		sync.RWMutex
		index map[kind.LeaseID]uint32
		slots []slot
		free  []uint32
		order order
	}
	writer Writer
	open   bool
}

// Open reads the leases of a store. The errors are ErrRecord and failures of the store.
func Open(db *store.DB) (*Table, error) {
	t := &Table{db: db}
	t.mu.index = make(map[kind.LeaseID]uint32)
	lower, upper := []byte{store.FamilyLease, partLease, 0}, []byte{store.FamilyLease, partLease + 1, 0}
	err := db.Visit(lower, upper, func(key, value []byte) error {
		if len(key) != headLen+1 {
			return fmt.Errorf("%w: its key is %q", ErrRecord, key)
		}
		l, err := Decode(kind.LeaseID(binary.BigEndian.Uint64(key[2:])), value)
		if err != nil {
			return err
		}
		t.mu.index[l.ID] = uint32(len(t.mu.slots))
		t.mu.slots = append(t.mu.slots, slot{Lease: l, at: uint32(len(t.mu.slots))})
		t.mu.order = append(t.mu.order, due{l.Deadline, t.mu.index[l.ID]})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the leases: %w", err)
	}
	t.mu.order.arrange(t.mu.slots)
	return t, nil
}

// Len returns the number of leases.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.mu.index)
}

// Get returns a lease and whether it exists.
func (t *Table) Get(id kind.LeaseID) (Lease, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.get(id)
}

// get is for the applier, which needs no lock, and for those who hold it.
func (t *Table) get(id kind.LeaseID) (Lease, bool) {
	i, ok := t.mu.index[id]
	if !ok {
		return Lease{}, false
	}
	return t.mu.slots[i].Lease, true
}

// visitSlots is how many slots are copied at a time, so that the applier never waits long for a reader.
const visitSlots = 1 << 14

// All returns the leases, the one that ends first in front. Every lease that exists during the whole call is there.
func (t *Table) All() []Lease {
	t.mu.RLock()
	all := make([]Lease, 0, len(t.mu.index))
	t.mu.RUnlock()
	for start := 0; ; start += visitSlots {
		t.mu.RLock()
		rest := t.mu.slots[min(start, len(t.mu.slots)):]
		for i := range rest[:min(visitSlots, len(rest))] {
			if rest[i].TTL != 0 {
				all = append(all, rest[i].Lease)
			}
		}
		t.mu.RUnlock()
		if len(rest) <= visitSlots {
			break
		}
	}
	slices.SortFunc(all, func(a, b Lease) int {
		switch {
		case a.Deadline != b.Deadline:
			return compare(a.Deadline, b.Deadline)
		default:
			return compare(uint64(a.ID), uint64(b.ID))
		}
	})
	return all
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Keys calls visit with each key that is attached to a lease, in order, as of the last committed batch, until it
// returns false. The key is valid during the call. The error is a failure of the store.
func (t *Table) Keys(id kind.LeaseID, visit func(key []byte) bool) error {
	if err := t.db.Enter(); err != nil {
		return err
	}
	defer t.db.Leave()
	it, err := t.db.NewIter(&pebble.IterOptions{LowerBound: appendAttachment(nil, id, nil), UpperBound: attachmentsEnd(id)})
	if err != nil {
		return store.WrapRead("open an iterator over the keys of a lease", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		_, key, sound := splitAttachment(it.Key())
		if !sound {
			return fmt.Errorf("%w: an attachment has the key %q", ErrRecord, it.Key())
		}
		if !visit(key) {
			break
		}
	}
	return store.WrapRead("read the keys of a lease", it.Error())
}

// put enters a lease that is new, or a later deadline of one that is there. The caller holds the lock.
func (t *Table) put(l Lease) {
	if i, ok := t.mu.index[l.ID]; ok {
		// It moves down in the order when its old time has come.
		invariant.Check(l.Deadline >= t.mu.slots[i].Deadline, "the deadline of lease %v falls", l.ID)
		t.mu.slots[i].Lease = l
		return
	}
	var i uint32
	if n := len(t.mu.free); n > 0 {
		i, t.mu.free = t.mu.free[n-1], t.mu.free[:n-1]
	} else {
		i = uint32(len(t.mu.slots))
		t.mu.slots = append(t.mu.slots, slot{})
	}
	t.mu.slots[i] = slot{Lease: l}
	t.mu.index[l.ID] = i
	t.mu.order.push(t.mu.slots, due{l.Deadline, i})
}

// remove takes a lease out. The caller holds the lock.
func (t *Table) remove(id kind.LeaseID) {
	i, ok := t.mu.index[id]
	if !ok {
		return
	}
	delete(t.mu.index, id)
	t.mu.order.remove(t.mu.slots, t.mu.slots[i].at)
	t.mu.slots[i] = slot{}
	t.mu.free = append(t.mu.free, i)
}

// Attachments calls visit with every attached key and its lease, by lease and key, as of the last committed batch. The
// key is valid during the call. An error of visit ends the walk and is returned.
func (t *Table) Attachments(visit func(id kind.LeaseID, key []byte) error) error {
	lower, upper := []byte{store.FamilyLease, partKey, 0}, []byte{store.FamilyLease, partKey + 1, 0}
	return t.db.Visit(lower, upper, func(k, _ []byte) error {
		id, key, sound := splitAttachment(k)
		if !sound {
			return fmt.Errorf("%w: an attachment has the key %q", ErrRecord, k)
		}
		return visit(id, key)
	})
}

// Attached reports whether key is attached to a lease, as of the last committed batch. The error is a failure of the
// store.
func (t *Table) Attached(id kind.LeaseID, key []byte) (bool, error) {
	if err := t.db.Enter(); err != nil {
		return false, err
	}
	defer t.db.Leave()
	_, closer, err := t.db.Get(appendAttachment(nil, id, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, store.WrapRead("read the attachment of a key", err)
	}
	return true, closer.Close()
}
