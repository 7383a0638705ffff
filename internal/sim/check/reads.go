package check

import (
	"slices"
	"time"

	"holdfast/internal/kind"
)

// Reads holds that every read is of one revision and whole: it shows every key of its interval as it was at the revision
// that it asked for, or at that of its header, and nothing else. Serializable reads may be old, but then they are old as a
// whole; a member never goes back behind a revision that it has shown; and it is never ahead of what watchers and other
// members will tell of that revision.
type Reads struct{}

// Name returns "reads".
func (Reads) Name() string { return "reads" }

// openAnyway is how long a member that has started waits for a leader before it serves what it knows itself. After a power
// cut that may be less than it had shown before.
const openAnyway = 5 * time.Second

// Judge holds every read against the timeline.
func (c Reads) Judge(h *History) Verdict {
	v := Verdict{Checker: c.Name()}
	t := newTimeline(h)
	keys := slices.Sorted(func(yield func(string) bool) {
		for key := range t.keys {
			if !yield(key) {
				return
			}
		}
	})
	for i := range h.Operations {
		o := &h.Operations[i]
		if o.Outcome != Done {
			continue
		}
		changed := o.changed()
		o.each(func(asked, result TxnOp) {
			if asked.Range == nil || result.Range == nil || result.Range.Result == nil {
				return
			}
			r := asked.Range.Revision
			if r == 0 {
				if changed {
					return // Within a transaction that writes, a read sees what stands before it there.
				}
				r = o.revision()
			}
			if header := o.revision(); r > header {
				v.violate("%v reads the future: revision %d with a header of %d", o, r, header)
				return
			}
			c.judge(&v, t, keys, o, asked.Range, result.Range.Result, r)
		})
	}
	c.memberByMember(&v, h)
	return v
}

func (Reads) judge(v *Verdict, t *timeline, keys []string, o *Operation, q *Range, a *RangeResult, r kind.Revision) {
	if !t.known(1, r) && t.last >= r {
		v.Undecided++
	} else {
		v.Judged++
	}
	last := ""
	shown := map[string]*KV{}
	for i := range a.KVs {
		kv := &a.KVs[i]
		if i > 0 && kv.Key <= last {
			v.violate("%v shows key %q after %q", o, kv.Key, last)
			return
		}
		last = kv.Key
		shown[kv.Key] = kv
		if !inside(kv.Key, q.Key, q.End) {
			v.violate("%v shows key %q, which was not asked for", o, kv.Key)
			return
		}
		if kv.ModRevision > r {
			v.violate("%v shows %v in a state of revision %d", o, kv, r)
			return
		}
		want, certain := t.get(kv.Key, r)
		switch {
		case !certain:
		case want == nil:
			v.violate("%v shows %v, but at revision %d there is no such key", o, kv, r)
			return
		case !sameKV(want, kv, q.KeysOnly):
			v.violate("%v shows %v, but at revision %d it is %v", o, kv, r, want)
			return
		}
	}
	if !t.known(1, r) {
		return
	}
	var count int64
	from, _ := slices.BinarySearch(keys, q.Key)
	for _, key := range keys[from:] {
		if !inside(key, q.Key, q.End) {
			break
		}
		want, _ := t.get(key, r)
		if want == nil {
			continue
		}
		count++
		if shown[key] == nil && !q.CountOnly && (q.Limit == 0 || count <= q.Limit) {
			v.violate("%v misses %v, which is there at revision %d", o, want, r)
			return
		}
	}
	if a.Count != count {
		v.violate("%v counts %d keys, but at revision %d there are %d", o, a.Count, r, count)
	}
}

func sameKV(want, have *KV, keysOnly bool) bool {
	if keysOnly {
		return want.Key == have.Key && want.CreateRevision == have.CreateRevision && want.ModRevision == have.ModRevision && want.Version == have.Version
	}
	return *want == *have
}

// memberByMember holds that no member shows a revision below one that it has shown.
func (Reads) memberByMember(v *Verdict, h *History) {
	type shown struct {
		revision kind.Revision
		by       *Operation
	}
	type point struct {
		at     Moment
		op     *Operation
		isCall bool
	}
	points := map[kind.MemberID][]point{}
	for i := range h.Operations {
		o := &h.Operations[i]
		if o.Member == 0 || o.Outcome != Done || o.revision() == 0 {
			continue
		}
		points[o.Member] = append(points[o.Member], point{o.Call, o, true}, point{o.Return, o, false})
	}
	for member, list := range points {
		slices.SortFunc(list, func(a, b point) int {
			if a.at.Before(b.at) {
				return -1
			}
			return 1
		})
		var best shown
		asked := map[*Operation]shown{}
		for _, p := range list {
			if p.isCall {
				asked[p.op] = best
				continue
			}
			before, r := asked[p.op], p.op.revision()
			if p.op.HashKV == nil && r < before.revision && !openedAnyway(h, member, before.by.Return, p.op.Call) {
				v.violate("member %v goes back: %v, after %v", member, p.op, before.by)
			}
			if r > best.revision {
				best = shown{r, p.op}
			}
		}
	}
}

// openedAnyway reports whether the member was started between two moments and opened without having met a leader.
func openedAnyway(h *History, member kind.MemberID, from, to Moment) bool {
	var started Moment
	for i := range h.Events {
		e := &h.Events[i]
		if e.Member != member || !from.Before(e.Moment) || to.Before(e.Moment) {
			continue
		}
		switch e.Kind {
		case Started:
			started = e.Moment
		case Ready:
			if !started.zero() && e.At-started.At >= openAnyway {
				return true
			}
		}
	}
	return false
}
