package parity

import "time"

// Shrink looks for a shorter list of operations that still makes the two systems differ: it leaves out ever smaller parts, each time on new
// systems, until no single operation can go or the time is up. Start returns two empty systems and a function that ends them.
func Shrink(operations []Operation, within time.Duration, start func() (left, right System, end func(), err error)) ([]Operation, error) {
	deadline := time.Now().Add(within)
	fails := func(candidate []Operation) (bool, error) {
		left, right, end, err := start()
		if err != nil {
			return false, err
		}
		defer end()
		run := &Run{Left: left, Right: right, Services: []Service{{Corners: []Corner{{"shrunk", steps(candidate...)}}}}}
		return run.Do() != nil || len(run.Failures) > 0, nil
	}
	for part := (len(operations) + 1) / 2; part > 0; {
		removed := false
		for from := 0; from < len(operations); {
			if time.Now().After(deadline) {
				return operations, nil
			}
			candidate := append(append([]Operation{}, operations[:from]...), operations[min(from+part, len(operations)):]...)
			failed, err := fails(candidate)
			if err != nil {
				return operations, err
			}
			if failed {
				operations, removed = candidate, true
			} else {
				from += part
			}
		}
		if !removed || part > 1 {
			part /= 2
		}
	}
	return operations, nil
}
