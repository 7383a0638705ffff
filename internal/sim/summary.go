package sim

import (
	"fmt"

	"holdfast/internal/sim/check"
)

// summary says what an operation asks, for the trace.
func summary(op *check.Operation) string {
	switch {
	case op.Range != nil:
		r := op.Range
		return fmt.Sprintf("range %q %q at %d serializable %v", r.Key, r.End, r.Revision, r.Serializable)
	case op.Put != nil:
		return fmt.Sprintf("put %q %q lease %x", op.Put.Key, op.Put.Value, int64(op.Put.Lease))
	case op.Delete != nil:
		return fmt.Sprintf("delete %q %q", op.Delete.Key, op.Delete.End)
	case op.Txn != nil:
		return fmt.Sprintf("txn of %d, %d and %d", len(op.Txn.Compares), len(op.Txn.Then), len(op.Txn.Else))
	case op.Compact != nil:
		return fmt.Sprintf("compact %d", op.Compact.Revision)
	case op.Grant != nil:
		return fmt.Sprintf("grant %x for %d s", int64(op.Grant.ID), op.Grant.TTL)
	case op.Revoke != nil:
		return fmt.Sprintf("revoke %x", int64(op.Revoke.ID))
	case op.KeepAlive != nil:
		return fmt.Sprintf("keep alive %x", int64(op.KeepAlive.ID))
	case op.Remaining != nil:
		return fmt.Sprintf("time to live of %x", int64(op.Remaining.ID))
	case op.HashKV != nil:
		return fmt.Sprintf("hash at %d", op.HashKV.Revision)
	case op.Auth != nil:
		return op.Auth.What
	case op.Change != nil:
		return fmt.Sprintf("%s %v", op.Change.What, op.Change.Member)
	}
	return "nothing"
}

// outcomeSummary says what came of it.
func outcomeSummary(op *check.Operation) string {
	switch {
	case op.Outcome != check.Done:
		return ""
	case op.Range != nil:
		r := op.Range.Result
		return fmt.Sprintf("revision %d, %d keys", r.Revision, r.Count)
	case op.Put != nil:
		return fmt.Sprintf("revision %d", op.Put.Result.Revision)
	case op.Delete != nil:
		return fmt.Sprintf("revision %d, %d deleted", op.Delete.Result.Revision, op.Delete.Result.Deleted)
	case op.Txn != nil:
		return fmt.Sprintf("revision %d, %v", op.Txn.Result.Revision, op.Txn.Result.Succeeded)
	case op.KeepAlive != nil:
		return fmt.Sprintf("TTL %d", op.KeepAlive.Result.TTL)
	case op.Remaining != nil:
		return fmt.Sprintf("TTL %d", op.Remaining.Result.TTL)
	}
	return ""
}
