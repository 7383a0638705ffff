// Package lease is the table of leases: which there are, when each ends in the cluster's time, and which keys are
// attached to it. It has no clock: time is the number that an entry carries, in nanoseconds.
//
// Invariants:
//
//	L1  A key is attached to the lease that its latest version names, and to no other. The machine attaches and
//	    detaches in the batch that writes the key.
//	L2  A lease ends by a command only: a revocation, or an expiry that finds it still due. Its deadline never falls.
//	L3  Readers see the leases of committed batches; the Writer sees its own as well.
//	L4  The order by deadline never holds a lease back: the time under which it stands there is at most its deadline,
//	    or that at which Due has named it plus RetryAfter.
//
// The table is in memory, about 70 bytes a lease, and is rebuilt from the store by Open. The attached keys are in the
// store alone, so that a lease may have millions of them.
//
// # Records
//
// Both are of the family of leases of the store; numbers are big endian.
//
//	l g <id, 8> 00            ->  version (1 byte: 1) | TTL in seconds (8) | deadline (8) | crc32c (4)
//	l k <id, 8> <key> 00      ->  nothing
//
// # Use
//
// The applier, the one writer: Begin with a batch, then Grant, Renew, Remove, Attach, Detach and what Writer reads,
// then the batch is committed, then Publish. Everybody else reads the Table, from any goroutine.
package lease
