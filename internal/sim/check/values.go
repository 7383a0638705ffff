package check

import "holdfast/internal/kind"

func (m Moment) zero() bool { return m == Moment{} }

// values is what a history shows of values: how many operations would write each, and at which revision it was seen.
type values struct {
	writers map[keyValue]int
	seen    map[keyValue]kind.Revision
}

type keyValue struct{ key, value string }

func newValues(h *History) *values {
	w := &values{map[keyValue]int{}, map[keyValue]kind.Revision{}}
	h.eachKV(func(kv *KV) {
		if kv.ModRevision > 0 {
			w.seen[keyValue{kv.Key, kv.Value}] = kv.ModRevision
		}
	})
	for i := range h.Operations {
		o := &h.Operations[i]
		if o.Outcome == Refused {
			continue
		}
		mine := map[keyValue]bool{}
		o.each(func(asked, _ TxnOp) {
			if asked.Put != nil {
				mine[keyValue{asked.Put.Key, asked.Put.Value}] = true
			}
		})
		for kv := range mine {
			w.writers[kv]++
		}
	}
	return w
}

// evidence is what the rest of a history tells of operations without an answer and of the ends of leases.
type evidence struct {
	values   *values
	whole    bool // all that was ever done is known: what cannot be found there was not done
	open     []*change
	leaseEnd func(id kind.LeaseID) (known kind.Revision, none bool)
}

func newEvidence(h *History) *evidence {
	e := &evidence{values: newValues(h), whole: h.watchedWhole()}
	ends := map[kind.LeaseID]kind.Revision{}
	e.leaseEnd = func(id kind.LeaseID) (kind.Revision, bool) { return ends[id], e.whole && ends[id] == 0 }
	if !e.whole {
		return e
	}
	t := newTimeline(h)
	causes := newCauses(h)
	for r := kind.Revision(2); r <= t.last; r++ {
		c := t.changes[r]
		if c == nil || !c.whole {
			e.whole = false
			clear(ends)
			return e
		}
		if c.op != nil {
			continue
		}
		byHand := causes.byHand(c)
		if byHand {
			e.open = append(e.open, c)
		}
		if !causes.leaseEnds(t, r, c) {
			continue
		}
		for key := range c.rows {
			before, _ := t.get(key, r-1)
			if !byHand && before != nil {
				ends[before.Lease] = r
			} else if before != nil && ends[before.Lease] == 0 {
				ends[before.Lease] = -1
			}
		}
	}
	e.leaseEnd = func(id kind.LeaseID) (kind.Revision, bool) { return max(ends[id], 0), ends[id] == 0 }
	return e
}

// fate says what is known of a write without an answer: the revision at which a value that only it writes was seen, or
// that it certainly was not done.
func (e *evidence) fate(o *Operation) (known kind.Revision, none bool) {
	o.each(func(asked, _ TxnOp) {
		if asked.Put != nil {
			if kv := (keyValue{asked.Put.Key, asked.Put.Value}); e.values.writers[kv] == 1 && e.values.seen[kv] != 0 {
				known = e.values.seen[kv]
			}
		}
	})
	if known != 0 || !e.whole || o.Revoke != nil {
		return known, false
	}
	for _, c := range e.open {
		if o.couldMake(c) {
			return 0, false
		}
	}
	return 0, true
}

// eachKV calls do for every row that anything in the history shows.
func (h *History) eachKV(do func(kv *KV)) {
	for i := range h.Operations {
		h.Operations[i].each(func(_, result TxnOp) {
			switch {
			case result.Range != nil && result.Range.Result != nil && !result.Range.KeysOnly:
				for j := range result.Range.Result.KVs {
					do(&result.Range.Result.KVs[j])
				}
			case result.Put != nil && result.Put.Result != nil && result.Put.Result.Prev != nil:
				do(result.Put.Result.Prev)
			case result.Delete != nil && result.Delete.Result != nil:
				for j := range result.Delete.Result.Prev {
					do(&result.Delete.Result.Prev[j])
				}
			}
		})
	}
	for i := range h.Watchers {
		for _, r := range h.Watchers[i].Responses {
			for j := range r.Events {
				if !r.Events[j].Delete {
					do(&r.Events[j].KV)
				}
				if p := r.Events[j].Prev; p != nil {
					do(p)
				}
			}
		}
	}
	for i := range h.Finals {
		for j := range h.Finals[i].Live {
			do(&h.Finals[i].Live[j])
		}
	}
}

// watchedWhole reports whether a watcher of everything, or a chain of them that resume each other, has been given all
// events from the first revision to the end.
func (h *History) watchedWhole() bool {
	byID := map[int]*Watcher{}
	for i := range h.Watchers {
		byID[h.Watchers[i].ID] = &h.Watchers[i]
	}
	var last kind.Revision
	for i := range h.Finals {
		last = max(last, h.Finals[i].Revision)
	}
	for i := range h.Operations {
		last = max(last, h.Operations[i].revision())
	}
	for i := range h.Watchers {
		w := &h.Watchers[i]
		if w.CaughtUpTo == 0 || w.CaughtUpTo < last {
			continue
		}
		for w != nil && everything(w.Key, w.End) && !w.NoPut && !w.NoDelete {
			if w.Start == 1 || w.Start == 2 {
				return true
			}
			if w.Resumes < 0 {
				break
			}
			w = byID[w.Resumes]
		}
	}
	return false
}
