package check

import (
	"slices"
	"strings"

	"holdfast/internal/kind"
)

// This file is etcd's store as far as Linearizable models it: ranges, puts, deletes, transactions, the ends of leases. It is
// written from what the API promises, without a look at the code under test.

// same holds the number that the model has for an answer against the one that the answer shows.
func (r *run) same(model, shown int64) bool {
	if model >= 0 {
		return model == shown
	}
	if m, known := r.meaning[model]; known {
		return m == shown
	}
	at := slices.IndexFunc(r.before.marks, func(m mark) bool { return m.symbol == model })
	if at < 0 {
		return false
	}
	m := r.before.marks[at]
	if shown <= m.above || m.below != 0 && shown >= m.below || shown > r.header || r.claims.has(shown) {
		return false
	}
	if r.meaning == nil {
		r.meaning = map[int64]int64{}
	}
	r.meaning[model] = shown
	return true
}

func (r *run) sameRow(model row, shown *KV) bool {
	return model.key == shown.Key && model.value == shown.Value && model.version == shown.Version && model.lease == shown.Lease &&
		r.same(model.mod, int64(shown.ModRevision)) && r.same(model.create, int64(shown.CreateRevision))
}

// own makes the rows a copy that may be changed.
func (r *run) own() {
	if !r.changed {
		r.rows = slices.Clone(r.rows)
		r.changed = true
	}
}

// in returns the rows of an interval, as a part of r.rows.
func (r *run) in(key, end string) []row {
	if end == "" {
		at, found := find(r.rows, key)
		if !found {
			return nil
		}
		return r.rows[at : at+1]
	}
	from, _ := find(r.rows, key)
	to := len(r.rows)
	if end != "\x00" {
		to, _ = find(r.rows, end)
	}
	return r.rows[from:max(from, to)]
}

func (r *run) scan(q *Range, a *RangeResult) {
	if a == nil || q.Revision != 0 || !r.step.answered {
		return // What was is judged by Reads.
	}
	rows := r.in(q.Key, q.End)
	if a.Count != int64(len(rows)) {
		r.ok = false
		return
	}
	more := q.Limit > 0 && int64(len(rows)) > q.Limit
	if more {
		rows = rows[:q.Limit]
	}
	if q.CountOnly {
		r.ok = len(a.KVs) == 0
		return
	}
	if len(a.KVs) != len(rows) || a.More != more {
		r.ok = false
		return
	}
	for i, row := range rows {
		if q.KeysOnly {
			row.value, row.lease = "", a.KVs[i].Lease // A read of keys only may leave the lease out, as etcd's does.
		}
		if !r.sameRow(row, &a.KVs[i]) {
			r.ok = false
			return
		}
	}
}

func (r *run) put(p *Put, a *PutResult) {
	at, found := find(r.rows, p.Key)
	if r.step.answered && a != nil && p.PrevKV {
		// A key that this very transaction has deleted is new again, and has no previous value.
		if (a.Prev != nil) != found || found && !r.sameRow(r.rows[at], a.Prev) {
			r.ok = false
			return
		}
	}
	if p.Lease != 0 && slices.Contains(r.ended, p.Lease) {
		r.ok = !r.step.answered && r.step.known == 0 // Without an answer: it was refused.
		return
	}
	r.own()
	n := row{key: p.Key, value: p.Value, create: r.revision, mod: r.revision, version: 1, lease: p.Lease}
	if found {
		n.create, n.version = r.rows[at].create, r.rows[at].version+1
		r.rows[at] = n
		return
	}
	r.rows = slices.Insert(r.rows, at, n)
}

func (r *run) delete(d *Delete, a *DeleteResult) {
	rows := r.in(d.Key, d.End)
	if r.step.answered && a != nil {
		if a.Deleted != int64(len(rows)) || d.PrevKV && len(a.Prev) != len(rows) {
			r.ok = false
			return
		}
		for i := range a.Prev {
			if !r.sameRow(rows[i], &a.Prev[i]) {
				r.ok = false
				return
			}
		}
	}
	if len(rows) > 0 {
		r.own()
		r.rows = slices.DeleteFunc(r.rows, func(row row) bool { return inside(row.key, d.Key, d.End) })
	}
}

