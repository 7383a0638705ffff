package check

import (
	"strings"
	"testing"
	"time"

	"holdfast/internal/kind"
)

// planted are the smallest histories that break each guarantee, each with the checker that must see it.
var planted = []struct {
	name string
	by   Checker
	says string // a part of what it must say
	tell func(s *story)
}{
	// Linearizable: what porcupine and our model must find without any other checker's help.
	{"a read misses an answered write", Linearizable{}, "get", func(s *story) {
		s.done(put("a", "1", 2)).done(get("a", 2))
	}},
	{"a read shows a value of before", Linearizable{}, "", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(get("a", 3, kv("a", "1", 2, 2, 1)))
	}},
	{"two reads see two concurrent writes in different orders", Linearizable{}, "", func(s *story) {
		x, y := s.begin(put("a", "1", 2)), s.begin(put("a", "2", 3))
		s.done(get("a", 3, kv("a", "2", 2, 3, 2))).done(get("a", 3, kv("a", "1", 2, 2, 1))).answer(x).answer(y)
	}},
	{"a version that skips one", Linearizable{}, "", func(s *story) {
		s.done(put("a", "1", 2)).done(get("a", 2, kv("a", "1", 2, 2, 2)))
	}},
	{"a creation that is not the key's", Linearizable{}, "", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(get("a", 3, kv("a", "2", 3, 3, 2)))
	}},
	{"a transaction takes the wrong branch", Linearizable{}, "", func(s *story) {
		s.done(put("a", "1", 2)).done(txn("a", 2, ops(put("a", "2", 0)), nil, 2, false))
	}},
	{"two transactions both win the same comparison", Linearizable{}, "", func(s *story) {
		then := ops(put("lock", "x", 0))
		x := s.begin(txn("lock", 0, then, nil, 2, true, TxnOp{Put: &Put{Result: &PutResult{}}}))
		s.done(txn("lock", 0, ops(put("lock", "y", 0)), nil, 3, true, TxnOp{Put: &Put{Result: &PutResult{}}})).answer(x)
	}},
	{"half of a transaction is seen", Linearizable{}, "", func(s *story) {
		s.done(txn("a", 0, ops(put("a", "1", 0), put("b", "1", 0)), nil, 2, true, TxnOp{Put: &Put{}}, TxnOp{Put: &Put{}}))
		s.done(scan("a", "c", 2, kv("a", "1", 2, 2, 1)))
	}},
	{"a delete counts what is not there", Linearizable{}, "", func(s *story) {
		s.done(put("a", "1", 2)).done(del("a", "c", 3, 2))
	}},
	{"a deleted key comes back", Linearizable{}, "", func(s *story) {
		s.done(put("a", "1", 2)).done(del("a", "", 3, 1)).done(get("a", 3, kv("a", "1", 2, 2, 1)))
	}},
	{"a write without an answer is done twice", Linearizable{}, "", func(s *story) {
		s.lost(put("a", "1", 0)).done(put("a", "2", 3)).done(get("a", 4, kv("a", "1", 2, 4, 3)))
	}},
	{"a write without an answer is seen and then gone", Linearizable{}, "", func(s *story) {
		s.lost(put("a", "1", 0)).done(get("a", 2, kv("a", "1", 2, 2, 1))).done(get("a", 2))
	}},
	{"a value that nobody wrote", Linearizable{}, "", func(s *story) {
		s.done(put("a", "1", 2)).done(get("a", 2, kv("a", "0", 2, 2, 1)))
	}},
	{"a refused write is seen", Linearizable{}, "", func(s *story) {
		s.refused(put("a", "1", 0), "too many requests").done(get("a", 2, kv("a", "1", 2, 2, 1)))
	}},
	{"a previous value that was not", Linearizable{}, "", func(s *story) {
		s.done(put("a", "1", 2))
		o := put("a", "2", 3)
		o.Put.PrevKV = true
		s.done(o)
	}},
	{"a lease ends without its key", Linearizable{}, "", func(s *story) {
		s.done(grant(7, 5)).done(putLease("a", "1", 7, 2)).done(revoke(7, 3)).done(get("a", 3, leased(kv("a", "1", 2, 2, 1), 7)))
	}},
	{"a key is put on a lease that has ended", Linearizable{}, "", func(s *story) {
		s.done(grant(7, 5)).done(revoke(7, 1)).done(putLease("a", "1", 7, 2))
	}},
	{"a stale read after a pause", Linearizable{}, "", func(s *story) {
		s.done(put("a", "1", 2))
		s.pause(time.Minute).done(put("a", "2", 3)).done(get("a", 2, kv("a", "1", 2, 2, 1)))
	}},

	{"a revision goes back", Revisions{}, "before it was asked", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(put("a", "0", 2))
	}},
	{"a read's header goes back", Revisions{}, "before it was asked", func(s *story) {
		s.done(put("a", "1", 2)).done(put("b", "1", 3)).done(get("c", 2))
	}},
	{"two writes have one revision", Revisions{}, "two writes", func(s *story) {
		x := s.begin(put("a", "1", 2))
		s.done(put("b", "1", 2)).answer(x)
	}},
	{"a write has the revision of a read before it", Revisions{}, "before it was asked for", func(s *story) {
		x := s.begin(put("x", "1", 3))
		s.done(get("a", 2)).done(put("b", "1", 2)).answer(x)
	}},
	{"a read is behind what a watcher was given", Revisions{}, "watcher", func(s *story) {
		s.lost(put("a", "1", 0))
		s.tell(s.watch(all()), events(2, putEvent(kv("a", "1", 2, 2, 1)))).done(get("b", 1))
	}},
	{"a revision that nobody has made", Revisions{}, "cannot have made", func(s *story) {
		s.done(put("a", "1", 2)).done(get("a", 4, kv("a", "1", 2, 2, 1)))
	}},

	{"a watcher and an answer differ in the value", Accounts{}, "revision 2", func(s *story) {
		s.done(put("a", "1", 2))
		s.tell(s.watch(all()), events(2, putEvent(kv("a", "0", 2, 2, 1))))
	}},
	{"a watcher and a read differ in the version", Accounts{}, "revision 2", func(s *story) {
		s.done(put("a", "1", 2)).done(get("a", 2, kv("a", "1", 2, 2, 1)))
		s.tell(s.watch(Watcher{Key: "a", Start: 1}), events(2, putEvent(kv("a", "1", 2, 2, 3))))
	}},
	{"an event that nobody caused", Accounts{}, "no cause", func(s *story) {
		s.done(put("a", "1", 2))
		s.tell(s.watch(all()), events(2, putEvent(kv("a", "1", 2, 2, 1)))).tell(0, events(3, putEvent(kv("b", "1", 3, 3, 1))))
	}},
	{"a key disappears by itself", Accounts{}, "no cause", func(s *story) {
		s.done(put("a", "1", 2))
		s.tell(s.watch(all()), events(2, putEvent(kv("a", "1", 2, 2, 1)))).tell(0, events(3, delEvent("a", 3)))
	}},
	{"the end of a lease leaves a key behind", Accounts{}, "no cause", func(s *story) {
		s.done(grant(7, 5)).done(putLease("a", "1", 7, 2)).done(putLease("b", "1", 7, 3))
		w := s.watch(all())
		s.tell(w, events(2, putEvent(leased(kv("a", "1", 2, 2, 1), 7)))).tell(w, events(3, putEvent(leased(kv("b", "1", 3, 3, 1), 7))))
		s.pause(time.Minute).tell(w, events(4, delEvent("a", 4)))
	}},
	{"a range delete deletes a key too few", Accounts{}, "", func(s *story) {
		s.done(put("a", "1", 2)).done(put("b", "1", 3)).done(del("a", "c", 4, 2))
		w := s.watch(all())
		s.tell(w, events(2, putEvent(kv("a", "1", 2, 2, 1)))).tell(w, events(3, putEvent(kv("b", "1", 3, 3, 1)))).tell(w, events(4, delEvent("a", 4)))
	}},
	{"a version goes on after a delete", Accounts{}, "", func(s *story) {
		s.lost(put("a", "1", 0)).lost(del("a", "", 0, 1)).lost(put("a", "2", 0))
		w := s.watch(all())
		s.tell(w, events(2, putEvent(kv("a", "1", 2, 2, 1)))).tell(w, events(3, delEvent("a", 3))).tell(w, events(4, putEvent(kv("a", "2", 2, 4, 2))))
	}},

	{"a stale read of two revisions at once", Reads{}, "", func(s *story) {
		s.done(put("a", "1", 2)).done(put("b", "1", 3)).done(put("a", "2", 4))
		s.done(stale(scan("a", "c", 3, kv("a", "2", 2, 4, 2), kv("b", "1", 3, 3, 1)), 2))
	}},
	{"a stale read shows a value of before its header", Reads{}, "", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(stale(get("a", 3, kv("a", "1", 2, 2, 1)), 2))
	}},
	{"a read of the past shows the present", Reads{}, "", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(past(get("a", 3, kv("a", "2", 2, 3, 2)), 2))
	}},
	{"a read of the past misses a key", Reads{}, "misses", func(s *story) {
		s.done(put("a", "1", 2)).done(del("a", "", 3, 1)).done(past(get("a", 3), 2))
	}},
	{"a read of the future", Reads{}, "future", func(s *story) {
		s.done(put("a", "1", 2)).done(past(get("a", 2, kv("a", "1", 2, 2, 1)), 5))
	}},
	{"a count that is not the number of keys", Reads{}, "counts", func(s *story) {
		s.done(put("a", "1", 2))
		o := scan("a", "c", 2, kv("a", "1", 2, 2, 1))
		o.Range.Result.Count = 2
		s.done(o)
	}},
	{"keys out of order", Reads{}, "after", func(s *story) {
		s.done(put("a", "1", 2)).done(put("b", "1", 3)).done(scan("a", "c", 3, kv("b", "1", 3, 3, 1), kv("a", "1", 2, 2, 1)))
	}},
	{"a member goes back", Reads{}, "goes back", func(s *story) {
		s.done(put("a", "1", 2)).done(put("b", "1", 3)).done(stale(get("b", 3, kv("b", "1", 3, 3, 1)), 2)).done(stale(get("a", 2, kv("a", "1", 2, 2, 1)), 2))
	}},

	{"an event comes twice", Watches{}, "twice", func(s *story) {
		s.done(put("a", "1", 2))
		s.tell(s.watch(all()), events(2, putEvent(kv("a", "1", 2, 2, 1)))).tell(0, events(2, putEvent(kv("a", "1", 2, 2, 1))))
	}},
	{"events out of order", Watches{}, "after one of", func(s *story) {
		s.done(put("a", "1", 2)).done(put("b", "1", 3))
		s.tell(s.watch(all()), events(3, putEvent(kv("b", "1", 3, 3, 1)))).tell(0, events(3, putEvent(kv("a", "1", 2, 2, 1))))
	}},
	{"an event is missing", Watches{}, "at 3", func(s *story) {
		s.done(put("a", "1", 2)).done(put("b", "1", 3)).done(put("c", "1", 4))
		s.tell(s.watch(all()), events(2, putEvent(kv("a", "1", 2, 2, 1)))).tell(0, events(4, putEvent(kv("c", "1", 4, 4, 1))))
	}},
	{"half of a revision is missing", Watches{}, "at 2", func(s *story) {
		s.done(txn("a", 0, ops(put("a", "1", 0), put("b", "1", 0)), nil, 2, true, TxnOp{Put: &Put{}}, TxnOp{Put: &Put{}}))
		s.tell(s.watch(all()), events(2, putEvent(kv("a", "1", 2, 2, 1))))
	}},
	{"a revision comes in two responses", Watches{}, "two responses", func(s *story) {
		s.tell(s.watch(all()), events(2, putEvent(kv("a", "1", 2, 2, 1)))).tell(0, events(2, putEvent(kv("b", "1", 2, 2, 1))))
	}},
	{"fragments that nobody asked for", Watches{}, "fragments", func(s *story) {
		r := events(2, putEvent(kv("a", "1", 2, 2, 1)))
		r.Fragment = true
		s.tell(s.watch(all()), r)
	}},
	{"an event of another key", Watches{}, "key", func(s *story) {
		s.tell(s.watch(Watcher{Key: "a", Start: 1}), events(2, putEvent(kv("b", "1", 2, 2, 1))))
	}},
	{"a filtered event", Watches{}, "did not want", func(s *story) {
		s.tell(s.watch(Watcher{End: "\x00", Start: 1, NoDelete: true}), events(3, delEvent("a", 3)))
	}},
	{"a watcher of the future is given the past", Watches{}, "before its start", func(s *story) {
		s.done(put("a", "1", 2))
		s.tell(s.watch(Watcher{End: "\x00", Start: 10}), events(2, putEvent(kv("a", "1", 2, 2, 1))))
	}},
	{"a watcher from now on is given what was", Watches{}, "before its start", func(s *story) {
		s.done(put("a", "1", 2))
		s.tell(s.watch(Watcher{End: "\x00"}), WatchResponse{Created: true, Revision: 2}).tell(0, events(2, putEvent(kv("a", "1", 2, 2, 1))))
	}},
	{"an event above its header", Watches{}, "under a header", func(s *story) {
		s.tell(s.watch(all()), events(1, putEvent(kv("a", "1", 2, 2, 1))))
	}},
	{"progress before the event", Watches{}, "progress", func(s *story) {
		s.done(put("a", "1", 2))
		s.tell(s.watch(all()), WatchResponse{Progress: true, Revision: 2}).tell(0, events(2, putEvent(kv("a", "1", 2, 2, 1))))
	}},
	{"a watcher that is never told", Watches{}, "at the end", func(s *story) {
		s.done(put("a", "1", 2))
		w := all()
		w.CaughtUpTo = 2
		s.watch(w)
	}},
	{"a delete at the compacted revision is dropped", Watches{}, "at 3", func(s *story) {
		s.done(put("a", "1", 2)).done(del("a", "", 3, 1)).done(put("b", "1", 4)).done(compact(3, 4))
		s.tell(s.watch(Watcher{End: "\x00", Start: 3}), events(4, putEvent(kv("b", "1", 4, 4, 1))))
	}},
	{"a compaction is jumped over", Watches{}, "at 2", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(put("a", "3", 4)).done(compact(4, 4))
		s.tell(s.watch(Watcher{Key: "a", Start: 2}), events(4, putEvent(kv("a", "3", 2, 4, 3))))
	}},
	{"cancelled without need", Watches{}, "wants nothing", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(compact(3, 3))
		s.tell(s.watch(Watcher{Key: "a", Start: 3}), WatchResponse{Canceled: true, CompactRevision: 3, Revision: 3})
	}},
	{"cancelled for a compaction that nobody asked for", Watches{}, "nobody has compacted", func(s *story) {
		s.done(put("a", "1", 2))
		s.tell(s.watch(Watcher{Key: "a", Start: 1}), WatchResponse{Canceled: true, CompactRevision: 2, Revision: 2})
	}},
	{"a response after the end", Watches{}, "after the end", func(s *story) {
		s.tell(s.watch(all()), WatchResponse{Canceled: true, Revision: 2}).tell(0, events(2, putEvent(kv("a", "1", 2, 2, 1))))
	}},
	{"a wrong previous value", Watches{}, "before it was", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(put("a", "3", 4))
		first := kv("a", "1", 2, 2, 1)
		s.tell(s.watch(Watcher{Key: "a", Start: 4, PrevKV: true}), events(4, WatchEvent{KV: kv("a", "3", 2, 4, 3), Prev: &first}))
	}},
	{"a missing previous value", Watches{}, "lacks", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3))
		s.tell(s.watch(Watcher{Key: "a", Start: 3, PrevKV: true}), events(3, putEvent(kv("a", "2", 2, 3, 2))))
	}},
	{"a client that leaves something out", Watches{}, "left something out", func(s *story) {
		s.done(put("a", "1", 2))
		s.tell(s.watch(all()), events(2, putEvent(kv("a", "1", 2, 2, 1))))
		s.watch(Watcher{ID: 1, Resumes: 0, End: "\x00", Start: 4})
		s.h.Watchers[1].Resumes = 0
	}},

	{"a read of what was compacted", Compactions{}, "was answered after", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(compact(3, 3)).done(past(get("a", 3, kv("a", "1", 2, 2, 1)), 2))
	}},
	{"a transaction reads what was compacted", Compactions{}, "was answered after", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(compact(3, 3))
		read := past(get("a", 3, kv("a", "1", 2, 2, 1)), 2)
		s.done(txn("x", 0, ops(read), nil, 3, true, TxnOp{Range: read.Range}))
	}},
	{"compacted is said without a compaction", Compactions{}, "was ever compacted", func(s *story) {
		s.done(put("a", "1", 2)).refused(past(get("a", 0), 2), "mvcc: required revision has been compacted")
	}},
	{"a compaction of the future", Compactions{}, "future", func(s *story) { s.done(compact(9, 1)) }},

	{"a lease ends early", Leases{}, "promised", func(s *story) {
		s.done(grant(7, 10)).pause(9 * time.Second).done(remaining(7, -1, 0))
	}},
	{"a lease ends early after a keep-alive", Leases{}, "promised", func(s *story) {
		s.done(grant(7, 10)).pause(5 * time.Second).done(keepAlive(7, 10)).pause(8 * time.Second).done(keepAlive(7, 0))
	}},
	{"a key's deletion shows that a lease ended early", Leases{}, "promised", func(s *story) {
		s.done(grant(7, 10)).done(putLease("a", "1", 7, 2))
		w := s.watch(all())
		s.tell(w, events(2, putEvent(leased(kv("a", "1", 2, 2, 1), 7)))).pause(5*time.Second).tell(w, events(3, delEvent("a", 3)))
	}},
	{"a lease lives for ever", Leases{}, "lives on", func(s *story) {
		s.done(grant(7, 10))
		for range 40 {
			s.pause(500 * time.Millisecond).done(get("x", 1))
		}
		s.done(keepAlive(7, 10))
	}},
	{"a key outlives its lease", Leases{}, "lives on", func(s *story) {
		s.done(grant(7, 10)).done(putLease("a", "1", 7, 2))
		for range 40 {
			s.pause(500 * time.Millisecond).done(get("a", 2, leased(kv("a", "1", 2, 2, 1), 7)))
		}
	}},
	{"a revoked lease lives on", Leases{}, "lives on after", func(s *story) {
		s.done(grant(7, 10)).done(revoke(7, 1)).done(keepAlive(7, 10))
	}},
	{"less time is told than there is", Leases{}, "tells less", func(s *story) {
		s.done(grant(7, 10)).done(remaining(7, 4, 10))
	}},

	{"an acknowledged write is gone", Kept{}, "has lost", func(s *story) {
		s.done(put("a", "1", 2)).done(put("b", "1", 3)).final(1, 3, kv("b", "1", 3, 3, 1))
	}},
	{"an acknowledged write is undone", Kept{}, "it holds", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).final(1, 3, kv("a", "1", 2, 2, 1))
	}},
	{"a member ends behind an acknowledged write", Kept{}, "has lost", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).final(1, 2, kv("a", "1", 2, 2, 1))
	}},
	{"an acknowledged delete is undone", Kept{}, "has deleted", func(s *story) {
		s.done(put("a", "1", 2)).done(del("a", "", 3, 1)).final(1, 3, kv("a", "1", 2, 2, 1))
	}},
	{"a write without an answer is torn", Kept{}, "torn", func(s *story) {
		s.lost(txn("a", 0, ops(put("a", "x", 0), put("b", "y", 0)), nil, 0, false))
		s.final(1, 3, kv("a", "x", 2, 2, 1), kv("b", "y", 3, 3, 1))
	}},
	{"a refused write was done", Kept{}, "has been done", func(s *story) {
		s.refused(put("a", "1", 0), "too many requests").final(1, 2, kv("a", "1", 2, 2, 1))
	}},

	{"two members differ in their digests", Replicas{}, "after entry 5", func(s *story) {
		a := Applied{Member: 1, Life: 1, Position: kind.Position{Index: 5, Term: 2}, Commit: 5, Revision: 3, Digest: 1}
		s.applied(a)
		a.Member, a.Digest = 2, 2
		s.applied(a)
	}},
	{"a member applies another entry after a restart", Replicas{}, "after entry 5", func(s *story) {
		a := Applied{Member: 1, Life: 1, Position: kind.Position{Index: 5, Term: 2}, Commit: 5, Revision: 3}
		s.applied(a)
		a.Life, a.Position.Term = 2, 3
		s.applied(a)
	}},
	{"the compacted revision falls", Replicas{}, "falls", func(s *story) {
		s.applied(Applied{Member: 1, Position: kind.Position{Index: 5, Term: 2}, Revision: 3, Compacted: 3})
		s.applied(Applied{Member: 1, Position: kind.Position{Index: 6, Term: 2}, Revision: 4, Compacted: 2})
	}},
	{"cluster time falls", Replicas{}, "falls", func(s *story) {
		s.applied(Applied{Member: 1, Position: kind.Position{Index: 5, Term: 2}, Revision: 3, Elapsed: 10})
		s.applied(Applied{Member: 2, Position: kind.Position{Index: 6, Term: 2}, Revision: 4, Elapsed: 9})
	}},
	{"a member applies what is not committed", Replicas{}, "knows as committed", func(s *story) {
		s.applied(Applied{Member: 1, Position: kind.Position{Index: 5, Term: 2}, Commit: 4, Revision: 3})
	}},
	{"a member goes back within its life", Replicas{}, "goes back", func(s *story) {
		s.applied(Applied{Member: 1, Life: 1, Position: kind.Position{Index: 5, Term: 2}, Revision: 3})
		s.applied(Applied{Member: 1, Life: 1, Position: kind.Position{Index: 4, Term: 2}, Revision: 3})
	}},
	{"two members end with different keys", Replicas{}, "different keys", func(s *story) {
		s.final(1, 3, kv("a", "1", 2, 2, 1)).final(2, 3, kv("a", "1", 2, 3, 2))
	}},
	{"a key has more versions than there were revisions", Replicas{}, "unsound", func(s *story) { s.final(1, 3, kv("a", "1", 2, 3, 3)) }},
	{"a key hangs on a lease that is not there", Replicas{}, "unsound", func(s *story) {
		s.final(1, 3, leased(kv("a", "1", 2, 2, 1), 7))
		s.h.Finals[0].Leases = []FinalLease{}
	}},
	{"a lease holds a key that is not there", Replicas{}, "unsound", func(s *story) {
		s.final(1, 3)
		s.h.Finals[0].Leases = []FinalLease{{ID: 7, Keys: []string{"a"}}}
	}},
	{"two hashes of one revision", Replicas{}, "hashes", func(s *story) {
		for i := range 2 {
			s.done(Operation{Member: kind.MemberID(i + 1), HashKV: &HashKV{Revision: 3, Result: &HashKVResult{Revision: 4, Hash: uint32(i)}}})
		}
	}},

	{"two leaders in a term", Elections{}, "both lead", func(s *story) {
		s.event(Event{Kind: Leads, Member: 1, Term: 3}).event(Event{Kind: LeadsNoMore, Member: 1, Term: 3}).event(Event{Kind: Leads, Member: 2, Term: 3})
	}},
	{"two members believe that they lead in a term", Elections{}, "both lead", func(s *story) {
		s.applied(Applied{Member: 1, Term: 3, Leading: true, Revision: 1}).applied(Applied{Member: 2, Term: 3, Leading: true, Revision: 1})
	}},

	{"no answer after the faults", Progress{}, "no answer", func(s *story) {
		s.event(Event{Kind: Healed}).pause(time.Minute).done(put("b", "1", 2)).lost(put("a", "1", 0))
	}},
	{"nothing is written after the faults", Progress{}, "nothing was written", func(s *story) {
		s.event(Event{Kind: Healed}).pause(time.Minute).refused(put("a", "1", 0), "no leader")
	}},
	{"a member stays behind", Progress{}, "long after", func(s *story) {
		s.event(Event{Kind: Healed}).pause(time.Minute).done(put("a", "1", 2)).final(1, 2, kv("a", "1", 2, 2, 1)).final(2, 1)
	}},
}

// TestPlanted holds that each checker sees the smallest breach of each of its guarantees.
func TestPlanted(t *testing.T) {
	for _, p := range planted {
		t.Run(p.by.Name()+"/"+strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			s := newStory()
			p.tell(s)
			v := p.by.Judge(&s.h)
			if len(v.Violations) == 0 {
				t.Fatalf("it saw nothing (judged %d, undecided %d)", v.Judged, v.Undecided)
			}
			if says := strings.Replace(p.says, "get", "range", 1); !strings.Contains(v.Violations[0].Text, says) {
				t.Errorf("it says %q, without %q", v.Violations[0].Text, says)
			}
			t.Log(v.Violations[0].Text)
		})
	}
}
