// Package snapshot is how the state of one member becomes the store of another: a consistent view of a store as a
// sequence of chunks, and the new store that is built of them.
//
// # Invariants
//
//	Z1  A Source stands on one view of the store: records, applied position and configuration are of one moment. It
//	    holds nobody up, and its memory does not grow with the store.
//	Z2  A chunk has the same bytes each time that it is asked for, until the Source is closed.
//	Z3  Records travel in the order of their keys, of all families, without those that concern one member alone
//	    (store.IsLocal). A command that was half in the store travels as it is: opening the store takes it back, and the
//	    entry behind the snapshot resumes it, as after a crash.
//	Z4  A Builder takes a chunk only if its number, its checksum and the order of its keys are right, and finishes only if
//	    the counts and the checksum of the whole are, and the store that results stands where the snapshot said.
//	Z5  What a Builder makes is a store only when Finish has returned: complete, durable, marked as adopted. Whatever
//	    came before is removed as a whole.
//
// # The chunks
//
// Each chunk, all numbers big endian:
//
//	+--------+---------+------+-------+--------+--------+--------+---------+
//	| "HSNP" | version | kind | zeros | number | length | crc32c | payload |
//	|   4    |    1    |   1  |   2   |   8    |   4    |   4    |         |
//	+--------+---------+------+-------+--------+--------+--------+---------+
//
// The checksum covers the 20 bytes before it and the payload, whose length is length. Magic, version and checksum stay
// where they are in every version to come. Numbers begin at 0 and rise by one. There are three kinds:
//
//	1 head      chunk 0: id u64 | cluster u64 | index u64 | term u64 | revision u64 | bytes u64 |
//	            store format u32 | machine version u32
//	2 records   one after another: shared (uvarint) | rest (uvarint) | length of the value (uvarint) | rest of the key |
//	            value; shared is how many bytes the key has in common with the one before it, 0 in the first of a chunk
//	3 end       the last: records u64 | bytes u64 | checksum u64
//
// The bytes of a head are an estimate of what the snapshot takes on disk; those of an end are exactly those of all keys
// and values. The checksum of the end is C after the last chunk before it, where C begins at 0 and each chunk replaces it
// by xxhash64, seed 0, of C (8 bytes) and the chunk's payload.
//
// # Use
//
//	source, err := snapshot.Open(db, id)         builder := snapshot.NewBuilder(fs, dir, identity, want, options)
//	for n := uint64(0); ; n++ {                  for { builder.Write(builder.Next(), chunk) }
//		chunk, err := source.Chunk(n)            builder.Finish()
//	}
//	source.Close()
//
// The package starts no goroutine and knows no clock. A Source and a Builder have one user at a time, but Close of a
// Source may come at any moment.
package snapshot
