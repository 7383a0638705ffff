package check

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"holdfast/internal/kind"
)

// Linearizable holds that there is one order of all operations, in agreement with what happened before what, in which a
// store that does one thing after the other would give the same answers, revisions included.
//
// The search is porcupine's; the model is ours (model.go). Operations are first parted by the keys and leases that they
// touch: whoever touches two joins them. That is sound since Revisions holds that the revisions of all answers, whatever
// they touch, agree with the order of time: parts that are each in order by revision are in order together.
//
// An operation without an answer may have been done at any moment after its call, also after all others, which stands for
// never. If something shows its revision (a value that nobody else has written), it must have been done then; if a watcher
// of everything shows no change that it could have made, it was not done. The same goes for the ends of leases.
//
// Refused operations must have done nothing: they are left out, so that a trace of one is inexplicable. Serializable reads
// and reads of the past are judged by Reads.
type Linearizable struct {
	// Steps bounds the work for each part; 0 means 500,000. A part that needs more is undecided.
	Steps int
}

// Name returns "linearizable".
func (Linearizable) Name() string { return "linearizable" }

const defaultSteps = 500_000

// Judge looks for an order of the operations of each part.
func (l Linearizable) Judge(h *History) Verdict {
	v := Verdict{Checker: l.Name()}
	steps := modelled(h)
	c := claimsOf(steps)
	for _, part := range parts(steps) {
		l.judge(&v, part, &claims{sorted: c.sorted, own: claimsOf(part).sorted})
	}
	return v
}

// claimsOf gathers the revisions that belong to one step each.
func claimsOf(steps []*step) *claims {
	c := &claims{}
	for _, s := range steps {
		if s.answered && s.expires == 0 && s.op.changed() {
			c.sorted = append(c.sorted, int64(s.op.revision()))
		} else if s.known != 0 {
			c.sorted = append(c.sorted, s.known)
		}
	}
	slices.Sort(c.sorted)
	c.sorted = slices.Compact(c.sorted)
	return c
}

// modelled returns the steps of a history that the model can run.
func modelled(h *History) (steps []*step) {
	e := newEvidence(h)
	grants := map[kind.LeaseID]int{}
	attached, revoked := map[kind.LeaseID]bool{}, map[kind.LeaseID]bool{}
	for i := range h.Operations {
		o := &h.Operations[i]
		if o.Revoke != nil && o.Outcome == Done {
			revoked[o.Revoke.ID] = true
		}
		if o.Grant != nil && o.Outcome != Refused {
			grants[o.Grant.ID]++
		}
		o.each(func(asked, _ TxnOp) {
			if asked.Put != nil && asked.Put.Lease != 0 && o.Outcome != Refused {
				attached[asked.Put.Lease] = true
			}
		})
	}
	for i := range h.Operations {
		o := &h.Operations[i]
		again := o.Grant != nil && grants[o.Grant.ID] > 1
		switch {
		case o.Outcome == Refused || o.local():
			continue
		case o.Outcome == Unknown && !o.writes() && o.Grant == nil:
			continue
		case o.Range == nil && o.Put == nil && o.Delete == nil && o.Txn == nil && o.Revoke == nil && o.Grant == nil:
			continue
		}
		s := &step{op: o, answered: o.Outcome == Done, symbol: -int64(2*o.ID + 2)}
		switch {
		case o.Grant != nil:
			if again {
				steps = append(steps, s)
			}
			// A revocation that was answered has ended its lease itself.
			if attached[o.Grant.ID] && (again || !revoked[o.Grant.ID]) {
				end := &step{op: o, expires: o.Grant.ID, symbol: -int64(2*o.ID + 3)}
				if !again {
					known, none := e.leaseEnd(o.Grant.ID)
					if none {
						continue
					}
					end.known = int64(known)
				}
				steps = append(steps, end)
			}
			continue
		case !s.answered:
			known, none := e.fate(o)
			if none {
				continue
			}
			s.known = int64(known)
		}
		steps = append(steps, s)
	}
	return steps
}

// parts groups steps by the keys and leases that they touch.
func parts(steps []*step) [][]*step {
	u := union{}
	var known []string
	for _, s := range steps {
		s.touches(func(key, end string) {
			if end == "" {
				u.root(key)
			}
		})
	}
	for key := range u {
		known = append(known, key)
	}
	slices.Sort(known)
	of := map[*step]string{}
	for _, s := range steps {
		first := ""
		join := func(name string) {
			if first == "" {
				first = name
			}
			u.join(first, name)
		}
		s.touches(func(key, end string) {
			if end == "" {
				join(key)
				return
			}
			join("range " + key + "\x00" + end)
			from, _ := slices.BinarySearch(known, key)
			for _, k := range known[from:] {
				if !inside(k, key, end) {
					break
				}
				join(k)
			}
		})
		of[s] = first
	}
	groups := map[string]int{}
	var list [][]*step
	for _, s := range steps {
		root := u.root(of[s])
		at, found := groups[root]
		if !found {
			at = len(list)
			groups[root] = at
			list = append(list, nil)
		}
		list[at] = append(list[at], s)
	}
	return list
}

