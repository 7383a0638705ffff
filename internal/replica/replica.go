// Package replica is one member as a plain object: raft, the log and the machine, told what happened and asked
// for the work that follows. It has no goroutine, no clock and no lock. The shell (node) runs it on goroutines, a
// simulation by a seed; the code in the middle is the same.
//
// One caller at a time owns a Replica. Two methods are the exception, each with one caller of its own, beside the
// owner: WriteLog (the log's writer) and ApplyWork (the applier).
//
// Invariants:
//
//	R1  Nothing that promises durability leaves before its append was synced: such messages travel inside
//	    an Append and are released by Done (I1).
//	R2  Appends are done in order, applies in order; the two orders are independent (raft's AsyncStorageWrites).
//	R3  An entry reaches the machine once, in index order, starting after the store's applied position (I2).
//	R4  raft starts from the configuration that the store remembers with its applied position, and from a
//	    hard state whose commit is at least that position (I6).
package replica

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/wal"
)

// Limits of raft's pipeline, in bytes unless said. They bound memory, not the format: any may change.
const (
	maxMessageBytes     = 1 << 20   // one append message; a larger entry travels alone
	maxInflightMessages = 256       // messages, per follower
	maxInflightBytes    = 8 << 20   // per follower; also what one answer of a follower that lags may make the owner read from files
	maxApplyingBytes    = 16 << 20  // handed to the applier and not yet applied
	maxUncommittedBytes = 256 << 20 // appended on the leader and not yet committed
)

// Config is what a Replica is made of. Log and Machine are open and stay the caller's to close.
type Config struct {
	Member         kind.MemberID
	Log            *wal.Log
	Machine        *machine.Machine
	ElectionTicks  int // ticks without a leader before a follower campaigns; more than HeartbeatTicks
	HeartbeatTicks int // ticks between a leader's heartbeats
	PreVote        bool
	Logger         raft.Logger
}

// Replica is one member. See the package comment for who may call what.
type Replica struct {
	id      kind.MemberID
	raw     *raft.RawNode
	storage *storage
	log     *wal.Log
	machine atomic.Pointer[machine.Machine]
	logger  raft.Logger

	work       []Work // what Next hands out, oldest first
	reads      []Read
	state      State
	lone       bool // there is one voter, whoever it is
	abstention abstention
	durable    hardState // what the last append that was handed out made, or makes, durable

	adopted kind.Index // up to here the machine had come when it was adopted; of the applier
}

// hardState is the part of raft's hard state that others rely on.
type hardState struct{ term, vote uint64 }

// State is where the replica stands, as raft sees it.
type State struct {
	Term       kind.Term
	Leader     kind.MemberID // 0 when unknown
	Role       raft.StateType
	Commit     kind.Index
	Last       kind.Index    // of the log as it is written
	Applied    kind.Index    // of which raft knows that it is applied, which may be a little later than it is
	Transferee kind.MemberID // whom a leader is handing over to; it takes no proposals meanwhile
	SoleVoter  bool          // every acknowledgement of the cluster is given by this member
	Learner    bool
	Voter      bool
	Joint      bool // the configuration is on its way from one set of voters to another
}

