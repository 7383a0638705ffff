// Package wal is the durable Raft log: the only thing that is synced on the write path.
//
// # Invariants
//
//	W1  What Sync has covered is found by every later Open, equal and in order, or Open refuses with a Corruption
//	    that names file and offset. Nothing is found that was not appended.
//	W2  Only the end of the last write group may be cut, and only if no witness says that it was synced (I4).
//	W3  After a failed write or sync the log is dead: every later writing call returns that first error.
//	W4  A segment bears its final name only after its header, and everything in the segments before it, is synced.
//	    A broken header below a final name is therefore corruption, and so is a gap between segments.
//	W5  A sequence number is never used twice for a file that holds records of an earlier use.
//	W6  Entries go only at the old end (Truncate) or when newer ones replace them (Append, Reset). The caller
//	    truncates only below the applied index that the store has flushed (I3).
//	W7  Bounds are constants of the format. No length read from a file is believed before it is known to fit.
//
// # Files
//
// A directory holds segments, <sequence>.log in 16 hexadecimal digits, spare files, <number>.spare, and new.tmp while a
// file is being made. A segment is made once in its full size, as written zeros (not merely allocated: converting an
// extent is a change of metadata), and old segments become spares as they are. So an append overwrites blocks that
// exist, and fdatasync has no metadata to write. A write group never spans segments; a group that is larger than a
// segment gets one of its own size. All numbers are little-endian.
//
// The header is one block of 4096 bytes:
//
//	   0  magic "HOLDFLOG"                    64  size of the segment
//	   8  version (4 bytes)                   72  where the segment before ended, 0 at a beginning
//	  12  flags (4 bytes)                     80  hard state: term
//	  16  sequence                            88  hard state: vote
//	  24  cluster                             96  hard state: commit
//	  32  member                             104  zeros
//	  40  incarnation                        ...
//	  48  index of the entry before          4092  CRC-32C of bytes 0 to 4091
//	  56  term of the entry before
//
//	flags: 1 begins a log (older segments do not count), 2 made from an old segment, 4 has a hard state
//
// Magic, version and checksum stay where they are in every version to come. Records follow, each at a multiple of 8:
//
//	0        4        8        12     13      16       24          24+length
//	+--------+--------+--------+------+-------+--------+-----------+-----------------+
//	| head   | body   | length | kind | zeros | synced | payload   | zeros to 8      |
//	+--------+--------+--------+------+-------+--------+-----------+-----------------+
//	head    CRC-32C of incarnation, sequence, offset of the record (8 bytes each) and of bytes 4 to 23
//	body    CRC-32C of the payload and the zeros after it
//	length  of the payload, at most 1 GiB
//	synced  up to this offset the segment was synced when the record was written: the witness
//	kind    1 entry:       term (8), index (8), type (1), data
//	        2 hard state:  term (8), vote (8), commit (8)
//	        3 mark:        no payload; it is there for its witness
//
// Since head covers incarnation, sequence and offset, a record cannot be misplaced nor come from a file's earlier life.
// Version 1 is the only one so far.
//
// # Recovery
//
// Records are read up to the first that is not valid, at X. In a segment that has a successor, X must be the end that
// the successor's header names. In the last segment the rest is searched for valid records. The log is corrupt if a
// witness says that something from X on was synced: the synced offset of a later record, the applied index of the
// store, or a hard state's commit. Otherwise what lies behind X was never acknowledged. If there is any of it, the log
// goes on in a new segment, whose header says that this one ends at X; behind new records it might become valid again.
//
// Before that, everything that no record calls synced is written once more and synced: after a kill it may be only in
// the page cache, and after a failed sync it may be there, clean, and never have reached the disk.
//
// So a flipped bit in a log that was marked after its last sync is always found, unless it lies in the mark itself, in
// a record behind the last sync (a commit, which raft finds again), or in the unused rest: those lose nothing, and Open
// warns where it can tell remains from the bytes of a file's earlier life.
//
// The order of records makes the commit a sound witness: a hard state follows the entries that it commits, so an intact
// prefix that holds a commit holds the entries. A commit is above the end only if something was taken out (a
// file of another day), or if a segment header is the witness, before which all is synced.
//
// # Assumptions about disks
//
// A sector (512 bytes or more) holds after a power cut what it held before or what was written last, and writing the
// bytes again that a sector holds never damages it. Sectors that were not synced may survive in any combination. A
// disk that answers a flush has made the data durable.
//
// # Use
//
// One goroutine owns the log and calls the writing methods: Append, Sync, Mark, Truncate, Evict, Reset, PrepareSpare,
// Close. Entries, Term, FirstIndex, LastIndex, HardState, Bytes and SizeSince may be called beside it from others.
package wal
