package machine

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/command"
	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// Local says whose commands are answered: those that this life of this member has proposed. Nobody waits for the
// others, so no answer is made for them.
type Local struct {
	Member kind.MemberID
	Boot   uint64
}

// Entry is one committed entry.
type Entry struct {
	Position kind.Position
	Data     []byte // as command.AppendEntry makes it, or empty
}

// Reply is what the machine answers to a command.
type Reply struct {
	Origin   command.Origin
	Revision kind.Revision // of the command: what the header of its response says
	Body     []byte        // the response's fields in protobuf encoding, all but the header, which is field 1
	Err      error         // a refusal; then the command has written nothing and there is no body

	held mvcc.Answer
}

// Release gives what the reply to a read-only transaction has reserved back to the budget for answers, after it has
// been sent. A reply to a command has nothing. It may be called more than once.
func (r *Reply) Release() { r.held.Release() }

// Pending is several whole entries on their way into the store. After an error of any method the member stops: the
// store has failed or the log holds what this version does not understand, and nothing may be committed any more.
type Pending struct {
	machine *Machine
	writer  *mvcc.Writer
	leases  *lease.Writer
	local   Local

	applied store.Applied // after the last whole entry
	start   store.Applied // the counters before the command under way
	at      cursor        // the command under way
	elapsed uint64        // the cluster's time at the entry under way
	digest  digest
	ended   int // leases that the entry under way has ended, each of which may have moved the revision

	members   []member.Member   // nil if they did not change
	confState *raftpb.ConfState // nil if it did not change
	alarms    *[]Alarm          // nil if they did not change
	version   uint32            // the machine version after the entry under way
	marks     []Mark

	writers writers

	entry     command.Entry
	replies   []Reply
	run       run
	begun     bool
	failed    error
	hasCursor bool // the store holds a cursor that the commit must remove
	spilled   func()
}

// Begin starts a batch of entries. The Pending before it must have been committed; it and what it returned are
// used again, except for the replies themselves and their bodies.
func (m *Machine) Begin(local Local) *Pending {
	p := &m.pending
	invariant.Check(!p.begun, "a batch of entries is begun before the last one was committed")
	p.begun, p.local = true, local
	p.applied = m.state
	p.digest.value, p.digest.open = m.state.Digest, false
	p.members, p.confState, p.alarms = nil, nil, nil
	p.marks = p.marks[:0]
	clear(p.replies)
	p.replies = p.replies[:0]
	p.hasCursor = m.cursor != nil
	p.writer = m.kv.Begin(m.batch, p.digest.effect)
	p.leases = m.leases.Begin(m.batch)
	m.auth.Begin(p)
	p.run.writer, p.run.reader, p.run.leases, p.run.full = p.writer, p.writer, p.leases, p.spill
	return p
}

// Apply executes one committed entry, the one after the last. It cannot be refused: a refused command is a Reply.
func (p *Pending) Apply(e Entry) error {
	return p.guard(e.Position, func() error { return p.apply(e) })
}

// guard runs one entry, and turns a failure of the store into an error at this one place.
func (p *Pending) guard(at kind.Position, apply func() error) (err error) {
	if p.failed != nil {
		return p.failed
	}
	invariant.Check(p.begun, "entry %d is applied outside a batch", at.Index)
	defer func() {
		if e := store.Recovered(recover()); e != nil {
			err = e
		}
		if err != nil {
			err = fmt.Errorf("apply entry %d of term %d: %w", at.Index, at.Term, err)
			p.failed = err
		}
	}()
	return apply()
}

func (p *Pending) apply(e Entry) error {
	after := p.applied
	after.Position = e.Position
	commands := 0
	p.ended = 0
	if len(e.Data) > 0 {
		if err := p.entry.Decode(e.Data); err != nil {
			return fmt.Errorf("%w: %w", ErrUnknownEntry, err)
		}
		commands = len(p.entry.Commands)
		after.Elapsed = max(after.Elapsed, p.entry.Elapsed)
		version := known(after.MachineVersion)
		p.digest.seed = version.seed
		first, err := p.resume(e.Position, after.Elapsed)
		if err != nil {
			return err
		}
		p.elapsed = after.Elapsed
		p.version = after.MachineVersion
		if err := p.raisedBefore(first); err != nil {
			return err
		}
		for i := first; i < commands; i++ {
			c := &p.entry.Commands[i]
			if !version.executes(c.Kind) {
				return fmt.Errorf("%w: command %d is of kind %d, unknown to machine version %d", ErrUnknownEntry, i, c.Kind, after.MachineVersion)
			}
			p.at = cursor{entry: e.Position, command: uint32(i), digest: p.digest.value}
			if err := p.execute(c); err != nil {
				return fmt.Errorf("command %d: %w", i, err)
			}
		}
		after.MachineVersion = p.version
		p.writer.Fill(&after)
		p.digest.counted(&after)
	} else if c := p.machine.cursor; c != nil {
		return fmt.Errorf("%w: entry %d is empty", ErrCursor, e.Position.Index)
	}
	p.writer.Fill(&after)
	after.Digest = p.digest.value
	p.mark(&after)
	checkStep(&p.applied, &after, commands+p.ended)
	p.applied = after
	return nil
}

