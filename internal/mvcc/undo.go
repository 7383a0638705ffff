package mvcc

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// undoRecords is how many changes one batch of Undo takes back.
const undoRecords = 20_000

// Undo takes back every change above a revision: what a command that was spilled in part has left in the store of a
// member that stopped before the command was finished. Nobody has seen those changes; nobody may read or write
// meanwhile. It may be interrupted and begun again, and memory stays bounded whatever the number of changes.
// Counters are not its business: the applied record of a spill holds those of the moment before the command.
func Undo(db *store.DB, above kind.Revision) error {
	if err := undo(db, above); err != nil {
		return fmt.Errorf("take back the changes above revision %d: %w", above, err)
	}
	return nil
}

func undo(db *store.DB, above kind.Revision) (err error) {
	_, upper := store.FamilyBounds(store.FamilyHistory)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: appendHistoryKey(nil, above+1, 0), UpperBound: upper})
	if err != nil {
		return store.WrapRead("open an iterator over the history", err)
	}
	defer func() { err = errors.Join(err, store.WrapRead("close an iterator over the history", it.Close())) }()
	b := db.NewBatch()
	defer func() { err = errors.Join(err, b.Close()) }()
	var version []byte
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return store.WrapRead("read the history", err)
		}
		rev, sub, ok := splitHistoryKey(it.Key())
		c, sound := decodeChange(value)
		if !ok || !sound {
			return corrupt("change %d of revision %d in the history cannot be read", sub, rev)
		}
		// A change and its record go together, so that an interruption leaves no version that nobody knows of.
		version = appendVersionKey(version[:0], c.key, rev)
		if err := errors.Join(b.Delete(version, nil), b.Delete(it.Key(), nil)); err != nil {
			return err
		}
		if b.Count() >= 2*undoRecords {
			if err := b.Commit(pebble.NoSync); err != nil {
				return store.WrapRead("commit a batch", err)
			}
			b.Reset()
		}
	}
	if err := it.Error(); err != nil {
		return store.WrapRead("read the history", err)
	}
	return store.WrapRead("commit a batch", b.Commit(pebble.NoSync))
}
