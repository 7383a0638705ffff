package mvcc

import (
	"errors"

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
//
// undone, if it is not nil, is told each key with the row that is taken back and the one that is live again; either is
// the zero Row if there is none. It adds to the batch what follows from that. It may be told a key several times, and
// the rows are valid during the call.
func Undo(db *store.DB, to kind.Revision, undone func(b *pebble.Batch, key []byte, gone, back Row) error) error {
	for {
		more, err := undoSome(db, to, undone)
		if err != nil {
			return store.WrapRead("take back a command that was interrupted", err)
		}
		if !more {
			return nil
		}
	}
}

func undoSome(db *store.DB, to kind.Revision, undone func(b *pebble.Batch, key []byte, gone, back Row) error) (more bool, err error) {
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
		if undone != nil {
			if err := tellUndone(db, b, c, rev, undone); err != nil {
				return false, err
			}
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

// tellUndone reads the two rows of a change that is taken back.
func tellUndone(db *store.DB, b *pebble.Batch, c change, rev kind.Revision, undone func(*pebble.Batch, []byte, Row, Row) error) error {
	var rows [2]Row
	for i, at := range [2]kind.Revision{rev, c.previous} {
		if at == 0 {
			continue
		}
		value, closer, err := db.Get(appendVersionKey(nil, c.key, at))
		if errors.Is(err, pebble.ErrNotFound) && at == rev {
			continue // an earlier attempt has taken it back
		}
		if err != nil {
			return err
		}
		defer closer.Close()
		if len(value) == tombstoneLen {
			continue
		}
		if rows[i], err = decodeRow(value); err != nil {
			return corrupt("the row of %q at revision %d is not one: %w", c.key, at, err)
		}
	}
	return undone(b, c.key, rows[0], rows[1])
}