// resume returns the number of the command at which an entry begins: 0, unless a crash has interrupted it.
func (p *Pending) resume(at kind.Position, elapsed uint64) (first int, err error) {
	c := p.machine.cursor
	if c == nil {
		p.digest.entry(at.Index, elapsed)
		return 0, nil
	}
	if c.entry != at || int64(c.command) >= int64(len(p.entry.Commands)) {
		return 0, fmt.Errorf("%w: it names command %d of entry %d of term %d", ErrCursor, c.command, c.entry.Index, c.entry.Term)
	}
	p.machine.cursor = nil
	p.digest.value = c.digest
	return int(c.command), nil
}

// spill puts the batch into the store in the middle of a command (I2): all whole entries, the finished commands of
// this entry, and of the command under way what it has done so far, which Open would take back.
func (p *Pending) spill([]byte) {
	a := p.applied
	a.Revision, a.Compacted = p.start.Revision, p.start.Compacted
	a.LiveKeys, a.LiveBytes, a.Versions = p.start.LiveKeys, p.start.LiveBytes, p.start.Versions
	checkState(&a)
	b := p.machine.batch
	b.Set(store.AppliedKey(), store.EncodeApplied(a))
	b.Set(cursorKey, p.at.encode())
	b.Spill()
	p.hasCursor = true
	if p.spilled != nil {
		p.spilled()
	}
}

// Size returns the bytes that wait to be committed; whoever fills the batch stops when it is large.
func (p *Pending) Size() int { return p.machine.batch.Size() }

// Applied returns where the store stands after the last whole entry.
func (p *Pending) Applied() store.Applied { return p.applied }

// Replies returns the answers to the commands of Local, in order. They may go out after Commit. The list is used
// again by the next Begin, the replies in it are not.
func (p *Pending) Replies() []Reply { return p.replies }

// LeaseCounts returns how often something happened to leases in the batch.
func (p *Pending) LeaseCounts() lease.Counts { return p.leases.Counts() }

// Changes returns the events of the batch in revision order, each once (M4).
func (p *Pending) Changes() mvcc.Changes { return p.writer.Changes() }

// Commit puts the effects and the applied record into the store in one batch (M2) and publishes them. Callers are
// woken after it.
func (p *Pending) Commit() (err error) {
	if p.failed != nil {
		return p.failed
	}
	defer func() {
		if e := store.Recovered(recover()); e != nil {
			err = e
		}
		if err != nil {
			err = fmt.Errorf("commit up to entry %d: %w", p.applied.Position.Index, err)
			p.failed = err
		}
	}()
	m := p.machine
	if p.applied.Position == m.state.Position {
		p.end()
		return nil
	}
	checkState(&p.applied)
	if p.hasCursor {
		if m.cursor != nil {
			return errors.New("an interrupted command was not taken up")
		}
		m.batch.Delete(cursorKey)
	}
	m.batch.Set(store.AppliedKey(), store.EncodeApplied(p.applied))
	if err := m.batch.Commit(); err != nil {
		return err
	}
	m.auth.Publish() // before the keys, so that no reader sees a key by a right that was taken away before it was written
	m.kv.Publish(p.writer)
	m.leases.Publish(p.leases)
	m.state = p.applied
	if members := p.members; members != nil {
		m.members.Store(&members) // not the field, which the next batch begins anew
	}
	if p.confState != nil {
		m.confState.Store(p.confState)
	}
	if p.alarms != nil {
		m.alarms.Store(p.alarms)
	}
	p.begun = false
	return nil
}

// end ends a batch without entries.
func (p *Pending) end() {
	p.writer.Discard()
	p.leases.Discard()
	p.machine.batch.Reset()
	p.begun = false
}

// drop forgets a batch that is not going to be committed.
func (p *Pending) drop() {
	if p.begun {
		p.writer.Discard()
		p.leases.Discard()
		p.begun = false
		p.failed = errors.New("the machine is closed")
	}
}
