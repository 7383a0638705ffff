package check

import "time"

// Progress holds that the cluster works once the faults have stopped: after a time that is enough for elections and for
// catching up, no request goes without an answer, something is written, and all members that live are at one point in the
// end.
type Progress struct {
	// Within is what time is enough; 0 means 20 election timeouts.
	Within time.Duration
}

// Name returns "progress".
func (Progress) Name() string { return "progress" }

// Judge looks at what happens after the last fault. A history without a Healed event is not judged.
func (c Progress) Judge(h *History) Verdict {
	v := Verdict{Checker: c.Name()}
	within := c.Within
	if within == 0 {
		within = 20 * h.Cluster.ElectionTimeout
	}
	var healed Moment
	for i := range h.Events {
		if h.Events[i].Kind == Healed {
			healed = h.Events[i].Moment
		}
	}
	if healed.zero() {
		return v
	}
	writes, after := 0, 0
	for i := range h.Operations {
		o := &h.Operations[i]
		if o.Call.At < healed.At+within || o.Call.Before(healed) {
			continue
		}
		v.Judged++
		after++
		switch {
		case o.Outcome == Unknown:
			v.violate("%v (%s) has no answer, %v after the last fault", o, o.Error, o.Call.At-healed.At)
		case o.Outcome == Done && o.writes():
			writes++
		}
	}
	if after > 0 && writes == 0 {
		v.violate("nothing was written of what was asked more than %v after the last fault (%d requests)", within, after)
	}
	for i := range h.Finals {
		v.Judged++
		if a, b := &h.Finals[0], &h.Finals[i]; a.Revision != b.Revision {
			v.violate("long after the last fault member %v is at revision %d and member %v at %d", a.Member, a.Revision, b.Member, b.Revision)
		}
	}
	for i := range h.Watchers {
		w := &h.Watchers[i]
		if w.Ended.zero() && w.CaughtUpTo == 0 && len(w.Responses) == 0 && w.Request.At > 0 && w.Request.At+within < h.end() {
			v.violate("%v never got an answer", w)
		}
	}
	return v
}

// end is the time of the last thing that was observed.
func (h *History) end() (end time.Duration) {
	for i := range h.Operations {
		end = max(end, h.Operations[i].Return.At)
	}
	for i := range h.Events {
		end = max(end, h.Events[i].At)
	}
	return end
}
