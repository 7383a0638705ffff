package check

import "holdfast/internal/kind"

func (m Moment) zero() bool { return m == Moment{} }

// written is what a history shows of values: which operations write them and at which revision they were seen.
type written struct {
	writers map[keyValue]int           // how many operations would write it
	seen    map[keyValue]kind.Revision // its modification as an answer or a watcher shows it
	all     map[keyValue]bool          // of a watcher of everything
}

type keyValue struct{ key, value string }

// writtenValues gathers them. whole says that a watcher of everything, from the first revision on, has been given all that
// was ever done: what it does not show never happened.
func writtenValues(h *History) (w *written, whole bool) {
	w = &written{map[keyValue]int{}, map[keyValue]kind.Revision{}, map[keyValue]bool{}}
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
	return w, h.watchedWhole()
}

// fate says what is known of an operation without an answer: the revision at which one of its values was seen, and
// whether it writes a value that no other operation writes, so that seeing nothing of it means something.
func (w *written) fate(o *Operation) (revision kind.Revision, seen, unique bool) {
	conditional := false
	o.each(func(asked, _ TxnOp) {
		if asked.Put == nil {
			conditional = conditional || asked.Delete != nil
			return
		}
		kv := keyValue{asked.Put.Key, asked.Put.Value}
		if w.writers[kv] != 1 {
			return
		}
		unique = true
		if m, known := w.seen[kv]; known {
			revision, seen = m, true
		}
	})
	if o.Txn != nil || conditional {
		// A branch that writes nothing of its own may have been taken, and may have deleted.
		unique = false
	}
	return revision, seen, unique
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
