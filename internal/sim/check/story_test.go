package check

import (
	"time"

	"holdfast/internal/kind"
)

// A story writes a history by hand. Each operation takes place after all that was told before it, unless begin and answer
// are told apart.
type story struct {
	h    History
	step uint64
	at   time.Duration
}

func newStory() *story {
	return &story{h: History{Cluster: Cluster{ElectionTimeout: time.Second, HeartbeatInterval: 100 * time.Millisecond, RequestTimeout: 7 * time.Second}}}
}

// now is the next moment, a millisecond after the last one.
func (s *story) now() Moment {
	s.step++
	s.at += time.Millisecond
	return Moment{s.step, s.at}
}

// pause lets time go by.
func (s *story) pause(d time.Duration) *story {
	s.at += d
	return s
}

// begin tells that an operation was asked for; answer, with its place, that it was answered.
func (s *story) begin(o Operation) int {
	o.ID = len(s.h.Operations)
	o.Call = s.now()
	o.Client = o.ID
	s.h.Operations = append(s.h.Operations, o)
	return o.ID
}

func (s *story) answer(id int) *story {
	o := &s.h.Operations[id]
	o.Return, o.Outcome = s.now(), Done
	return s
}

func (s *story) done(o Operation) *story { return s.answer(s.begin(o)) }

// lost is an operation without an answer.
func (s *story) lost(o Operation) *story {
	id := s.begin(o.unanswered())
	s.h.Operations[id].Return = s.now()
	return s
}

func (s *story) refused(o Operation, why string) *story {
	id := s.begin(o.unanswered())
	s.h.Operations[id].Return, s.h.Operations[id].Outcome, s.h.Operations[id].Error = s.now(), Refused, why
	return s
}

// unanswered is the operation without its result.
func (o Operation) unanswered() Operation {
	switch {
	case o.Put != nil:
		o.Put.Result = nil
	case o.Delete != nil:
		o.Delete.Result = nil
	case o.Range != nil:
		o.Range.Result = nil
	case o.Txn != nil:
		o.Txn.Result = nil
	case o.KeepAlive != nil:
		o.KeepAlive.Result = nil
	}
	return o
}

func put(key, value string, revision kind.Revision) Operation {
	return Operation{Member: 1, Put: &Put{Key: key, Value: value, Result: &PutResult{Revision: revision}}}
}

func putLease(key, value string, lease kind.LeaseID, revision kind.Revision) Operation {
	o := put(key, value, revision)
	o.Put.Lease = lease
	return o
}

func del(key, end string, revision kind.Revision, deleted int64) Operation {
	return Operation{Member: 1, Delete: &Delete{Key: key, End: end, Result: &DeleteResult{Revision: revision, Deleted: deleted}}}
}

func get(key string, revision kind.Revision, kvs ...KV) Operation {
	return scan(key, "", revision, kvs...)
}

func scan(key, end string, revision kind.Revision, kvs ...KV) Operation {
	return Operation{Member: 1, Range: &Range{Key: key, End: end, Result: &RangeResult{Revision: revision, KVs: kvs, Count: int64(len(kvs))}}}
}

// past makes a read one of an earlier revision, stale one that may be old, from another member.
func past(o Operation, at kind.Revision) Operation {
	o.Range.Revision = at
	return o
}

func stale(o Operation, member kind.MemberID) Operation {
	o.Range.Serializable, o.Member = true, member
	return o
}

func kv(key, value string, create, mod kind.Revision, version int64) KV {
	return KV{Key: key, Value: value, CreateRevision: create, ModRevision: mod, Version: version}
}

func leased(row KV, id kind.LeaseID) KV {
	row.Lease = id
	return row
}

func compact(at, header kind.Revision) Operation {
	return Operation{Member: 1, Compact: &Compact{Revision: at, Result: &CompactResult{header}}}
}

func grant(id kind.LeaseID, ttl int64) Operation {
	return Operation{Member: 1, Grant: &Grant{ID: id, TTL: ttl, Result: &GrantResult{1, ttl}}}
}

func keepAlive(id kind.LeaseID, ttl int64) Operation {
	return Operation{Member: 1, KeepAlive: &KeepAlive{ID: id, Result: &KeepAliveResult{0, ttl}}}
}

func remaining(id kind.LeaseID, ttl, granted int64) Operation {
	return Operation{Member: 1, Remaining: &Remaining{ID: id, Result: &RemainingResult{0, ttl, granted, nil}}}
}

func revoke(id kind.LeaseID, header kind.Revision) Operation {
	return Operation{Member: 1, Revoke: &Revoke{ID: id, Result: &RevokeResult{header}}}
}

// txn is a transaction that compares the modification of a key.
func txn(key string, mod int64, then, otherwise []TxnOp, revision kind.Revision, succeeded bool, results ...TxnOp) Operation {
	return Operation{Member: 1, Txn: &Txn{Compares: []Compare{{Key: key, Target: CompareMod, Sign: '=', Number: mod}}, Then: then, Else: otherwise,
		Result: &TxnResult{revision, succeeded, results}}}
}

func ops(list ...Operation) (ops []TxnOp) {
	for _, o := range list {
		ops = append(ops, TxnOp{o.Range, o.Put, o.Delete, o.Txn})
	}
	return ops
}

// watch begins a watcher; tell gives it a response.
func (s *story) watch(w Watcher) int {
	w.ID, w.Request = len(s.h.Watchers), s.now()
	if w.Resumes == 0 {
		w.Resumes = -1
	}
	s.h.Watchers = append(s.h.Watchers, w)
	return w.ID
}

func (s *story) tell(id int, r WatchResponse) *story {
	r.Moment = s.now()
	s.h.Watchers[id].Responses = append(s.h.Watchers[id].Responses, r)
	return s
}

// events is a response with events under a header.
func events(header kind.Revision, list ...WatchEvent) WatchResponse {
	return WatchResponse{Revision: header, Events: list}
}

func putEvent(row KV) WatchEvent { return WatchEvent{KV: row} }

func delEvent(key string, at kind.Revision) WatchEvent {
	return WatchEvent{Delete: true, KV: KV{Key: key, ModRevision: at}}
}

// all is a watcher of everything from the beginning.
func all() Watcher { return Watcher{End: "\x00", Start: 1} }

// final is what a member holds at the end.
func (s *story) final(member kind.MemberID, revision kind.Revision, live ...KV) *story {
	f := Final{Live: live}
	f.Member, f.Revision, f.Moment, f.Position = member, revision, s.now(), kind.Position{Index: kind.Index(revision) + 10, Term: 2}
	f.LiveKeys = int64(len(live))
	s.h.Finals = append(s.h.Finals, f)
	return s
}

// applied is where a member stands.
func (s *story) applied(a Applied) *story {
	a.Moment = s.now()
	s.h.Applied = append(s.h.Applied, a)
	return s
}

func (s *story) event(e Event) *story {
	e.Moment = s.now()
	s.h.Events = append(s.h.Events, e)
	return s
}
