package machine

import (
	"fmt"
	"math"

	"holdfast/internal/command"
	"holdfast/internal/invariant"
	"holdfast/internal/lease"
	"holdfast/internal/mvcc"
)

// execute runs one command. The error is never a refusal.
func (p *Pending) execute(c *command.Command) error {
	r := &p.run
	r.want = c.Origin.Member == p.local.Member && c.Origin.Boot == p.local.Boot
	r.body = nil
	w := p.writer
	var refused error
	switch c.Kind {
	case command.KindPut:
		put, whole, err := command.DecodePut(c.Payload)
		if err := understood(whole, err); err != nil {
			return err
		}
		w.BeginCommand()
		if refused = p.permitted(c, &put); refused == nil {
			refused = r.putCommand(&put)
		}
	case command.KindDelete:
		del, whole, err := command.DecodeDeleteRange(c.Payload)
		if err := understood(whole, err); err != nil {
			return err
		}
		w.Fill(&p.start)
		w.BeginCommand()
		if refused = p.permitted(c, &del); refused == nil {
			refused = r.deleteCommand(&del)
		}
	case command.KindTxn:
		txn, whole, err := command.DecodeTxn(c.Payload)
		if err := understood(whole, err); err != nil {
			return err
		}
		w.Fill(&p.start)
		w.BeginCommand()
		if refused = p.permitted(c, &txn); refused == nil {
			refused = r.txnCommand(&txn)
		}
	case command.KindCompact:
		compaction, whole, err := command.DecodeCompaction(c.Payload)
		if err := understood(whole, err); err != nil {
			return err
		}
		w.BeginCommand()
		if refused = p.permitted(c, &compaction); refused == nil {
			refused = w.Compact(compaction.Revision)
		}
		if refused == nil {
			p.digest.compacted(compaction.Revision)
		}
	case command.KindLeaseGrant, command.KindLeaseRevoke, command.KindLeaseRenew, command.KindLeaseExpire:
		var err error
		if refused, err = p.leaseCommand(c); err != nil {
			return err
		}
	case command.KindAuth, command.KindAuthenticate, command.KindTokenTouch:
		var err error
		if refused, err = p.authCommand(c); err != nil {
			return err
		}
	case command.KindMemberPublish, command.KindMemberUpdate:
		var err error
		if refused, err = p.memberCommand(c); err != nil {
			return err
		}
	case command.KindAlarm:
		alarm, whole, err := command.DecodeAlarm(c.Payload)
		if err := understood(whole, err); err != nil {
			return err
		}
		w.BeginCommand()
		if refused = p.permitted(c, &alarm); refused == nil {
			p.alarmCommand(alarm)
		}
	case command.KindVersionRaise:
		raise, whole, err := command.DecodeVersionRaise(c.Payload)
		if err := understood(whole, err); err != nil {
			return err
		}
		w.BeginCommand()
		if err := p.raiseVersion(raise.Version); err != nil {
			return err
		}
	default:
		// A change of the membership is no command of an entry: it comes by Configure.
		return fmt.Errorf("%w: kind %d", ErrUnknownEntry, c.Kind)
	}
	changed := w.EndCommand()
	if refused != nil && changed {
		invariant.Check(false, "a refused %v has changed keys: %v", c.Kind, refused)
	}
	p.digest.end()
	if r.want {
		reply := Reply{Origin: c.Origin, Revision: w.Revision(), Body: r.body, Err: refused}
		if refused != nil {
			reply.Body = nil
		}
		p.replies = append(p.replies, reply)
	}
	return nil
}

// understood refuses to go on with a payload that is broken or says more than this version reads (I5). A proposer
// never sends such a one.
func understood(whole bool, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnknownEntry, err)
	case !whole:
		return fmt.Errorf("%w: its payload has fields that are not known", ErrUnknownEntry)
	}
	return nil
}

// run executes one command against the keys. Reads are answered by reader; writer and leases are nil in a read-only
// transaction.
type run struct {
	reader mvcc.Reader
	writer *mvcc.Writer
	leases *lease.Writer
	full   func([]byte) // what a large deletion calls when the batch is full
	want   bool         // somebody waits for the answer
	body   []byte
	held   mvcc.Answer // the last answer that was read, with what it has reserved

	// In a transaction:
	path     []bool // which branch each transaction takes, outermost first, in order
	taken    int    // how many of path are used up
	deleting []byte // the lowest key of the deletions without upper bound that come before; nil for none
	inner    []byte // scratch
}

// The machine checks what the proposer has checked: its own safety must not rest on that. A command that fails was
// proposed by a member with a defect; it is refused like any other, everywhere alike.

func (r *run) putCommand(put *command.Put) error {
	if err := put.Check(); err != nil {
		return err
	}
	if err := r.checkPut(put); err != nil {
		return err
	}
	prev := r.put(put)
	if r.want && put.PrevKV && prev.Exists() {
		r.body = appendMessage(nil, fieldPrevKV, prev.Encoded)
	}
	return nil
}

// checkPut says whether put will be refused: its lease first, then what it wants to keep.
func (r *run) checkPut(put *command.Put) error {
	if put.Lease != 0 && !r.leaseExists(put.Lease) {
		return ErrLeaseNotFound
	}
	if put.IgnoreValue || put.IgnoreLease {
		if _, exists := r.reader.Get(put.Key); !exists {
			return command.ErrKeyNotFound
		}
	}
	return nil
}

// put writes a key that checkPut has allowed, and returns what it replaced.
func (r *run) put(put *command.Put) (prev mvcc.Row) {
	value, lease := put.Value, put.Lease
	if put.IgnoreValue || put.IgnoreLease {
		have, exists := r.writer.Get(put.Key)
		invariant.Check(exists, "the key %q that a put keeps was checked and is gone", put.Key)
		if put.IgnoreValue {
			value = have.Value()
		}
		if put.IgnoreLease {
			lease = have.Lease
		}
	}
	prev = r.writer.Put(put.Key, value, lease)
	r.attach(put.Key, prev.Lease, lease)
	return prev
}

func (r *run) deleteCommand(del *command.DeleteRange) error {
	if err := del.Check(); err != nil {
		return err
	}
	body := r.delete(nil, del)
	if r.want {
		r.body = body
	}
	return nil
}

// delete deletes and appends the fields of the response to dst.
func (r *run) delete(dst []byte, del *command.DeleteRange) []byte {
	var rows []byte
	o := mvcc.DeleteOptions{Full: r.full, Prev: func(row mvcc.Row) {
		r.attach(row.Key(), row.Lease, 0)
		if r.want && del.PrevKV {
			rows = appendMessage(rows, fieldPrevKVs, row.Encoded)
		}
	}}
	deleted := r.writer.DeleteRange(del.Interval, o)
	if !r.want {
		return dst
	}
	if deleted > 0 {
		dst = appendVarint(append(dst, tagDeleted), uint64(deleted))
	}
	return append(dst, rows...)
}

// noLimit is for checks of what the proposer has already measured by its own setting.
const noLimit = math.MaxInt