// Open makes a replica from an open log and machine that belong together. It returns a *MismatchError when
// the log does not continue where the store stands (I6).
func Open(c Config) (*Replica, error) {
	applied := c.Machine.Applied()
	if err := checkContinuity(c.Log, applied); err != nil {
		return nil, err
	}
	confState := c.Machine.ConfState()
	s := &storage{log: c.Log, hard: initialHardState(c.Log.HardState(), applied), confState: confState, applied: applied}
	raw, err := raft.NewRawNode(&raft.Config{
		ID:                        uint64(c.Member),
		ElectionTick:              c.ElectionTicks,
		HeartbeatTick:             c.HeartbeatTicks,
		Storage:                   s,
		Applied:                   uint64(applied.Index),
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             maxMessageBytes,
		MaxCommittedSizePerReady:  maxApplyingBytes,
		MaxUncommittedEntriesSize: maxUncommittedBytes,
		MaxInflightMsgs:           maxInflightMessages,
		MaxInflightBytes:          maxInflightBytes,
		CheckQuorum:               true,
		PreVote:                   c.PreVote,
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
		Logger:                    c.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	r := &Replica{id: c.Member, raw: raw, storage: s, log: c.Log, logger: c.Logger,
		abstention: abstention{election: c.ElectionTicks}, durable: hardState{s.hard.GetTerm(), s.hard.GetVote()}}
	r.machine.Store(c.Machine)
	r.configured(confState)
	r.refresh()
	return r, nil
}

// MismatchError says that a log and a store do not continue each other.
type MismatchError struct {
	Applied kind.Position
	First   kind.Index
	Last    kind.Index
	Reason  string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("the log (entries %d to %d) does not continue the store (applied up to entry %d of term %d): %s; "+
		"restore the directory from a backup, or remove this member and let it join anew",
		e.First, e.Last, e.Applied.Index, e.Applied.Term, e.Reason)
}

// checkContinuity requires that the log holds the applied entry with its term, or begins right after it (I6).
func checkContinuity(log *wal.Log, applied kind.Position) error {
	e := &MismatchError{Applied: applied, First: log.FirstIndex(), Last: log.LastIndex()}
	switch {
	case applied.Index+1 < e.First:
		e.Reason = "entries between them are missing"
	case applied.Index > e.Last:
		e.Reason = "the log ends early, so entries that were synced have been lost"
	default:
		term, err := log.Term(applied.Index)
		if err != nil {
			return fmt.Errorf("read the term of entry %d from the log: %w", applied.Index, err)
		}
		if term == applied.Term {
			return nil
		}
		e.Reason = fmt.Sprintf("the log has that entry with term %d", term)
	}
	return e
}

// Tick tells that one tick of the shell's clock has passed.
func (r *Replica) Tick() {
	if !r.idle() {
		r.raw.Tick()
	}
}

// Campaign starts an election now. The sole voter of a cluster need not wait for a timeout.
func (r *Replica) Campaign() error {
	if r.abstention.on {
		return nil
	}
	return r.raw.Campaign()
}

// Reads takes out the read indexes that have become known.
func (r *Replica) Reads() []Read {
	reads := r.reads
	r.reads = nil
	return reads
}

// State returns where the replica stands after the last call.
func (r *Replica) State() State { return r.state }

// Log is the replica's log, for its writer.
func (r *Replica) Log() *wal.Log { return r.log }

// Machine is the replica's machine, for its readers. Any goroutine may call it. Who reads asks each time: the machine
// changes with the store when a snapshot takes their place.
func (r *Replica) Machine() *machine.Machine { return r.machine.Load() }

// Next hands out the next piece of work, if there is one.
func (r *Replica) Next() (Work, bool) {
	for len(r.work) == 0 {
		if !r.raw.HasReady() {
			r.refresh()
			return nil, false
		}
		r.accept(r.raw.Ready())
	}
	w := r.work[0]
	r.work[0] = nil
	r.work = r.work[1:]
	return w, true
}

// accept turns what raft wants into work.
func (r *Replica) accept(ready raft.Ready) {
	for _, s := range ready.ReadStates {
		if len(s.RequestCtx) == 8 {
			r.reads = append(r.reads, Read{binary.BigEndian.Uint64(s.RequestCtx), kind.Index(s.Index)})
		}
	}
	var out []*raftpb.Message
	for _, m := range ready.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			a := &Append{Snapshot: m.GetSnapshot(), Entries: m.GetEntries(), responses: m.GetResponses(), Sync: len(m.GetEntries()) > 0}
			if m.Term != nil || m.Vote != nil || m.Commit != nil {
				a.HardState = &raftpb.HardState{Term: new(m.GetTerm()), Vote: new(m.GetVote()), Commit: new(m.GetCommit())}
				// A commit is no promise: an answer that stands behind one only has to wait for the appends before it, and
				// those are done first.
				if now := (hardState{m.GetTerm(), m.GetVote()}); now != r.durable {
					r.durable, a.Sync = now, true
				}
			}
			if a.Snapshot != nil {
				a.Sync = true
				r.configured(a.Snapshot.GetMetadata().GetConfState())
			}
			r.work = append(r.work, a)
		case raft.LocalApplyThread:
			r.committed(m)
		default:
			out = append(out, m)
		}
	}
	if len(out) > 0 {
		r.work = append(r.work, &Send{out})
	}
}

