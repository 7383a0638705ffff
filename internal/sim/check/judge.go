package check

import (
	"fmt"
	"strings"
)

// Checker judges one guarantee over a whole history. It is a plain object: no goroutine of its own, no clock, no
// randomness; the same history gets the same verdict.
type Checker interface {
	// Name is what the guarantee is called, in one or two words.
	Name() string
	// Judge looks for violations. It does not change the history.
	Judge(h *History) Verdict
}

// Verdict is what a checker found.
type Verdict struct {
	Checker    string
	Judged     int         // how many things it looked at: a checker that judged nothing has proved nothing
	Undecided  int         // how many things it could not decide, because too little was observed or its budget was spent
	Violations []Violation // at most maxViolations; the first are the earliest
}

// Violation is one breach of a guarantee.
type Violation struct {
	Checker string
	Text    string // a sentence that names operations, watchers or members by their ids in the history
}

func (v Violation) Error() string { return v.Checker + ": " + v.Text }

// maxViolations bounds what one checker reports of one history: one broken member breaks thousands of reads.
const maxViolations = 20

func (v *Verdict) violate(format string, args ...any) {
	if len(v.Violations) < maxViolations {
		v.Violations = append(v.Violations, Violation{v.Checker, fmt.Sprintf(format, args...)})
	}
}

// All returns every checker, the cheap ones first.
func All() []Checker {
	return []Checker{Revisions{}, Accounts{}, Reads{}, Watches{}, Compactions{}, Leases{}, Kept{}, Replicas{}, Elections{}, Progress{}, Linearizable{}}
}

// Judge lets the given checkers, or all of them if none is given, judge a history.
func Judge(h *History, checkers ...Checker) Report {
	if len(checkers) == 0 {
		checkers = All()
	}
	var r Report
	for _, c := range checkers {
		r = append(r, c.Judge(h))
	}
	return r
}

// Report is the verdicts on one history.
type Report []Verdict

// Violations returns those of all checkers.
func (r Report) Violations() (all []Violation) {
	for _, v := range r {
		all = append(all, v.Violations...)
	}
	return all
}

// Err is nil if nothing was violated, otherwise all violations, a line each.
func (r Report) Err() error {
	var lines []string
	for _, v := range r.Violations() {
		lines = append(lines, v.Error())
	}
	if lines == nil {
		return nil
	}
	return fmt.Errorf("%d guarantees are violated:\n%s", len(lines), strings.Join(lines, "\n"))
}

// String is one line for each checker: what it judged and could not decide.
func (r Report) String() string {
	var b strings.Builder
	for _, v := range r {
		fmt.Fprintf(&b, "%-14s judged %6d, undecided %4d, violated %d\n", v.Checker, v.Judged, v.Undecided, len(v.Violations))
	}
	return b.String()
}
