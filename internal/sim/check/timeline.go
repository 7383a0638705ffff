package check

import (
	"fmt"
	"maps"
	"slices"

	"holdfast/internal/kind"
)

// A timeline is what has happened to the keys, revision by revision, as far as anything in the history tells: answers of
// writes, events that watchers were given, rows that reads have shown. Reads, Watches and Kept hold what they judge against
// it; Accounts holds that all who tell of the same change tell the same.
type timeline struct {
	last    kind.Revision
	changes map[kind.Revision]*change
	keys    map[string][]kind.Revision // where each key has changed, in order
	faults  []string                   // accounts that contradict each other

	unknown []kind.Revision // revisions of which not all changes are known, in order
}

// change is what is known of one revision.
type change struct {
	rows  map[string]*fact
	whole bool       // nothing else was changed
	op    *Operation // that was given this revision by its answer
}

// fact is what is known of one key's change at one revision.
type fact struct {
	delete bool
	kv     KV
	full   bool // all of kv is known, otherwise only value and lease
	by     string
}

// newTimeline gathers what the history tells.
func newTimeline(h *History) *timeline {
	t := &timeline{changes: map[kind.Revision]*change{}, keys: map[string][]kind.Revision{}}
	for i := range h.Operations {
		t.answer(&h.Operations[i])
	}
	for i := range h.Watchers {
		t.watched(&h.Watchers[i])
	}
	for i := range h.Finals {
		for j := range h.Finals[i].Live {
			t.row(&h.Finals[i].Live[j], fmt.Sprintf("the end of member %v", h.Finals[i].Member), true)
		}
	}
	for r, c := range t.changes {
		t.last = max(t.last, r)
		for key := range c.rows {
			t.keys[key] = append(t.keys[key], r)
		}
	}
	for _, list := range t.keys {
		slices.Sort(list)
	}
	t.replay()
	for r := kind.Revision(2); r <= t.last; r++ {
		if c := t.changes[r]; c == nil || !c.whole {
			t.unknown = append(t.unknown, r)
		}
	}
	return t
}

func (t *timeline) at(r kind.Revision) *change {
	c := t.changes[r]
	if c == nil {
		c = &change{rows: map[string]*fact{}}
		t.changes[r] = c
	}
	return c
}

func (t *timeline) fault(format string, args ...any) {
	t.faults = append(t.faults, fmt.Sprintf(format, args...))
}

// tell adds a fact, or holds it against the one that is there.
func (t *timeline) tell(r kind.Revision, key string, f fact) {
	c := t.at(r)
	have := c.rows[key]
	switch {
	case have == nil:
		c.rows[key] = &f
	case have.delete != f.delete, !f.delete && (have.kv.Value != f.kv.Value || have.kv.Lease != f.kv.Lease),
		!f.delete && have.full && f.full && have.kv != f.kv:
		t.fault("revision %d of key %q: %s says %s, %s says %s", r, key, have.by, have, f.by, &f)
	case f.full && !have.full:
		*have = f
	}
}

func (f *fact) String() string {
	if f.delete {
		return "deleted"
	}
	return f.kv.String()
}

// row is a row that something shows; lease says whether its lease is shown, too.
func (t *timeline) row(kv *KV, by string, lease bool) {
	if kv.ModRevision <= 0 {
		t.fault("%s shows key %q modified at revision %d", by, kv.Key, kv.ModRevision)
		return
	}
	if lease {
		t.tell(kv.ModRevision, kv.Key, fact{kv: *kv, full: true, by: by})
	}
}

// answer adds what the answer of an operation tells.
func (t *timeline) answer(o *Operation) {
	if o.Outcome != Done {
		return
	}
	r := o.revision()
	by := fmt.Sprintf("operation #%d", o.ID)
	if o.changed() {
		c := t.at(r)
		if c.op != nil {
			t.fault("revision %d was given to two writes: %v and %v", r, c.op, o)
			return
		}
		c.op = o
	}
	final := map[string]*fact{} // of several changes of a key in one transaction the last stands
	o.each(func(asked, result TxnOp) {
		switch {
		case asked.Range != nil && result.Range != nil && result.Range.Result != nil && !asked.Range.KeysOnly:
			for i := range result.Range.Result.KVs {
				if kv := &result.Range.Result.KVs[i]; kv.ModRevision != r || !o.changed() {
					t.row(kv, by, true)
				}
			}
		case asked.Put != nil:
			final[asked.Put.Key] = &fact{kv: KV{Key: asked.Put.Key, Value: asked.Put.Value, Lease: asked.Put.Lease, ModRevision: r}, by: by}
			if result.Put != nil && result.Put.Result != nil && result.Put.Result.Prev != nil {
				t.row(result.Put.Result.Prev, by, true)
			}
		case asked.Delete != nil && result.Delete != nil && result.Delete.Result != nil:
			d := result.Delete.Result
			if d.Deleted == 1 && asked.Delete.End == "" {
				final[asked.Delete.Key] = &fact{delete: true, by: by}
			}
			for i := range d.Prev {
				final[d.Prev[i].Key] = &fact{delete: true, by: by}
				if d.Prev[i].ModRevision != r {
					t.row(&d.Prev[i], by, true)
				}
			}
		}
	})
	if o.Txn != nil && len(final) > 1 && o.deletes() {
		return // A key may be deleted and put in one transaction; the replay works it out.
	}
	for key, f := range final {
		t.tell(r, key, *f)
	}
}

// deletes reports whether the operation has a delete in the branch that was taken.
func (o *Operation) deletes() (deletes bool) {
	o.each(func(asked, _ TxnOp) { deletes = deletes || asked.Delete != nil })
	return deletes
}

