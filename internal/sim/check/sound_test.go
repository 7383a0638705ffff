package check

import (
	"strings"
	"testing"
	"time"

	"holdfast/internal/kind"
)

// sound are histories at the edge of what is allowed: no checker may object.
var sound = []struct {
	name string
	tell func(s *story)
}{
	{"concurrent writes in either order", func(s *story) {
		x, y := s.begin(put("a", "1", 3)), s.begin(put("a", "2", 2))
		s.answer(x).answer(y).done(get("a", 3, kv("a", "1", 2, 3, 2)))
	}},
	{"a write without an answer that was done much later", func(s *story) {
		s.lost(put("a", "1", 0)).done(get("a", 1)).done(put("b", "1", 2)).done(get("a", 3, kv("a", "1", 3, 3, 1)))
	}},
	{"a write without an answer that was never done", func(s *story) { s.lost(put("a", "1", 0)).done(get("a", 1)).done(put("b", "1", 2)) }},
	{"a write without an answer, seen by its version alone", func(s *story) {
		s.done(put("a", "1", 2)).lost(put("a", "2", 0)).done(put("a", "3", 4)).done(get("a", 4, kv("a", "3", 2, 4, 3)))
	}},
	{"a delete without an answer", func(s *story) {
		s.done(put("a", "1", 2)).lost(del("a", "c", 0, 0)).done(get("a", 3)).done(put("a", "2", 4)).done(get("a", 4, kv("a", "2", 4, 4, 1)))
	}},
	{"a transaction that compares what was never answered", func(s *story) {
		s.lost(put("a", "1", 0)).done(txn("a", 2, ops(put("a", "2", 0)), nil, 3, true, TxnOp{Put: &Put{}})).done(get("a", 3, kv("a", "2", 2, 3, 2)))
	}},
	{"a transaction without an answer whose other branch was taken", func(s *story) {
		s.done(put("a", "1", 2)).lost(txn("a", 9, ops(put("a", "x", 0)), ops(put("b", "y", 0)), 0, false))
		s.done(scan("a", "c", 3, kv("a", "1", 2, 2, 1), kv("b", "y", 3, 3, 1)))
	}},
	{"a nested transaction", func(s *story) {
		inner := Operation{Txn: &Txn{Then: ops(put("b", "1", 0))}}
		result := TxnOp{Txn: &Txn{Result: &TxnResult{2, true, []TxnOp{{Put: &Put{}}}}}}
		s.done(txn("a", 0, ops(inner), nil, 2, true, result)).done(scan("a", "c", 2, kv("b", "1", 2, 2, 1)))
	}},
	{"a stale read of one revision", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(stale(get("a", 2, kv("a", "1", 2, 2, 1)), 2)).done(stale(get("a", 3, kv("a", "2", 2, 3, 2)), 2))
	}},
	{"a read of the past", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(past(get("a", 3, kv("a", "1", 2, 2, 1)), 2))
	}},
	{"a limited read", func(s *story) {
		s.done(put("a", "1", 2)).done(put("b", "1", 3))
		o := scan("a", "c", 3, kv("a", "1", 2, 2, 1))
		o.Range.Limit, o.Range.Result.More, o.Range.Result.Count = 1, true, 2
		s.done(o)
	}},
	{"a delete of nothing has no revision of its own", func(s *story) { s.done(put("a", "1", 2)).done(del("b", "", 2, 0)).done(put("b", "1", 3)) }},
	{"a lease that ends in time", func(s *story) {
		s.done(grant(7, 10)).done(putLease("a", "1", 7, 2))
		w := s.watch(all())
		s.tell(w, events(2, putEvent(leased(kv("a", "1", 2, 2, 1), 7)))).pause(5 * time.Second).done(keepAlive(7, 10))
		for range 11 {
			s.pause(time.Second).done(get("x", 2))
		}
		s.tell(w, events(3, delEvent("a", 3))).done(keepAlive(7, 0)).done(remaining(7, -1, 0)).done(get("a", 3))
	}},
	{"a lease without a leader lives on", func(s *story) {
		s.done(grant(7, 10)).done(putLease("a", "1", 7, 2)).pause(time.Minute).done(get("a", 2, leased(kv("a", "1", 2, 2, 1), 7))).done(keepAlive(7, 10))
	}},
	{"a revoked lease", func(s *story) {
		s.done(grant(7, 10)).done(putLease("a", "1", 7, 2)).done(putLease("b", "1", 7, 3)).done(revoke(7, 4)).done(scan("a", "c", 4)).done(put("a", "2", 5))
		everything := all()
		everything.CaughtUpTo = 5
		w := s.watch(everything)
		s.tell(w, events(5, putEvent(leased(kv("a", "1", 2, 2, 1), 7)), putEvent(leased(kv("b", "1", 3, 3, 1), 7)), delEvent("a", 4), delEvent("b", 4)))
		s.tell(w, events(5, putEvent(kv("a", "2", 5, 5, 1))))
	}},
	{"a watcher with fragments, progress and the past", func(s *story) {
		s.done(txn("a", 0, ops(put("a", "1", 0), put("b", "1", 0)), nil, 2, true, TxnOp{Put: &Put{}}, TxnOp{Put: &Put{}})).done(put("a", "2", 3))
		w := all()
		w.Fragment, w.PrevKV, w.CaughtUpTo = true, true, 3
		id := s.watch(w)
		first := events(3, putEvent(kv("a", "1", 2, 2, 1)))
		first.Fragment = true
		before := kv("a", "1", 2, 2, 1)
		s.tell(id, WatchResponse{Created: true, Revision: 3}).tell(id, first).tell(id, events(3, putEvent(kv("b", "1", 2, 2, 1))))
		s.tell(id, WatchResponse{Progress: true, Revision: 2}).tell(id, events(3, WatchEvent{KV: kv("a", "2", 2, 3, 2), Prev: &before}))
	}},
	{"a delete and a put of a key in one revision", func(s *story) {
		s.done(put("a", "1", 2)).lost(txn("a", 2, ops(del("a", "", 0, 0), put("a", "2", 0)), nil, 0, false))
		id := s.watch(all())
		s.tell(id, events(2, putEvent(kv("a", "1", 2, 2, 1)))).tell(id, events(3, delEvent("a", 3), putEvent(kv("a", "2", 3, 3, 1))))
	}},
	{"a watcher whose beginning was compacted", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3)).done(put("a", "3", 4)).done(compact(4, 4))
		s.tell(s.watch(Watcher{Key: "a", Start: 2}), WatchResponse{Canceled: true, CompactRevision: 4, Revision: 4})
		s.tell(s.watch(Watcher{Key: "a", Start: 4}), events(4, putEvent(kv("a", "3", 2, 4, 3))))
		s.refused(past(get("a", 0), 3), "mvcc: required revision has been compacted")
	}},
	{"a watcher that is resumed", func(s *story) {
		s.done(put("a", "1", 2)).done(put("a", "2", 3))
		s.tell(s.watch(all()), events(2, putEvent(kv("a", "1", 2, 2, 1))))
		w := s.watch(Watcher{End: "\x00", Start: 3, CaughtUpTo: 3})
		s.h.Watchers[w].Resumes = 0
		s.tell(w, events(3, putEvent(kv("a", "2", 2, 3, 2))))
	}},
	{"members that end alike", func(s *story) {
		s.done(grant(7, 10)).done(putLease("a", "1", 7, 2)).event(Event{Kind: Healed}).pause(time.Minute).done(put("b", "1", 3))
		for m := kind.MemberID(1); m <= 2; m++ {
			s.final(m, 3, leased(kv("a", "1", 2, 2, 1), 7), kv("b", "1", 3, 3, 1))
			s.h.Finals[m-1].Leases = []FinalLease{{7, 10, 0, []string{"a"}}}
		}
	}},
	{"a member that starts again behind where it was", func(s *story) {
		a := Applied{Member: 1, Life: 1, Position: kind.Position{Index: 6, Term: 2}, Commit: 6, Revision: 4, Term: 2, Leading: true}
		b := Applied{Member: 1, Life: 2, Position: kind.Position{Index: 5, Term: 2}, Commit: 5, Revision: 3, Term: 2}
		s.applied(a).applied(b)
		a.Life, a.Leading = 2, false
		s.applied(a).event(Event{Kind: Leads, Member: 1, Term: 2}).event(Event{Kind: Leads, Member: 2, Term: 3})
	}},
}

// TestSound holds that what is allowed is not objected to by any checker.
func TestSound(t *testing.T) {
	for _, p := range sound {
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			s := newStory()
			p.tell(s)
			if err := Judge(&s.h).Err(); err != nil {
				t.Error(err)
			}
		})
	}
}
