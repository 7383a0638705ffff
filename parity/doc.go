// Package parity runs the same requests on an embedded etcd and on a Holdfast binary, and compares every answer field by field.
//
// What it holds:
//
//	P1  A request is sent as bytes of its generated message, through no client library that would refuse or mend it.
//	P2  An answer is all its messages in order, its gRPC code and its exact text. Every field counts, set or not, known or not, unless
//	    ignored.go names it. The differences that are excused stand in known*.go, each with its reason; there is no other excuse.
//	P3  A run is a function of its seed and the number of operations: the same pair gives the same requests.
//	P4  After every request that may write, the whole key space of both sides is read and compared, too; after every one that may change
//	    leases or users, so are these.
//	P5  One watch of everything goes on through the whole run. What it delivers is the history; every other watch must deliver its part of
//	    that, no more and no less, in order, before the next operation, and the same on both sides, event by event. How a server packs
//	    events into responses is its own affair, within the rules of watch_settle.go.
//	P6  Time is compared with the clock of the test and not between the sides.
//
// A run is made of operations from generators, one per service, each with its list of errors; the comparator knows no message by name. See
// TestParity for how to run and to replay it.
package parity
