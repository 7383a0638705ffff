// Package mvcc keeps every version of every key, and answers what a key held at a revision.
//
// It stands on two families of keys in the member's Pebble store. The newest version of a key comes first:
//
//	'v' key 0x00 ^revision(8, big endian) 0x09        -> a row, or a tombstone
//	'h' revision(8, big endian) sub(4, big endian) 0x00 -> what changed at that revision, as change number sub
//
// A row is a KeyValue in protobuf encoding with the fields in the order key, create_revision, mod_revision,
// version, lease, value. An answer is made by putting stored rows one after another, never by encoding them
// anew; because the value comes last, a keys-only answer is the front part of the same bytes.
//
//	+-----+--------+-----+---------+-------+-------+
//	| key | create | mod | version | lease | value |
//	+-----+--------+-----+---------+-------+-------+
//	|<---- keys only ------------->|       |
//	|<---- keys only, with lease --------->|
//
// A tombstone is the four bytes of its sub, shorter than any row, so that counting needs only lengths. A
// history record is
//
//	+------+-------------------+-----------------+-----+---------------------------------+
//	| kind | previous revision | length of key   | key | row, if superseded in its own   |
//	| (1)  | (8, big endian)   | (4, big endian) |     | revision and not a delete       |
//	+------+-------------------+-----------------+-----+---------------------------------+
//
// where the previous revision is that of the version which was live before this revision, 0 for none. A change
// whose key changes again in the same revision is marked as superseded, because 'v' has room for one version
// of a key per revision.
//
// Invariants:
//
//	V1  A command that changes keys takes exactly one revision, and all its changes carry it (M3). Events leave
//	    in the order of (revision, sub), each exactly once (M4).
//	V2  Order of publishing: the batch is in Pebble, then the row cache is brought up to date, then the revision
//	    is published, then the compacted revision.
//	V3  A cached row answers a read at R only if its ModRevision is at most R. What a reader found enters the
//	    cache only if nothing in its bucket was written after the reader's view. A new Store starts with an
//	    empty cache.
//	V4  Nothing that a read at or above the compacted revision needs is ever deleted, and deleting begins only
//	    after the compacted revision is published: whoever opens an iterator first and reads the compacted
//	    revision afterwards knows whether the iterator may have holes.
//	V5  The cursor of the local deleting moves in the batch that deletes. What a member answers, HashKV included,
//	    does not depend on how far its deleting has got.
//	V6  The bytes of a large answer are reserved from the common budget before they are read.
//
// Use: the applier opens one Writer per batch (Begin), runs commands between BeginCommand and EndCommand, fills
// the Applied record (Fill), commits the batch and then calls Publish. Any goroutine may read meanwhile, through
// Store.Range, a View or a RangeStream. One goroutine calls CompactStep until it says that it is done. The
// package starts no goroutine and knows no clock. Its readers share the row cache and the budget under locks that
// are held for a copy of one row at most.
//
// A command with very many effects is spilled into the store in several batches, at a revision that nobody can see;
// if the process ends in the middle, Undo takes back what is above the revision of the applied record before anything
// is read, and the command runs anew.
//
// A failure of the store inside a Writer panics with a store.Failure, because apply cannot fail; a reader gets it
// as an error.
package mvcc