// touches calls do for the keys and intervals that a step touches. A lease counts as a key that no client can name.
func (s *step) touches(do func(key, end string)) {
	lease := func(id kind.LeaseID) { do(fmt.Sprintf("\xff\xfflease %v", id), "") }
	switch {
	case s.expires != 0:
		lease(s.expires)
		return
	case s.op.Revoke != nil:
		lease(s.op.Revoke.ID)
	case s.op.Grant != nil:
		lease(s.op.Grant.ID)
	}
	var compares func(t *Txn)
	compares = func(t *Txn) {
		for _, c := range t.Compares {
			do(c.Key, "")
		}
		for _, branch := range [][]TxnOp{t.Then, t.Else} {
			for _, op := range branch {
				if op.Txn != nil {
					compares(op.Txn)
				}
			}
		}
	}
	if s.op.Txn != nil {
		compares(s.op.Txn)
	}
	s.op.each(func(asked, _ TxnOp) {
		switch {
		case asked.Range != nil:
			if asked.Range.Revision == 0 {
				do(asked.Range.Key, asked.Range.End)
			} else {
				do(asked.Range.Key, "") // Its answer is not looked at here, only its revision.
			}
		case asked.Put != nil:
			do(asked.Put.Key, "")
			if asked.Put.Lease != 0 {
				lease(asked.Put.Lease)
			}
		case asked.Delete != nil:
			do(asked.Delete.Key, asked.Delete.End)
		}
	})
}

// union is a union-find over names.
type union map[string]string

func (u union) root(name string) string {
	parent, known := u[name]
	if !known {
		u[name] = name
		return name
	}
	if parent == name {
		return name
	}
	root := u.root(parent)
	u[name] = root
	return root
}

func (u union) join(a, b string) {
	if ra, rb := u.root(a), u.root(b); ra != rb {
		u[rb] = ra
	}
}

// judge looks for an order of one part.
func (l Linearizable) judge(v *Verdict, part []*step, c *claims) {
	v.Judged += len(part)
	budget := l.Steps
	if budget == 0 {
		budget = defaultSteps
	}
	history := make([]porcupine.Operation, len(part))
	for i, s := range part {
		history[i] = porcupine.Operation{Input: s, Call: int64(s.op.Call.Step), Return: math.MaxInt64}
		if s.answered && s.expires == 0 {
			history[i].Return = int64(s.op.Return.Step)
		}
	}
	m := model(c, &budget)
	if porcupine.CheckOperationsTimeout(m, history, 0) == porcupine.Ok {
		return
	}
	if budget <= 0 {
		v.Undecided += len(part)
		return
	}
	budget = defaultSteps
	_, info := porcupine.CheckOperationsVerbose(m, history, 0)
	v.violate("%s", explain(part, info, c))
}

// model is our store in porcupine's terms. When the budget is spent every step is impossible, which ends the search.
func model(c *claims, budget *int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return (&state{at: 1}).finish() },
		StepContext: func(_ context.Context, s, input, _ any) (bool, any) {
			if *budget--; *budget <= 0 {
				return false, nil
			}
			next := s.(*state).apply(input.(*step), c)
			return next != nil, next
		},
		Equal: func(a, b any) bool { return a.(*state).equal(b.(*state)) },
		Hash:  func(s any) uint64 { return s.(*state).hash },
		DescribeOperation: func(input, _ any) string {
			if s := input.(*step); s.expires != 0 {
				return fmt.Sprintf("lease %v ends", s.expires)
			}
			return input.(*step).op.String()
		},
		DescribeState: func(s any) string { return s.(*state).String() },
	}
}

// explain says how far an order was found, and which operation fits nowhere behind it.
func explain(part []*step, info porcupine.LinearizationInfo, c *claims) string {
	var longest []porcupine.Operation
	for _, partial := range info.PartialLinearizationsOperations()[0] {
		if len(partial) > len(longest) {
			longest = partial
		}
	}
	in := map[*step]bool{}
	s := (&state{at: 1}).finish()
	var last []string
	for _, o := range longest {
		st := o.Input.(*step)
		in[st] = true
		if next := s.apply(st, c); next != nil {
			s = next
		}
		if st.op != nil && st.expires == 0 {
			last = append(last, st.op.String())
		}
	}
	if len(last) > 4 {
		last = last[len(last)-4:]
	}
	var stuck *step
	for _, st := range part {
		if !in[st] && st.answered && (stuck == nil || st.op.Return.Before(stuck.op.Return)) {
			stuck = st
		}
	}
	if stuck == nil {
		return fmt.Sprintf("no order of %d operations explains their answers", len(part))
	}
	return fmt.Sprintf("no order explains %v: after %s the keys are %.600v (%d of %d operations placed)",
		stuck.op, strings.Join(last, "; "), s, len(longest), len(part))
}
