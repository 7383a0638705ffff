// Package watch gives every watcher the changes of its keys: each once, in order, whole revisions at a time, from
// whatever revision it starts at.
//
// There is one ordered log of events, and a watcher is a cursor in it: next, the lowest revision that it has not been
// given. Whatever comes from below it is dropped, and whoever hands out a revision moves it. A watcher is in one of
// three states:
//
//	          caught up, under the hub's lock
//	lagging ----------------------------------> live
//	   |    <----------------------------------   |
//	   |      its stream has no room, or what     |
//	   |      waited for it has left the ring     |
//	   +-----------------> gone <-----------------+
//	        cancelled, compacted, stream closed
//
// The applier hands over what each batch has changed (Publish). The hub keeps the last events in a ring that is bounded
// in bytes, finds the live watchers through an index of their intervals, and puts a reference to the revision into the
// queue of each one's stream. The bytes of an event are made once, when the first watcher matches it, and shared by all.
// Lagging watchers are served by one goroutine, which sweeps over the history: a pass reads a chunk of it once and
// serves every lagging watcher whose next lies in the chunk.
//
// Invariants:
//
//	W1  Of the events in its interval that its filters pass, from its start revision on, a watcher is given each
//	    exactly once, in the order of (revision, sub), until it is cancelled; then nothing.
//	W2  The events of one revision are given together.
//	W3  A live watcher has been given, or has in its stream's queue, everything up to the hub's revision.
//	    It becomes live only under the hub's lock, and only if the ring holds everything from next on.
//	W4  Progress names a revision only if everything up to it stands before it in the same queue. If the ring drops some
//	    of that before the client takes it, the progress is not told.
//	W5  The applier never waits for a client, and for a watcher's goroutine only as long as a lock of a few
//	    microseconds is held. It reads nothing from the store here.
//	W6  A stream that is not read costs a bounded queue of references, whatever happens in the store: what leaves the
//	    ring is given up although queues still refer to it, and is read from the history when the client comes back.
//	W7  A watcher whose next is below the compacted revision, and not in the ring, is cancelled with that revision.
//	    It is never moved on.
//
// Locks: the hub's comes before a stream's. Neither is held while anything is read from the store or sent.
//
// Use: New, then Run in a goroutine, Publish after every batch; NewStream for each client stream, whose owner calls
// Watch, Cancel and the Progress methods as requests come in, and Take when Ready says that something waits.
package watch
