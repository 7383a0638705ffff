// Package invariant holds the cheap checks that stay on in production: a stopped member is better than a
// wrong one. A check that fails is a bug of ours, never a refusal of a request and never a failure of a disk.
package invariant

import "fmt"

// Violation is the value that a failed check panics with.
type Violation struct{ Message string }

func (v Violation) Error() string { return "invariant violated: " + v.Message }

// Check panics with a Violation unless ok. The arguments are formatted only on failure; on a hot path put the
// call behind an if of your own, so that they are not even boxed.
func Check(ok bool, format string, args ...any) {
	if !ok {
		panic(Violation{fmt.Sprintf(format, args...)})
	}
}
