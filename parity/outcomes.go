package parity

import (
	"fmt"
	"slices"
	"strings"
)

// Outcomes counts, for each operation, how it ended on each side.
type Outcomes map[string]map[string][2]int

func (t Outcomes) add(operation, left, right string) {
	if t[operation] == nil {
		t[operation] = map[string][2]int{}
	}
	l := t[operation][left]
	l[0]++
	t[operation][left] = l
	r := t[operation][right]
	r[1]++
	t[operation][right] = r
}

// count adds numbers of the same outcome.
func (t Outcomes) count(operation, outcome string, left, right int) {
	if t[operation] == nil {
		t[operation] = map[string][2]int{}
	}
	n := t[operation][outcome]
	t[operation][outcome] = [2]int{n[0] + left, n[1] + right}
}

// Missing returns the errors that the services of a run can give and that were not seen on both sides.
func (t Outcomes) Missing(services []Service) []string {
	var missing []string
	for _, service := range services {
		for _, refusal := range service.Errors {
			var seen [2]int
			for _, outcomes := range t {
				for side, n := range outcomes[refusal.outcome()] {
					seen[side] += n
				}
			}
			if seen[0] == 0 || seen[1] == 0 {
				missing = append(missing, service.Name+": "+refusal.outcome())
			}
		}
	}
	return missing
}

// Table prints operation by outcome, with the counts of both sides.
func (t Outcomes) Table(left, right string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-24s %9s %9s  %s\n", "operation", left, right, "outcome")
	for _, operation := range sortedKeys(t) {
		for _, outcome := range sortedKeys(t[operation]) {
			n := t[operation][outcome]
			fmt.Fprintf(&b, "%-24s %9d %9d  %s\n", operation, n[0], n[1], shorten(outcome))
		}
	}
	return b.String()
}

func shorten(outcome string) string {
	const most = 110
	if len(outcome) > most {
		return outcome[:most] + "..."
	}
	return outcome
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
