package check

import (
	"slices"
	"strings"

	"holdfast/internal/kind"
)

// Accounts holds that all who tell of one change tell the same: the answer of the write, every watcher, every read, every
// member at the end. It also holds that every change has a cause: an operation that somebody asked for, or the end of a
// lease, which deletes all keys that hang on it, and these alone.
type Accounts struct{}

// Name returns "accounts".
func (Accounts) Name() string { return "accounts" }

// Judge gathers all accounts and compares them.
func (a Accounts) Judge(h *History) Verdict {
	v := Verdict{Checker: a.Name()}
	t := newTimeline(h)
	for _, fault := range t.faults {
		v.violate("%s", fault)
	}
	causes := newCauses(h)
	for r := kind.Revision(2); r <= t.last; r++ {
		c := t.changes[r]
		if c == nil || !c.whole {
			v.Undecided++
			continue
		}
		v.Judged++
		if c.op != nil {
			continue
		}
		if !causes.explain(t, r, c) {
			v.violate("revision %d (%s) has no cause: nobody asked for it, and it is not the end of a lease", r, c.text())
		}
	}
	return v
}

func (c *change) text() string {
	var parts []string
	for key, f := range c.rows {
		if f.delete {
			parts = append(parts, "delete "+key)
		} else {
			parts = append(parts, "put "+f.kv.String())
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// causes are the operations without an answer, which may explain a change, and the revocations.
type causes struct {
	open    []*Operation
	granted map[kind.LeaseID]bool
	puts    map[keyValue]bool
}

func newCauses(h *History) *causes {
	c := &causes{granted: map[kind.LeaseID]bool{}, puts: map[keyValue]bool{}}
	for i := range h.Operations {
		o := &h.Operations[i]
		if o.Grant != nil && o.Outcome != Refused {
			c.granted[o.Grant.ID] = true
		}
		if o.Outcome == Unknown && o.writes() {
			c.open = append(c.open, o)
			o.each(func(asked, _ TxnOp) {
				if asked.Put != nil {
					c.puts[keyValue{asked.Put.Key, asked.Put.Value}] = true
				}
			})
		}
	}
	return c
}

// explain reports whether one operation without an answer, or the end of one lease, can have made the change.
func (c *causes) explain(t *timeline, r kind.Revision, ch *change) bool {
	for key, f := range ch.rows {
		if !f.delete && !c.puts[keyValue{key, f.kv.Value}] {
			return false
		}
	}
	return c.byHand(ch) || c.leaseEnds(t, r, ch)
}

// byHand reports whether an operation without an answer can have made the change.
func (c *causes) byHand(ch *change) bool {
	return slices.ContainsFunc(c.open, func(o *Operation) bool { return o.couldMake(ch) })
}

// couldMake reports whether an operation could have made exactly these changes: each of them is among what one of its
// branches asks for, and every put of that branch is among them.
func (o *Operation) couldMake(ch *change) bool {
	for _, branch := range o.branches() {
		puts := map[string]string{}
		var gone []*Delete
		for _, op := range branch {
			switch {
			case op.Put != nil:
				puts[op.Put.Key] = op.Put.Value
			case op.Delete != nil:
				gone = append(gone, op.Delete)
			}
		}
		fits := true
		for key, f := range ch.rows {
			value, put := puts[key]
			switch {
			case !f.delete:
				fits = fits && put && value == f.kv.Value
			default:
				fits = fits && !put && slices.ContainsFunc(gone, func(d *Delete) bool { return inside(key, d.Key, d.End) })
			}
		}
		for key := range puts {
			fits = fits && ch.rows[key] != nil
		}
		if fits {
			return true
		}
	}
	return false
}

// branches returns all ways that an operation can go, each as the simple operations in order.
func (o *Operation) branches() [][]TxnOp {
	return branchesOf(TxnOp{o.Range, o.Put, o.Delete, o.Txn})
}

func branchesOf(op TxnOp) [][]TxnOp {
	if op.Txn == nil {
		return [][]TxnOp{{op}}
	}
	var all [][]TxnOp
	for _, branch := range [][]TxnOp{op.Txn.Then, op.Txn.Else} {
		ways := [][]TxnOp{nil}
		for _, inner := range branch {
			var longer [][]TxnOp
			for _, way := range ways {
				for _, more := range branchesOf(inner) {
					longer = append(longer, append(slices.Clip(way), more...))
				}
			}
			ways = longer
		}
		all = append(all, ways...)
	}
	return all
}

// leaseEnds reports whether the change is that all keys of one lease were deleted. Where too little is known of the keys
// before, it believes so.
func (c *causes) leaseEnds(t *timeline, r kind.Revision, ch *change) bool {
	if !t.known(1, r-1) {
		return len(c.granted) > 0
	}
	var lease kind.LeaseID
	for key, f := range ch.rows {
		before, _ := t.get(key, r-1)
		if !f.delete || before == nil || before.Lease == 0 || lease != 0 && before.Lease != lease || !c.granted[before.Lease] {
			return false
		}
		lease = before.Lease
	}
	for key := range t.keys {
		if ch.rows[key] == nil {
			if kv, certain := t.get(key, r-1); certain && kv != nil && kv.Lease == lease {
				return false
			}
		}
	}
	return lease != 0
}
