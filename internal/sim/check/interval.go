package check

import "holdfast/internal/kind"

// inside reports whether key lies in the interval that a request names: End "" is the one key, End "\x00" has no end.
func inside(key, from, end string) bool {
	switch end {
	case "":
		return key == from
	case "\x00":
		return key >= from
	}
	return from <= key && key < end
}

// everything reports whether an interval holds every key there can be.
func everything(from, end string) bool { return end == "\x00" && (from == "" || from == "\x00") }

// writes reports whether the operation can change keys or leases.
func (o *Operation) writes() bool {
	return o.Put != nil || o.Delete != nil || o.Revoke != nil || o.Txn != nil && o.Txn.writes()
}

func (t *Txn) writes() bool {
	for _, branch := range [][]TxnOp{t.Then, t.Else} {
		for _, op := range branch {
			if op.Put != nil || op.Delete != nil || op.Txn != nil && op.Txn.writes() {
				return true
			}
		}
	}
	return false
}

// taken returns the operations of the branch that was done, with their results; of an operation without an answer both
// branches, since one does not know.
func (t *Txn) taken() []TxnOp {
	switch {
	case t.Result == nil:
		return append(append([]TxnOp(nil), t.Then...), t.Else...)
	case t.Result.Succeeded:
		return t.Then
	}
	return t.Else
}

// each calls do for every simple operation that the operation consists of, as it was asked, and for the result that
// belongs to it, which is the zero TxnOp if there is none. Of a transaction these are those of the branch that was taken,
// nested ones included.
func (o *Operation) each(do func(asked, result TxnOp)) {
	eachOf(TxnOp{o.Range, o.Put, o.Delete, o.Txn}, TxnOp{o.Range, o.Put, o.Delete, o.Txn}, do)
}

func eachOf(asked, result TxnOp, do func(asked, result TxnOp)) {
	if asked.Txn == nil {
		if asked.Range != nil || asked.Put != nil || asked.Delete != nil {
			do(asked, result)
		}
		return
	}
	t := asked.Txn
	if result.Txn != nil && result.Txn.Result != nil {
		// Which branch was taken is said by the result, which for a nested transaction is another object.
		decided := &Txn{Then: t.Then, Else: t.Else, Result: result.Txn.Result}
		for i, op := range decided.taken() {
			var r TxnOp
			if i < len(decided.Result.Results) {
				r = decided.Result.Results[i]
			}
			eachOf(op, r, do)
		}
		return
	}
	for _, op := range (&Txn{Then: t.Then, Else: t.Else}).taken() {
		eachOf(op, TxnOp{}, do)
	}
}

// revision is that of the answer's header, or 0 if there is none.
func (o *Operation) revision() kind.Revision {
	if o.Outcome != Done {
		return 0
	}
	switch {
	case o.Range != nil && o.Range.Result != nil:
		return o.Range.Result.Revision
	case o.Put != nil && o.Put.Result != nil:
		return o.Put.Result.Revision
	case o.Delete != nil && o.Delete.Result != nil:
		return o.Delete.Result.Revision
	case o.Txn != nil && o.Txn.Result != nil:
		return o.Txn.Result.Revision
	case o.Compact != nil && o.Compact.Result != nil:
		return o.Compact.Result.Revision
	case o.Grant != nil && o.Grant.Result != nil:
		return o.Grant.Result.Revision
	case o.Revoke != nil && o.Revoke.Result != nil:
		return o.Revoke.Result.Revision
	case o.KeepAlive != nil && o.KeepAlive.Result != nil:
		return o.KeepAlive.Result.Revision
	case o.Remaining != nil && o.Remaining.Result != nil:
		return o.Remaining.Result.Revision
	case o.HashKV != nil && o.HashKV.Result != nil:
		return o.HashKV.Result.Revision
	case o.Auth != nil && o.Auth.Result != nil:
		return o.Auth.Result.Revision
	}
	return 0
}

// changed reports whether an answered operation has certainly been given a revision of its own.
func (o *Operation) changed() bool {
	if o.Outcome != Done {
		return false
	}
	changed := false
	o.each(func(asked, result TxnOp) {
		switch {
		case asked.Put != nil:
			changed = true
		case asked.Delete != nil && result.Delete != nil && result.Delete.Result != nil && result.Delete.Result.Deleted > 0:
			changed = true
		}
	})
	return changed
}

// local reports whether the operation may be answered from a member's own state, which may be old: a serializable range,
// or a transaction of nothing else. HashKV, too, tells of one member.
func (o *Operation) local() bool {
	switch {
	case o.HashKV != nil:
		return true
	case o.Range != nil:
		return o.Range.Serializable
	case o.Txn == nil || len(o.Txn.Then)+len(o.Txn.Else) == 0:
		return false
	}
	local := true
	for _, branch := range [][]TxnOp{o.Txn.Then, o.Txn.Else} {
		for _, op := range branch {
			local = local && op.Range != nil && op.Range.Serializable
		}
	}
	return local
}
