package check

import "holdfast/internal/kind"

// Elections holds that a term has one leader (Raft thesis, section 3.2, Election Safety).
type Elections struct{}

// Name returns "elections".
func (Elections) Name() string { return "elections" }

// Judge looks at who has led, and in which term.
func (c Elections) Judge(h *History) Verdict {
	v := Verdict{Checker: c.Name()}
	leaders := map[kind.Term]kind.MemberID{}
	note := func(term kind.Term, member kind.MemberID, at Moment) {
		v.Judged++
		if other, known := leaders[term]; known && other != member {
			v.violate("members %v and %v both lead in term %d (seen at %v)", other, member, term, at)
			return
		}
		leaders[term] = member
	}
	for i := range h.Applied {
		if a := &h.Applied[i]; a.Leading {
			note(a.Term, a.Member, a.Moment)
		}
	}
	for i := range h.Events {
		if e := &h.Events[i]; e.Kind == Leads {
			note(e.Term, e.Member, e.Moment)
		}
	}
	return v
}
