// Package digest decides, by majority, whose state is right. Every member's machine keeps a running digest over the
// effects of all entries, and every member tells all others what its digest is at certain indexes, the same on all of
// them. A Table is what one member has heard, and what follows from it.
//
// Invariants:
//
//	D1  Only digests at the same index are compared, and only those who vote at that index count.
//	D2  A member differs if at some index a majority of the voters, in a joint configuration of both halves, has one
//	    digest and it has another. While the majority is right, no member that is right is ever found to differ,
//	    whatever is lost, late, repeated or out of order.
//	D3  A digest that has parted never comes together again: who differs, differs until it has adopted another state.
//	D4  Where a majority has spoken, and no majority agrees or can still come to agree, nothing is decided and everybody
//	    is in doubt. One who is known to differ counts as not having spoken.
//	D5  What a table holds is bounded: by Rows indexes, and by the members of the cluster.
//
// The package has no clock, no goroutine and no lock: one caller at a time, who passes the time.
//
// # The report
//
// A report travels between members as the payload of a message of the digest's kind. All numbers are big endian:
//
//	+---------+-----------+-------+---------------------------+-----+----------------+
//	| version | asks at   | marks | index (8) | digest (8)    | ... | crc32c (4)     |
//	| (1): 1  | index (8) | (1)   |                           |     | over all before|
//	+---------+-----------+-------+---------------------------+-----+----------------+
//
// Asks at is the index at which the sender wants to hear the receiver's digest, 0 for none. A report holds at most
// MaxMarks marks.
//
// Use: Reached for each mark of the member's own machine, Heard for each report, Adopted when another state has taken
// the place of the member's own, and then Judge.
package digest