// end deletes the keys of a lease, as its revocation and its expiry do.
func (r *run) end(lease kind.LeaseID) {
	if slices.Contains(r.ended, lease) {
		r.ok = !r.step.answered // A lease ends once; without an answer it was not there to be ended.
		return
	}
	r.ended = append(slices.Clip(r.ended), lease)
	slices.Sort(r.ended)
	if slices.ContainsFunc(r.rows, func(row row) bool { return row.lease == lease }) {
		r.own()
		r.rows = slices.DeleteFunc(r.rows, func(row row) bool { return row.lease == lease })
	}
}

func (r *run) txn(t *Txn, a *TxnResult) {
	r.inTxn(t, a, r.before.rows)
}

// inTxn runs a transaction. All comparisons, those of nested transactions too, look at the state before the whole.
func (r *run) inTxn(t *Txn, a *TxnResult, before []row) {
	branch := t.Then
	if r.step.answered && a != nil {
		if !r.may(t, a.Succeeded, before) {
			r.ok = false
			return
		}
		if !a.Succeeded {
			branch = t.Else
		}
		if len(a.Results) != len(branch) {
			r.ok = false
			return
		}
	} else if !r.may(t, true, before) {
		branch = t.Else
	}
	for i, op := range branch {
		var result TxnOp
		if r.step.answered && a != nil {
			result = a.Results[i]
		}
		switch {
		case op.Range != nil:
			if result.Range != nil {
				r.scan(op.Range, result.Range.Result)
			}
		case op.Put != nil:
			var prev *PutResult
			if result.Put != nil {
				prev = result.Put.Result
			}
			r.put(op.Put, prev)
		case op.Delete != nil:
			var deleted *DeleteResult
			if result.Delete != nil {
				deleted = result.Delete.Result
			}
			r.delete(op.Delete, deleted)
		case op.Txn != nil:
			var nested *TxnResult
			if result.Txn != nil {
				nested = result.Txn.Result
			}
			r.inTxn(op.Txn, nested, before)
		}
		if !r.ok {
			return
		}
	}
}

// may reports whether the comparisons can have had the outcome. A comparison with a symbol can go either way in an answer
// that says which; without an answer, nobody can have known the number, so that it is equal to none that was asked for.
func (r *run) may(t *Txn, succeeded bool, before []row) bool {
	canFail := false
	for i := range t.Compares {
		c := &t.Compares[i]
		holds, certain := r.compare(c, before)
		switch {
		case certain && !holds:
			return !succeeded
		case !certain && succeeded && c.Sign == '=':
			at, _ := find(before, c.Key)
			model := before[at].mod
			if c.Target == CompareCreate {
				model = before[at].create
			}
			if !r.step.answered || !r.same(model, c.Number) {
				return false
			}
		case !certain:
			canFail = true
		}
	}
	return succeeded || canFail
}

func (r *run) compare(c *Compare, before []row) (holds, certain bool) {
	at, found := find(before, c.Key)
	var have row
	if found {
		have = before[at]
	}
	if c.Target == CompareValue {
		if !found {
			return false, true
		}
		return sign(strings.Compare(have.value, c.Value), c.Sign), true
	}
	number := map[Target]int64{CompareVersion: have.version, CompareCreate: have.create, CompareMod: have.mod, CompareLease: int64(have.lease)}[c.Target]
	if number < 0 && c.Target != CompareLease {
		return false, false
	}
	switch {
	case number < c.Number:
		return sign(-1, c.Sign), true
	case number > c.Number:
		return sign(1, c.Sign), true
	}
	return sign(0, c.Sign), true
}

func sign(order int, s byte) bool {
	switch s {
	case '=':
		return order == 0
	case '!':
		return order != 0
	case '<':
		return order < 0
	}
	return order > 0
}
