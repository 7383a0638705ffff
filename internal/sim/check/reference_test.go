package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"holdfast/internal/kind"
)

// A reference is a tiny store with clients, watchers and leases that writes a history as it goes, from a seed. It keeps
// every state there ever was, and each event. A bug is planted by its name.
type reference struct {
	*story
	rng    *rand.Rand
	bug    string
	struck int // how often the bug has made a difference

	states    []map[string]KV // by revision
	log       [][]WatchEvent  // by revision
	compacted kind.Revision
	leases    map[kind.LeaseID]time.Duration // when each ends
	ttl       map[kind.LeaseID]int64
	busy      []int // of each client the operation under way, or -1
	committed map[int]bool
	late      []int // operations without an answer that may still be done
	shown     [4]kind.Revision
	watchers  []*fed
	serial    int
}

// fed is a watcher and how far it has been given the log.
type fed struct {
	id   int
	next kind.Revision
	dead bool
}

func newReference(seed uint64, bug string) *reference {
	r := &reference{story: newStory(), rng: rand.New(rand.NewPCG(seed, 7)), bug: bug, states: []map[string]KV{nil, {}}, log: make([][]WatchEvent, 2),
		leases: map[kind.LeaseID]time.Duration{}, ttl: map[kind.LeaseID]int64{}, committed: map[int]bool{}, compacted: 0}
	r.h.Cluster.ElectionTimeout = 200 * time.Millisecond
	for range 5 {
		r.busy = append(r.busy, -1)
	}
	r.watchers = append(r.watchers, &fed{id: r.watch(all()), next: 1})
	return r
}

// strikes reports whether the bug of this name is to show itself now.
func (r *reference) strikes(bug string, in int) bool {
	if r.bug != bug || r.rng.IntN(in) != 0 {
		return false
	}
	r.struck++
	return true
}

func (r *reference) revision() kind.Revision { return kind.Revision(len(r.states) - 1) }

func (r *reference) key() string { return string(rune('a' + r.rng.IntN(6))) }

// ask makes a random operation.
func (r *reference) ask() Operation {
	r.serial++
	value := fmt.Sprint("v", r.serial)
	member := kind.MemberID(1 + r.rng.IntN(3))
	o := Operation{Member: member}
	end := ""
	if r.rng.IntN(4) == 0 {
		end = string(rune('a' + r.rng.IntN(7)))
	}
	switch p := r.rng.IntN(100); {
	case p < 30:
		o.Put = &Put{Key: r.key(), Value: value, PrevKV: p < 5}
		if ids := r.live(); len(ids) > 0 && p > 12 {
			o.Put.Lease = ids[max(0, len(ids)-1-r.rng.IntN(2))]
		}
	case p < 35:
		o.Delete = &Delete{Key: r.key(), End: end, PrevKV: p < 32}
	case p < 47:
		key := r.key()
		o.Txn = &Txn{Compares: []Compare{{Key: key, Target: CompareMod, Sign: '=', Number: int64(r.states[r.revision()][key].ModRevision)}},
			Then: []TxnOp{{Put: &Put{Key: key, Value: value}}, {Put: &Put{Key: key + "x", Value: value}}, {Range: &Range{Key: "a", End: "c"}}},
			Else: []TxnOp{{Range: &Range{Key: key}}}}
	case p < 64:
		o.Range = &Range{Key: r.key(), End: end}
	case p < 71:
		o.Range = &Range{Key: r.key(), End: end, Serializable: true}
	case p < 79:
		o.Range = &Range{Key: r.key(), End: end, Revision: max(1, r.revision()-kind.Revision(r.rng.IntN(8)))}
	case p < 82:
		o.Compact = &Compact{Revision: max(1, r.revision()-kind.Revision(r.rng.IntN(2)))}
	case p < 86:
		id := kind.LeaseID(r.serial)
		o.Grant = &Grant{ID: id, TTL: int64(1 + r.rng.IntN(3))}
	default:
		// Half of the leases are left to themselves.
		if ids := slices.DeleteFunc(r.live(), func(id kind.LeaseID) bool { return id%2 == 0 }); len(ids) > 0 {
			o.KeepAlive = &KeepAlive{ID: ids[r.rng.IntN(len(ids))]}
		} else {
			o.Range = &Range{Key: "a"}
		}
	}
	return o
}

