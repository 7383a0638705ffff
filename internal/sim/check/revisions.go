package check

import (
	"slices"

	"holdfast/internal/kind"
)

// Revisions holds that revisions agree with the order of time:
//
//   - an answer that may not be old has at least every revision that anybody had seen when it was asked for;
//   - a write has a revision above them, and one that no other write has;
//   - no revision is shown that the writes begun until then cannot have made.
//
// What one member answers from its own state may be old, so it is only held against the third rule here; see Reads.
type Revisions struct{}

// Name returns "revisions".
func (Revisions) Name() string { return "revisions" }

// Judge goes through all that was asked and shown in the order of time.
func (c Revisions) Judge(h *History) Verdict {
	v := Verdict{Checker: c.Name()}
	type point struct {
		at   Moment
		kind int // 0: asked; 1: shown
		op   *Operation
		w    *Watcher
		r    *WatchResponse
	}
	var points []point
	for i := range h.Operations {
		o := &h.Operations[i]
		points = append(points, point{at: o.Call, op: o})
		if o.Outcome == Done && o.revision() != 0 {
			points = append(points, point{at: o.Return, kind: 1, op: o})
		}
	}
	for i := range h.Watchers {
		for j := range h.Watchers[i].Responses {
			r := &h.Watchers[i].Responses[j]
			points = append(points, point{at: r.Moment, kind: 1, w: &h.Watchers[i], r: r})
		}
	}
	slices.SortStableFunc(points, func(a, b point) int {
		switch {
		case a.at.Before(b.at):
			return -1
		case b.at.Before(a.at):
			return 1
		}
		return a.kind - b.kind
	})
	var seen, possible kind.Revision = 1, 1
	var shownBy string
	asked := map[*Operation]kind.Revision{} // what had been seen at the call
	askedBy := map[*Operation]string{}
	given := map[kind.Revision]*Operation{}
	for _, p := range points {
		switch {
		case p.kind == 0:
			asked[p.op], askedBy[p.op] = seen, shownBy
			if p.op.Outcome != Refused && (p.op.writes() || p.op.Grant != nil) {
				possible++ // A lease that is granted may end, by itself or by revocation; the latter counts once more.
			}
		case p.op != nil:
			v.Judged++
			r := p.op.revision()
			if r > possible {
				v.violate("%v shows a revision that the writes begun until then cannot have made: at most %d", p.op, possible)
			}
			switch {
			case p.op.local() || p.op.KeepAlive != nil || p.op.Remaining != nil || p.op.Auth != nil:
			case r < asked[p.op]:
				v.violate("%v was answered with revision %d, but before it was asked %s had shown %d", p.op, r, askedBy[p.op], asked[p.op])
			case p.op.changed() && r == asked[p.op]:
				v.violate("the write %v was given revision %d, which %s had shown before it was asked for", p.op, r, askedBy[p.op])
			}
			if p.op.changed() {
				if other := given[r]; other != nil {
					v.violate("two writes were given revision %d: %v and %v", r, other, p.op)
				}
				given[r] = p.op
			}
			if r > seen {
				seen, shownBy = r, p.op.String()
			}
		default:
			v.Judged++
			r := p.r.Revision
			for i := range p.r.Events {
				r = max(r, p.r.Events[i].KV.ModRevision)
			}
			if r > possible {
				v.violate("%v was told of revision %d, which the writes begun until then cannot have made: at most %d", p.w, r, possible)
			}
			if r > seen {
				seen, shownBy = r, p.w.String()
			}
		}
	}
	return v
}
