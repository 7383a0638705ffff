package mvcc

import (
	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// undoChanges is how many changes one batch of Undo takes back.
const undoChanges = 4096

// Undo takes back every change above a revision, newest last, in bounded batches. It is for a command that was
// spilled in part when the process ended: nothing that is older was overwritten, so deleting what is newer restores
// the state before. It may be interrupted and repeated. Nobody may write or read above the revision meanwhile, and
// no answer above it may have been given.
func Undo(db *store.DB, to kind.Revision) error {
	for {
		more, err := undoSome(db, to)
		if err != nil {
			return store.WrapRead("take back a command that was interrupted", err)
		}
		if !more {
			return nil
		}
	}
}

func undoSome(db *store.DB, to kind.Revision) (more bool, err error) {
	lower := position{revision: to + 1}.key()
	_, upper := store.FamilyBounds(store.FamilyHistory)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return false, err
	}
	defer it.Close()
	b := db.NewBatch()
	defer b.Close()
	n := 0
	var key []byte
	ok := it.First()
	for ; ok && n < undoChanges; ok, n = it.Next(), n+1 {
		rev, _, sound := splitHistoryKey(it.Key())
		value, err := it.ValueAndErr()
		if err != nil {
			return false, err
		}
		c, known := decodeChange(value)
		if !sound || !known {
			return false, corrupt("a record of the history at %x is not what was written", it.Key())
		}
		key = appendVersionKey(key[:0], c.key, rev)
		if err := b.Delete(key, nil); err != nil {
			return false, err
		}
	}
	if err := it.Error(); err != nil || n == 0 {
		return false, err
	}
	if ok {
		upper = it.Key()
	}
	if err := b.DeleteRange(lower, upper, nil); err != nil {
		return false, err
	}
	return ok, commit(b)
}
