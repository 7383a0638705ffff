package check

import (
	"strings"

	"holdfast/internal/kind"
)

// Compactions holds that what was compacted is refused, and that nothing else is: a read of a revision below an answered
// compaction is not answered, and "compacted" is said only of revisions below a compaction that somebody has asked for.
type Compactions struct{}

// Name returns "compactions".
func (Compactions) Name() string { return "compactions" }

// Judge looks at every read of the past.
func (c Compactions) Judge(h *History) Verdict {
	v := Verdict{Checker: c.Name()}
	var done []*Operation // answered compactions, in the order of their answers is not needed
	var highest kind.Revision
	for i := range h.Operations {
		o := &h.Operations[i]
		if o.Compact == nil || o.Outcome == Refused {
			continue
		}
		highest = max(highest, o.Compact.Revision)
		if o.Outcome == Done {
			done = append(done, o)
		}
	}
	for i := range h.Applied {
		highest = max(highest, h.Applied[i].Compacted) // A member may compact by itself.
	}
	for i := range h.Operations {
		o := &h.Operations[i]
		o.each(func(asked, result TxnOp) {
			q := asked.Range
			if q == nil || q.Revision == 0 {
				return
			}
			v.Judged++
			switch {
			case o.Outcome == Done && !o.local() && result.Range != nil && result.Range.Result != nil:
				for _, d := range done {
					if d.Compact.Revision > q.Revision && d.Return.Before(o.Call) {
						v.violate("%v was answered after %v", o, d)
						return
					}
				}
			case o.Outcome == Refused && o.Txn == nil && strings.Contains(o.Error, "compacted") && q.Revision >= highest:
				v.violate("%v, but nothing above %d was ever compacted", o, highest)
			}
		})
		if o.Compact != nil && o.Outcome == Done && o.Compact.Revision > o.Compact.Result.Revision {
			v.violate("%v compacts the future, beyond revision %d", o, o.Compact.Result.Revision)
		}
	}
	return v
}
