// Package machine is the replicated state machine: keys, leases and members now, users when they come. It is
// where those rooms meet; none of them knows another.
//
//	M1  The same entries in the same order give the same state and replies on every member.
//	M2  An entry's effects and its index reach the store in one transaction, or not at all.
//	M3  The revision grows by one for a command that changes keys, and otherwise stays.
//	M4  Events leave in revision order, each exactly once.
//	I2  An entry's effects and its index reach Pebble in one batch, or in several with a cursor, so replay is
//	    exactly-once.
//	I5  Apply is a pure function of (store, entry). A member that meets a committed command that it does not
//	    fully understand stops rather than guess.
//
// The machine has no clock, no entropy, no goroutine and no lock: one caller at a time. What it tells others (State,
// Members, ConfState) is a value that changes only as a whole.
//
// A refused command is a Reply; it has written nothing, and the rest of its entry stands. That is so by construction:
// a command checks everything first and writes afterwards. An error is never a refusal: the disk has failed or the
// log holds what no member would have proposed, and the member stops.
//
// # Very large commands
//
// A deletion of millions of keys does not fit into one batch. While it runs, the batch is spilled into Pebble
// whenever it is full, at a revision that is not published. Each spill carries the applied record as it was before
// the command (the last whole entry; revision and counters of the commands that are finished) and a cursor:
//
//	m "cursor" 00  ->  version (1 byte: 1) | index (8 BE) | term (8 BE) | command (4 BE) | digest (8 BE) |
//	                   crc32c (4 BE)
//
// It names the entry and the command in it that is half done, and the running digest before that command. The
// batch that finishes the entry removes the cursor and moves the applied position. Open, when it finds a cursor,
// takes back what the store holds above the applied revision, which is what the command had done, and the replay of
// the entry goes on at that command; those before it are not executed a second time. Thus no spill has to know how
// far a transaction had come, which of its compares held, or what it had already answered.
//
// # Leases
//
// A key is attached to the lease that its latest version names: put, delete and what takes back an interrupted command
// see to it in the batch that writes the key. The end of a lease deletes its keys in one revision. A command that
// lets several leases expire is, for revision, digest and cursor, so many commands one after the other; one that was
// interrupted finds those that had ended gone. A lease's time is the cluster's: the largest elapsed of the entries
// so far.
//
// # The running digest
//
// A chain of xxhash64 over the effects of all entries, equal on all members at equal positions; see digest.go.
//
// # Use
//
// Genesis fills a new store. Open rebuilds everything from a store, at start and after a snapshot alike. Then, for
// committed entries: Begin, Apply for each of several whole entries, Commit, and the replies may go out. Read-only
// transactions take no part in this; ReadTxn answers them from a view.
package machine
