package store

import (
	"errors"
	"sync/atomic"
)

// ErrReplaced means that an adopted snapshot has taken the place of the store, long enough ago that it was closed. Who
// asks for the current store finds it.
var ErrReplaced = errors.New("the store was replaced by a snapshot from another member; ask again")

// readers counts those who read the store and may go on when another takes its place.
type readers struct {
	// n is how many there are, or at most -1 once no more are let in.
	n atomic.Int64
}

const shut = -1 << 62

// Enter lets a reader in, who calls Leave when it has closed its iterators and snapshots. The error is ErrReplaced.
func (db *DB) Enter() error {
	if db.readers.n.Add(1) > 0 {
		return nil
	}
	db.readers.n.Add(-1)
	return ErrReplaced
}

// Leave ends what Enter has begun.
func (db *DB) Leave() { db.readers.n.Add(-1) }

// Shut lets no more readers in, if there are none at the moment, and reports whether that is so: then the store may be
// closed.
func (db *DB) Shut() bool { return db.readers.n.CompareAndSwap(0, shut) || db.readers.n.Load() < 0 }
