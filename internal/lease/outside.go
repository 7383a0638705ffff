package lease

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// What leaves for another format, or comes from one, passes here: the records themselves, without a Table.

// EachRecord visits the leases in a view of a store, in the order of their ids taken as unsigned numbers. The errors are
// ErrRecord, those of visit, and failures of the store.
func EachRecord(r pebble.Reader, visit func(Lease) error) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{
		LowerBound: []byte{store.FamilyLease, partLease, 0},
		UpperBound: []byte{store.FamilyLease, partLease + 1, 0},
	})
	if err != nil {
		return store.WrapRead("read the leases", err)
	}
	defer func() { err = errors.Join(err, store.WrapRead("read the leases", it.Close())) }()
	for ok := it.First(); ok; ok = it.Next() {
		key := it.Key()
		value, err := it.ValueAndErr()
		if err != nil {
			return store.WrapRead("read the leases", err)
		}
		if len(key) != headLen+1 {
			return fmt.Errorf("%w: its key is %q", ErrRecord, key)
		}
		l, err := Decode(kind.LeaseID(binary.BigEndian.Uint64(key[2:])), value)
		if err != nil {
			return err
		}
		if err := visit(l); err != nil {
			return err
		}
	}
	return nil
}

// Write sets the record of a lease in a new store.
func Write(set func(key, value []byte), l Lease) { set(appendLeaseKey(nil, l.ID), Encode(l)) }

// WriteAttachment attaches a key to a lease in a new store (L1).
func WriteAttachment(set func(key, value []byte), id kind.LeaseID, key []byte) {
	set(appendAttachment(nil, id, key), nil)
}