// committed cuts a run of committed entries at changes of the membership, since each of them is a batch of
// its own and raft has to take it over before the entries behind it are applied.
func (r *Replica) committed(m *raftpb.Message) {
	entries := m.GetEntries()
	start := 0
	for i, e := range entries {
		if e.GetType() == raftpb.EntryNormal {
			continue
		}
		if i > start {
			r.work = append(r.work, &Apply{Entries: entries[start:i]})
		}
		r.work = append(r.work, r.configure(e))
		start = i + 1
	}
	if start < len(entries) {
		r.work = append(r.work, &Apply{Entries: entries[start:], responses: m.GetResponses()})
		return
	}
	last := r.work[len(r.work)-1].(*Configure)
	last.responses = m.GetResponses()
}

// configure lets raft take a committed change over.
func (r *Replica) configure(e *raftpb.Entry) *Configure {
	change, err := decodeChange(e)
	invariant.Check(err == nil, "entry %d is committed and no change of the membership: %v", e.GetIndex(), err)
	cs := r.raw.ApplyConfChange(change)
	r.configured(cs)
	return &Configure{Entry: e, ConfState: cs, context: change.AsV2().GetContext()}
}

// configured notes what follows from a configuration. In a joint one nobody is the sole voter.
func (r *Replica) configured(cs *raftpb.ConfState) {
	r.state.SoleVoter = len(cs.GetVoters()) == 1 && cs.GetVoters()[0] == uint64(r.id) &&
		len(cs.GetVotersOutgoing()) == 0 && len(cs.GetLearners()) == 0 && len(cs.GetLearnersNext()) == 0
	r.lone = len(cs.GetVoters()) == 1 && len(cs.GetVotersOutgoing()) == 0
	r.state.Joint = len(cs.GetVotersOutgoing()) > 0
	r.state.Voter = slices.Contains(cs.GetVoters(), uint64(r.id))
	r.state.Learner = slices.Contains(cs.GetLearners(), uint64(r.id)) || slices.Contains(cs.GetLearnersNext(), uint64(r.id))
}

// Done takes finished work back: its responses take effect, or become messages to send.
func (r *Replica) Done(w Work) error {
	var responses []*raftpb.Message
	switch w := w.(type) {
	case *Append:
		responses = w.responses
		if at := w.Snapshot.GetMetadata(); at != nil {
			r.storage.took(kind.Position{Index: kind.Index(at.GetIndex()), Term: kind.Term(at.GetTerm())}, at.GetConfState())
		}
	case *Apply:
		responses = w.responses
		r.storage.took(position(w.Entries[len(w.Entries)-1]), nil)
	case *Configure:
		responses = w.responses
		r.storage.took(position(w.Entry), w.ConfState)
	}
	var out []*raftpb.Message
	for _, m := range responses {
		if m.GetTo() != uint64(r.id) {
			out = append(out, m)
			continue
		}
		if err := r.raw.Step(m); err != nil {
			return fmt.Errorf("hand finished work back to raft: %w", err)
		}
	}
	if len(out) > 0 {
		r.work = append(r.work, &Send{out})
	}
	return nil
}

// refresh takes raft's view over into State.
func (r *Replica) refresh() {
	s := r.raw.BasicStatus()
	r.state.Term = kind.Term(s.GetTerm())
	r.state.Leader = kind.MemberID(s.Lead)
	r.state.Role = s.RaftState
	r.state.Commit = kind.Index(s.GetCommit())
	r.state.Last = r.log.LastIndex()
	r.state.Applied = kind.Index(s.Applied)
	r.state.Transferee = kind.MemberID(s.LeadTransferee)
}

func decodeChange(e *raftpb.Entry) (raftpb.ConfChangeI, error) {
	if e.GetType() == raftpb.EntryConfChange {
		var cc raftpb.ConfChange
		err := unmarshal(e.GetData(), &cc)
		return &cc, err
	}
	var cc raftpb.ConfChangeV2
	err := unmarshal(e.GetData(), &cc)
	return &cc, err
}