func (r *reference) live() (ids []kind.LeaseID) {
	for id := range r.leases {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// write is one revision in the making.
type write struct {
	r       *reference
	rows    map[string]KV
	events  []WatchEvent
	changed bool
}

func (r *reference) begins() *write {
	w := &write{r: r, rows: map[string]KV{}}
	for k, kv := range r.states[r.revision()] {
		w.rows[k] = kv
	}
	return w
}

func (w *write) at() kind.Revision {
	if w.changed {
		return w.r.revision() + 1
	}
	return w.r.revision()
}

func (w *write) ends() {
	if w.changed {
		w.r.states, w.r.log = append(w.r.states, w.rows), append(w.r.log, w.events)
	}
}

func (w *write) put(p *Put) *PutResult {
	result := &PutResult{}
	row := KV{Key: p.Key, Value: p.Value, CreateRevision: w.r.revision() + 1, ModRevision: w.r.revision() + 1, Version: 1, Lease: p.Lease}
	if before, found := w.rows[p.Key]; found {
		row.CreateRevision, row.Version = before.CreateRevision, before.Version+1
		if p.PrevKV {
			result.Prev = &before
		}
	}
	if w.r.strikes("version", 20) {
		row.Version++
	}
	w.rows[p.Key], w.changed = row, true
	w.events = append(w.events, putEvent(row))
	return result
}

func (w *write) delete(d *Delete) *DeleteResult {
	result := &DeleteResult{}
	for _, k := range sorted(w.rows) {
		if inside(k, d.Key, d.End) {
			result.Deleted++
			if d.PrevKV {
				result.Prev = append(result.Prev, w.rows[k])
			}
			w.remove(k)
		}
	}
	return result
}

func (w *write) remove(key string) {
	delete(w.rows, key)
	w.changed = true
	w.events = append(w.events, delEvent(key, w.r.revision()+1))
}

func sorted(rows map[string]KV) (keys []string) {
	for k := range rows {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func scanRows(rows map[string]KV, q *Range, header kind.Revision) *RangeResult {
	result := &RangeResult{Revision: header}
	for _, k := range sorted(rows) {
		if inside(k, q.Key, q.End) {
			result.KVs = append(result.KVs, rows[k])
		}
	}
	result.Count = int64(len(result.KVs))
	return result
}

// commit does an operation; its result is set, and outcome may be refused.
func (r *reference) commit(o *Operation) (refused string) {
	w := r.begins()
	defer func() { // What a member has applied, it shows from then on.
		if !o.local() {
			r.shown[o.Member] = max(r.shown[o.Member], r.revision())
		}
	}()
	switch {
	case o.Put != nil:
		if _, alive := r.leases[o.Put.Lease]; o.Put.Lease != 0 && !alive {
			return "requested lease not found"
		}
		o.Put.Result = w.put(o.Put)
		o.Put.Result.Revision = w.at()
		if r.strikes("lost write", 15) {
			return ""
		}
	case o.Delete != nil:
		o.Delete.Result = w.delete(o.Delete)
		o.Delete.Result.Revision = w.at()
	case o.Txn != nil:
		c := o.Txn.Compares[0]
		succeeded := int64(w.rows[c.Key].ModRevision) == c.Number
		if !succeeded && r.strikes("branch", 3) {
			succeeded = true
		}
		o.Txn.Result = &TxnResult{Succeeded: succeeded}
		branch := o.Txn.Else
		if succeeded {
			branch = o.Txn.Then
		}
		for i, op := range branch {
			switch {
			case op.Range != nil:
				o.Txn.Result.Results = append(o.Txn.Result.Results, TxnOp{Range: &Range{Result: scanRows(w.rows, op.Range, w.at())}})
			case i == 1 && r.strikes("torn transaction", 4):
				o.Txn.Result.Results = append(o.Txn.Result.Results, TxnOp{Put: &Put{Result: &PutResult{}}})
			default:
				o.Txn.Result.Results = append(o.Txn.Result.Results, TxnOp{Put: &Put{Result: w.put(op.Put)}})
			}
		}
		o.Txn.Result.Revision = w.at()
	case o.Range != nil:
		return r.read(o)
	case o.Compact != nil:
		if o.Compact.Revision <= r.compacted {
			return "compacted"
		}
		r.compacted = o.Compact.Revision
		o.Compact.Result = &CompactResult{r.revision()}
	case o.Grant != nil:
		r.leases[o.Grant.ID], r.ttl[o.Grant.ID] = r.story.at+time.Duration(o.Grant.TTL)*time.Second, o.Grant.TTL
		o.Grant.Result = &GrantResult{r.revision(), o.Grant.TTL}
	case o.KeepAlive != nil:
		o.KeepAlive.Result = &KeepAliveResult{}
		if _, alive := r.leases[o.KeepAlive.ID]; alive {
			o.KeepAlive.Result.TTL = r.ttl[o.KeepAlive.ID]
			if !r.strikes("early lease", 2) {
				r.leases[o.KeepAlive.ID] = r.story.at + time.Duration(r.ttl[o.KeepAlive.ID])*time.Second
			}
		}
	}
	w.ends()
	return ""
}

func (r *reference) read(o *Operation) (refused string) {
	q, at := o.Range, r.revision()
	switch {
	case q.Serializable:
		low := r.shown[o.Member]
		at = max(low, at-kind.Revision(r.rng.IntN(3)), 1)
		if low > 2 && r.strikes("member goes back", 4) {
			at = low - 1
		}
		r.shown[o.Member] = max(low, at)
	case at > 3 && r.strikes("stale read", 10):
		at -= 1 + kind.Revision(r.rng.IntN(2))
	}
	state := at
	if q.Revision != 0 {
		if q.Revision < r.compacted && !r.strikes("compacted read", 2) {
			return "mvcc: required revision has been compacted"
		}
		if q.Revision > at {
			return "future"
		}
		state = q.Revision
	}
	q.Result = scanRows(r.states[state], q, at)
	if len(q.Result.KVs) > 1 && r.strikes("short read", 10) {
		q.Result.KVs = q.Result.KVs[1:]
		q.Result.Count--
	}
	return ""
}

// act lets one client take one step.
func (r *reference) act() {
	c := r.rng.IntN(len(r.busy))
	id := r.busy[c]
	if id < 0 {
		r.busy[c] = r.begin(r.ask())
		return
	}
	o := &r.h.Operations[id]
	switch {
	case !r.committed[id] && r.rng.IntN(12) == 0: // The request is lost, or will be done later.
		o.Return, r.busy[c] = r.now(), -1
		if o.writes() || o.Grant != nil || o.KeepAlive != nil {
			r.late = append(r.late, id)
		}
	case !r.committed[id]:
		r.committed[id] = true
		if o.Put != nil && r.strikes("refused and done", 25) {
			r.commit(o)
			o.Return, o.Outcome, o.Error, o.Put.Result, r.busy[c] = r.now(), Refused, "too many requests", nil, -1
			return
		}
		if why := r.commit(o); why != "" {
			o.Return, o.Outcome, o.Error, r.busy[c] = r.now(), Refused, why, -1
			return
		}
		if r.rng.IntN(15) == 0 { // The answer is lost.
			*o = r.forget(*o)
			o.Return, r.busy[c] = r.now(), -1
			if o.Put != nil && r.strikes("done twice", 2) {
				again := *o
				r.commit(&again)
				*o = r.forget(again)
			}
		}
	default:
		r.answer(id)
		r.busy[c] = -1
	}
}

// forget is the operation as a client knows it that got no answer.
func (r *reference) forget(o Operation) Operation {
	switch {
	case o.Compact != nil:
		o.Compact.Result = nil
	case o.Grant != nil:
		o.Grant.Result = nil
	}
	return o.unanswered()
}

// expire ends the leases that are due.
func (r *reference) expire() {
	for _, id := range r.live() {
		if r.leases[id] > r.story.at || r.bug == "lease for ever" && id%2 == 0 {
			continue
		}
		delete(r.leases, id)
		w := r.begins()
		for _, k := range sorted(w.rows) {
			if w.rows[k].Lease == id && !(w.changed && r.strikes("key left behind", 1)) {
				w.remove(k)
			}
		}
		w.ends()
	}
}

// feed gives a watcher what comes next.
func (r *reference) feed(f *fed) {
	if f.dead || f.next > r.revision() {
		return
	}
	f.next = max(f.next, 1)
	if f.next < r.compacted {
		if !r.strikes("compaction jumped over", 1) {
			f.dead = true
			r.tell(f.id, WatchResponse{Canceled: true, CompactRevision: r.compacted, Revision: r.revision()})
			return
		}
		f.next = r.compacted
	}
	w := &r.h.Watchers[f.id]
	if r.strikes("progress ahead", 12) {
		r.tell(f.id, WatchResponse{Progress: true, Revision: r.revision()})
	}
	var list []WatchEvent
	for _, e := range r.log[f.next] {
		if inside(e.KV.Key, w.Key, w.End) {
			list = append(list, e)
		}
	}
	if r.strikes("dropped event", 12) && len(list) > 0 {
		list = list[1:]
	}
	if len(list) > 0 {
		r.tell(f.id, events(r.revision(), list...))
		if r.strikes("event twice", 12) {
			r.tell(f.id, events(r.revision(), list...))
		}
	}
	f.next++
	if r.rng.IntN(6) == 0 {
		r.tell(f.id, WatchResponse{Progress: true, Revision: f.next - 1})
	}
}

// live runs for a while and ends in order.
func (r *reference) run(steps int) *History {
	for range steps {
		r.pause(time.Duration(r.rng.IntN(30)) * time.Millisecond)
		r.act()
		r.expire()
		if len(r.late) > 0 && r.rng.IntN(10) == 0 {
			o := &r.h.Operations[r.late[0]]
			if r.rng.IntN(2) == 0 {
				r.commit(o)
				*o = r.forget(*o)
			}
			r.late = r.late[1:]
		}
		if r.rng.IntN(40) == 0 {
			start := max(1, r.revision()-5+kind.Revision(r.rng.IntN(10)))
			r.watchers = append(r.watchers, &fed{id: r.watch(Watcher{Key: "a", End: "d", Start: start}), next: start})
		}
		if f := r.watchers[r.rng.IntN(len(r.watchers))]; r.rng.IntN(2) == 0 {
			r.feed(f)
		}
		r.feed(r.watchers[0])
	}
	for c, id := range r.busy {
		if id >= 0 {
			if !r.committed[id] {
				r.h.Operations[id] = r.forget(r.h.Operations[id])
				r.h.Operations[id].Return = r.now()
			} else {
				r.answer(id)
			}
			r.busy[c] = -1
		}
	}
	for _, f := range r.watchers {
		for !f.dead && f.next <= r.revision() {
			r.feed(f)
		}
		if !f.dead {
			r.h.Watchers[f.id].CaughtUpTo = r.revision()
		}
	}
	for m := kind.MemberID(1); m <= 3; m++ {
		var live []KV
		for _, k := range sorted(r.states[r.revision()]) {
			live = append(live, r.states[r.revision()][k])
		}
		if m == 2 && len(live) > 0 && r.strikes("members differ", 1) {
			live = live[1:]
		}
		r.final(m, r.revision(), live...)
	}
	return &r.h
}

// TestReference holds that no checker objects to what a right store does, whatever the interleaving.
func TestReference(t *testing.T) {
	for seed := range uint64(40) {
		h := newReference(seed, "").run(1500)
		report := Judge(h)
		if err := report.Err(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, v := range report {
			if v.Undecided > v.Judged {
				t.Errorf("seed %d: %s decided too little:\n%v", seed, v.Checker, report)
			}
		}
		if seed == 0 {
			t.Logf("seed 0 (%d operations, %d watchers):\n%v", len(h.Operations), len(h.Watchers), report)
		}
	}
}

// TestReferenceWithBugs holds that a store with a bug is found out, by the checker of the guarantee, in most runs in which
// the bug has struck at all.
func TestReferenceWithBugs(t *testing.T) {
	for bug, by := range map[string][]string{
		"stale read":             {"linearizable", "revisions"},
		"lost write":             {"linearizable", "revisions"},
		"version":                {"linearizable", "accounts"},
		"branch":                 {"linearizable"},
		"torn transaction":       {"linearizable", "accounts"},
		"short read":             {"linearizable", "reads"},
		"member goes back":       {"reads"},
		"compacted read":         {"compactions"},
		"early lease":            {"leases"},
		"lease for ever":         {"leases"},
		"key left behind":        {"accounts"},
		"compaction jumped over": {"watches"},
		"progress ahead":         {"watches"},
		"dropped event":          {"watches"},
		"event twice":            {"watches"},
		"refused and done":       {"kept", "accounts", "linearizable"},
		"done twice":             {"accounts", "linearizable"},
		"members differ":         {"replicas", "kept"},
	} {
		t.Run(bug, func(t *testing.T) {
			struck, found := 0, map[string]int{}
			for seed := range uint64(6) {
				r := newReference(seed, bug)
				h := r.run(1500)
				if r.struck == 0 && bug != "lease for ever" {
					continue
				}
				struck++
				for _, v := range Judge(h) {
					if len(v.Violations) > 0 {
						found[v.Checker]++
					}
				}
			}
			t.Logf("struck in %d runs, found by %v", struck, found)
			if struck < 3 {
				t.Fatalf("the bug struck in %d runs only", struck)
			}
			caught := 0
			for _, name := range by {
				caught = max(caught, found[name])
			}
			if caught*2 < struck {
				t.Errorf("struck in %d runs, found by %v: the checkers %v should have", struck, found, by)
			}
		})
	}
}
