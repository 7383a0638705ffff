package machine

import (
	"bytes"
	"cmp"

	"holdfast/internal/command"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// A transaction runs in three passes. All compares, those of nested transactions on the way included, look at the
// state before the first operation and fix the path. Then every operation on the path is checked against that same
// state; the first refusal is that of the whole transaction. Then the operations run in order, each seeing what
// those before it have written, and none can fail any more.

func (r *run) txnCommand(t *command.Txn) error {
	if err := t.Check(noLimit); err != nil {
		return err
	}
	if err := r.plan(t); err != nil {
		return err
	}
	r.taken = 0
	body, err := r.appendTxn(nil, t)
	// The caller of a command may have left, so nobody else could be trusted with giving back what it has reserved.
	r.held.Release()
	r.held = mvcc.Answer{}
	if err != nil {
		return err
	}
	r.body = body
	return nil
}

// ReadTxn answers a transaction that only reads (command.Txn.ReadOnly) from a view or any other Reader. Err may be a
// refusal, the error of the Reader's context or a failure of the store. Release the reply when it has been sent.
func ReadTxn(reader mvcc.Reader, t *command.Txn) (reply Reply) {
	r := run{reader: reader, want: true}
	defer func() {
		if err := store.Recovered(recover()); err != nil {
			reply = Reply{Err: err}
		}
		if reply.Err != nil {
			r.held.Release()
		}
	}()
	if err := r.plan(t); err != nil {
		return Reply{Err: err}
	}
	r.taken = 0
	body, err := r.appendTxn(nil, t)
	if err != nil {
		return Reply{Err: err}
	}
	return Reply{Revision: reader.Revision(), Body: body, held: r.held}
}

// plan is the first two passes.
func (r *run) plan(t *command.Txn) error {
	r.path, r.taken, r.deleting = r.path[:0], 0, nil
	r.decide(t)
	return r.check(t)
}

// decide evaluates the compares of t and of the transactions on its way, outermost first.
func (r *run) decide(t *command.Txn) {
	holds := true
	for i := range t.Compares {
		if !r.holds(&t.Compares[i]) {
			holds = false
			break
		}
	}
	r.path = append(r.path, holds)
	branch := t.Failure
	if holds {
		branch = t.Success
	}
	for i := range branch {
		if branch[i].Txn != nil {
			r.decide(branch[i].Txn)
		}
	}
}

// take returns the branch that the next transaction on the path takes.
func (r *run) take(t *command.Txn) (branch []command.Op, succeeded bool) {
	succeeded = r.path[r.taken]
	r.taken++
	if succeeded {
		return t.Success, true
	}
	return t.Failure, false
}

// holds evaluates one compare: every key of the interval must satisfy it. An interval without keys counts as one
// key whose numbers are all 0, and satisfies no compare of values.
func (r *run) holds(c *command.Compare) bool {
	found, holds := false, true
	if c.Interval.Shape == command.Point {
		row, exists := r.reader.Get(c.Interval.Start)
		if exists {
			found, holds = true, satisfies(c, row)
		}
	} else {
		r.reader.Each(c.Interval, func(row mvcc.Row) bool {
			found, holds = true, satisfies(c, row)
			return holds
		})
	}
	switch {
	case found:
		return holds
	case c.Target == command.CompareValue:
		return false
	}
	return satisfies(c, mvcc.Row{})
}

// satisfies compares one key. A target that no version of the API knows finds everything equal; a result that none
// knows is always the case.
func satisfies(c *command.Compare, row mvcc.Row) bool {
	order := 0
	switch c.Target {
	case command.CompareVersion:
		order = cmp.Compare(row.Version, c.Number)
	case command.CompareCreate:
		order = cmp.Compare(int64(row.Create), c.Number)
	case command.CompareMod:
		order = cmp.Compare(int64(row.Mod), c.Number)
	case command.CompareValue:
		order = bytes.Compare(row.Value(), c.Value)
	case command.CompareLease:
		order = cmp.Compare(int64(row.Lease), c.Number)
	}
	switch c.Result {
	case command.Equal:
		return order == 0
	case command.Greater:
		return order > 0
	case command.Less:
		return order < 0
	case command.NotEqual:
		return order != 0
	}
	return true
}

// check is the second pass: it says with what the transaction will be refused.
func (r *run) check(t *command.Txn) error {
	branch, _ := r.take(t)
	for i := range branch {
		if err := r.checkOp(&branch[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) checkOp(o *command.Op) error {
	switch {
	case o.Range != nil:
		// A negative revision is not the latest here, as it is outside transactions.
		switch rev := o.Range.Revision; {
		case rev == 0:
		case rev > r.reader.Revision():
			return mvcc.ErrFutureRevision
		case rev < r.reader.Compacted():
			return mvcc.ErrCompacted
		}
	case o.Put != nil:
		if err := r.checkPut(o.Put); err != nil {
			return err
		}
		// A deletion without upper bound may stand before a put of a key inside it; what the put wants to keep
		// is gone by then.
		if (o.Put.IgnoreValue || o.Put.IgnoreLease) && r.deleting != nil && bytes.Compare(o.Put.Key, r.deleting) >= 0 {
			return command.ErrKeyNotFound
		}
	case o.Delete != nil:
		if i := o.Delete.Interval; i.Shape == command.From && (r.deleting == nil || bytes.Compare(i.Start, r.deleting) < 0) {
			r.deleting = i.Start
		}
	case o.Txn != nil:
		return r.check(o.Txn)
	}
	return nil
}
