package check

import (
	"holdfast/internal/kind"
)

// Kept holds that no acknowledged write is lost, that a write without an answer was done as a whole or not at all, and that
// a refused one left no trace. It looks at what the members hold at the end, and at all that was ever shown.
type Kept struct{}

// Name returns "kept".
func (Kept) Name() string { return "kept" }

// Judge looks for every write in what is left.
func (c Kept) Judge(h *History) Verdict {
	v := Verdict{Checker: c.Name()}
	t := newTimeline(h)
	removers := newRemovers(h)
	for i := range h.Finals {
		f := &h.Finals[i]
		live := map[string]*KV{}
		for j := range f.Live {
			live[f.Live[j].Key] = &f.Live[j]
		}
		for j := range h.Operations {
			c.acknowledged(&v, t, f, live, &h.Operations[j], removers)
		}
	}
	c.whole(&v, h)
	return v
}

// acknowledged holds one answered write against what one member holds.
func (Kept) acknowledged(v *Verdict, t *timeline, f *Final, live map[string]*KV, o *Operation, removers *removers) {
	if !o.changed() {
		return
	}
	r := o.revision()
	v.Judged++
	if f.Revision < r {
		v.violate("member %v ends at revision %d: it has lost %v", f.Member, f.Revision, o)
		return
	}
	puts := map[string]string{}
	o.each(func(asked, result TxnOp) {
		switch {
		case asked.Put != nil:
			puts[asked.Put.Key] = asked.Put.Value
		case asked.Delete != nil && result.Delete != nil && result.Delete.Result.Deleted > 0 && asked.Delete.End == "":
			delete(puts, asked.Delete.Key)
			if kv := live[asked.Delete.Key]; kv != nil && kv.ModRevision < r {
				v.violate("member %v still holds %v, which %v has deleted", f.Member, kv, o)
			}
		}
	})
	for key, value := range puts {
		kv := live[key]
		switch {
		case kv == nil && t.known(r, f.Revision):
			if want, certain := t.get(key, f.Revision); certain && want != nil {
				v.violate("member %v has lost %v: key %q is not there", f.Member, o, key)
			}
		case kv == nil && !removers.may(key, r):
			v.violate("member %v has lost %v: key %q is not there, and nobody can have deleted it", f.Member, o, key)
		case kv == nil:
		case kv.ModRevision < r:
			v.violate("member %v has lost %v: it holds %v", f.Member, o, kv)
		case kv.ModRevision == r && kv.Value != value:
			v.violate("member %v holds %v instead of %v", f.Member, kv, o)
		}
	}
}

// removers are the operations that can have deleted keys.
type removers struct {
	deletes []remover
	leases  map[string]bool // keys that were ever attached to a lease
}

type remover struct {
	key, end string
	revision kind.Revision // 0: not known
}

func newRemovers(h *History) *removers {
	m := &removers{leases: map[string]bool{}}
	for i := range h.Operations {
		o := &h.Operations[i]
		if o.Outcome == Refused {
			continue
		}
		o.each(func(asked, _ TxnOp) {
			switch {
			case asked.Delete != nil:
				m.deletes = append(m.deletes, remover{asked.Delete.Key, asked.Delete.End, o.revision()})
			case asked.Put != nil && asked.Put.Lease != 0:
				m.leases[asked.Put.Key] = true
			}
		})
	}
	return m
}

// may reports whether a key that was put at r can have been deleted later.
func (m *removers) may(key string, r kind.Revision) bool {
	if m.leases[key] {
		return true
	}
	for _, d := range m.deletes {
		if inside(key, d.key, d.end) && (d.revision == 0 || d.revision >= r) {
			return true
		}
	}
	return false
}

// whole holds that writes without an answer are done as a whole, and refused ones not at all. Both are seen by values that
// only one operation writes.
func (Kept) whole(v *Verdict, h *History) {
	values := newValues(h)
	for i := range h.Operations {
		o := &h.Operations[i]
		if o.Outcome == Done {
			continue
		}
		var at kind.Revision
		var first string
		o.each(func(asked, _ TxnOp) {
			if asked.Put == nil {
				return
			}
			kv := keyValue{asked.Put.Key, asked.Put.Value}
			others := values.writers[kv]
			if o.Outcome == Unknown {
				others--
			}
			r, seen := values.seen[kv]
			if others > 0 || !seen {
				return
			}
			v.Judged++
			switch {
			case o.Outcome == Refused:
				v.violate("%v has been done: %s=%.20q was seen at revision %d", o, kv.key, kv.value, r)
			case at != 0 && r != at:
				v.violate("%v was torn: %s at revision %d, %s at %d", o, first, at, kv.key, r)
			}
			at, first = r, kv.key
		})
	}
}
