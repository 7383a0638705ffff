package doctor

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"holdfast/internal/invariant"
)

// Severity says how bad a condition is. The greatest that is found is the code to exit with.
type Severity int

// The severities.
const (
	Warning Severity = 1 // it works, but not well, or not for long
	Error   Severity = 2 // something is broken, or acknowledged writes are in danger
)

// String returns the word for people.
func (s Severity) String() string {
	if s == Error {
		return "error"
	}
	return "warning"
}

// MarshalText writes the word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Condition is one thing that can be wrong. In its sentence and its advice names in braces stand for what was found.
type Condition struct {
	ID       string
	Severity Severity
	Sentence string
	Advice   string
}

// Finding is a condition that was met.
type Finding struct {
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	Sentence string   `json:"sentence"`
	Advice   string   `json:"advice"`
}

// Code returns the code to exit with after findings: 0 for none, 1 if there are warnings only, 2 if there is an error.
func Code(findings []Finding) int {
	worst := Severity(0)
	for _, f := range findings {
		worst = max(worst, f.Severity)
	}
	return int(worst)
}

var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

// report gathers findings.
type report struct{ findings []Finding }

// add notes that a condition of the table is met. pairs are names, without braces, and what stands for them.
func (r *report) add(id string, pairs ...string) {
	i := slices.IndexFunc(conditions, func(c Condition) bool { return c.ID == id })
	invariant.Check(i >= 0 && len(pairs)%2 == 0, "condition %s is not in the table, or its pairs are odd", id)
	c := conditions[i]
	fill := func(text string) string {
		return placeholder.ReplaceAllStringFunc(text, func(name string) string {
			for p := 0; p < len(pairs); p += 2 {
				if name == "{"+pairs[p]+"}" {
					return pairs[p+1]
				}
			}
			invariant.Check(false, "the sentence of %s says %s, which stands for nothing", id, name)
			return name
		})
	}
	f := Finding{c.ID, c.Severity, fill(c.Sentence), fill(c.Advice)}
	if !slices.Contains(r.findings, f) {
		r.findings = append(r.findings, f)
	}
}

// sorted returns the findings, worst first (Y4).
func (r *report) sorted() []Finding {
	place := func(f Finding) int {
		return slices.IndexFunc(conditions, func(c Condition) bool { return c.ID == f.ID })
	}
	slices.SortStableFunc(r.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(place(a), place(b)))
	})
	return r.findings
}

// printable writes a name that came from outside so that it can do nothing to a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