// watched adds what a watcher was given.
func (t *timeline) watched(w *Watcher) {
	by := fmt.Sprintf("watcher %d", w.ID)
	all := everything(w.Key, w.End) && !w.NoPut && !w.NoDelete
	// A transaction that deletes a key and puts it again gives two events, of which the last stands. Who does not want puts
	// cannot tell a deletion that stands from one that does not.
	stands := map[given]*WatchEvent{}
	var order []given
	for i := range w.Responses {
		for j := range w.Responses[i].Events {
			e := &w.Responses[i].Events[j]
			r := e.KV.ModRevision
			if r <= 1 {
				t.fault("%s was given an event of key %q at revision %d", by, e.KV.Key, r)
				continue
			}
			g := given{key: e.KV.Key, revision: r}
			if stands[g] == nil {
				order = append(order, g)
			}
			stands[g] = e
			if e.Prev != nil {
				t.row(e.Prev, by+" (previous value)", true)
			}
			if all {
				t.at(r).whole = true
			}
		}
	}
	for _, g := range order {
		if e := stands[g]; !e.Delete || !w.NoPut {
			t.tell(g.revision, g.key, fact{delete: e.Delete, kv: e.KV, full: !e.Delete, by: by})
		}
	}
	if !all {
		return
	}
	// What came after the last complete revision may have been cut short.
	if n := len(w.Responses); n > 0 && w.Responses[n-1].Fragment && len(w.Responses[n-1].Events) > 0 {
		events := w.Responses[n-1].Events
		t.at(events[len(events)-1].KV.ModRevision).whole = false
	}
}

// replay goes over all revisions as long as everything is known, works out what the answers alone did not tell (creation,
// version, which keys a range delete hit), and holds what was told against it.
func (t *timeline) replay() {
	s := (&state{at: 1}).finish()
	for r := kind.Revision(2); r <= t.last; r++ {
		c := t.changes[r]
		if c == nil {
			return
		}
		switch {
		case c.op != nil && c.op.Revoke == nil:
			next := s.apply(&step{op: c.op, answered: true}, &claims{})
			if next == nil {
				if c.whole {
					t.fault("%v is impossible after revision %d, when the keys were %.500v", c.op, r-1, s)
				}
				return
			}
			t.settle(r, c, s, next)
			s = next
		case c.whole:
			s = t.advance(r, c, s)
		default:
			return
		}
	}
}

// settle takes over what a replayed operation has changed.
func (t *timeline) settle(r kind.Revision, c *change, before, after *state) {
	by := fmt.Sprintf("the answer of %v", c.op)
	rows := map[string]*fact{}
	for _, row := range after.rows {
		if row.mod == int64(r) {
			rows[row.key] = &fact{kv: *row.kv(), full: true, by: by}
		}
	}
	for _, row := range before.rows {
		if _, found := find(after.rows, row.key); !found {
			rows[row.key] = &fact{delete: true, by: by}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.rows)) {
		if rows[key] == nil && !(c.rows[key].delete && c.op.Txn != nil) {
			t.fault("revision %d: %s tells of key %q (%v), which %v did not change", r, c.rows[key].by, key, c.rows[key], c.op)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		if c.whole && c.rows[key] == nil {
			t.fault("revision %d: %v changed key %q (%v), and a watcher of everything was not told", r, c.op, key, rows[key])
		}
		if c.rows[key] == nil {
			list := append(t.keys[key], r)
			slices.Sort(list)
			t.keys[key] = list
		}
		t.tell(r, key, *rows[key])
		*c.rows[key] = *rows[key]
	}
	c.whole = true
}

// advance puts what a watcher of everything was given into the state, and holds creation and version against it.
func (t *timeline) advance(r kind.Revision, c *change, s *state) *state {
	n := &state{at: int64(r), rows: slices.Clone(s.rows)}
	for _, key := range slices.Sorted(maps.Keys(c.rows)) {
		f := c.rows[key]
		at, found := find(n.rows, key)
		if f.delete {
			if found {
				n.rows = slices.Delete(n.rows, at, at+1)
			} else if c.op == nil {
				t.fault("revision %d: %s tells that key %q was deleted, which was not there", r, f.by, key)
			}
			continue
		}
		row := row{key, f.kv.Value, int64(f.kv.CreateRevision), int64(r), f.kv.Version, f.kv.Lease}
		if found {
			again := f.kv.CreateRevision == r && f.kv.Version == 1 // deleted and put in one transaction
			if f.full && !again && (row.create != n.rows[at].create || row.version != n.rows[at].version+1) {
				t.fault("revision %d: %s says %v, but it was %v before", r, f.by, f, n.rows[at].kv())
			}
			n.rows[at] = row
			continue
		}
		if f.full && (row.create != int64(r) || row.version < 1) {
			t.fault("revision %d: %s says %v, but there was no such key before", r, f.by, f)
		}
		n.rows = slices.Insert(n.rows, at, row)
	}
	return n.finish()
}

// known reports whether all changes of the revisions in (above, upTo] are known.
func (t *timeline) known(above, upTo kind.Revision) bool {
	if upTo > t.last {
		return false
	}
	from, _ := slices.BinarySearch(t.unknown, above+1)
	return from == len(t.unknown) || t.unknown[from] > upTo
}

// get returns the row of a key at a revision, nil if there was none. certain says whether that is known.
func (t *timeline) get(key string, r kind.Revision) (kv *KV, certain bool) {
	list := t.keys[key]
	at, found := slices.BinarySearch(list, r)
	if !found {
		at--
	}
	if at < 0 {
		return nil, t.known(1, r)
	}
	f := t.changes[list[at]].rows[key]
	certain = t.known(list[at], r)
	switch {
	case f.delete:
		return nil, certain
	case !f.full:
		return nil, false
	}
	return &f.kv, certain
}
