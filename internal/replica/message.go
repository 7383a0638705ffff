package replica

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"holdfast/internal/kind"
)

// Receive takes a message from another member. What a member has no business to send, and what comes from one that
// raft knows nothing of any more, is dropped: a message may always get lost. The message must not change afterwards.
func (r *Replica) Receive(m *raftpb.Message) error {
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp, raftpb.MsgSnap,
		raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp, raftpb.MsgTimeoutNow,
		raftpb.MsgReadIndexResp:
	case raftpb.MsgReadIndex:
		if len(m.GetEntries()) != 1 {
			return nil
		}
		// raft would send it on to the leader that it knows, in the message itself. Whoever asks does so again.
		if s := r.raw.BasicStatus(); s.RaftState != raft.StateLeader || !r.knowsCommit(s) {
			return nil
		}
	default:
		return nil // a proposal, or a word between raft and its own member
	}
	if !sound(m) {
		r.logger.Warningf("dropping a message of type %v from member %v: its entries do not follow each other", m.GetType(), kind.MemberID(m.GetFrom()))
		return nil
	}
	if r.turnedDown(m) {
		return nil
	}
	err := r.raw.Step(m)
	if errors.Is(err, raft.ErrStepPeerNotFound) || errors.Is(err, raft.ErrProposalDropped) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take %v from member %v: %w", m.GetType(), kind.MemberID(m.GetFrom()), err)
	}
	return nil
}

// sound reports whether the entries of a message follow each other and what is before them, in indexes and in terms. raft
// takes that for granted, and panics, or keeps a log with a hole, where it is not so.
func sound(m *raftpb.Message) bool {
	if m.GetType() == raftpb.MsgSnap && m.GetSnapshot().GetMetadata() == nil {
		return false
	}
	if m.GetType() != raftpb.MsgApp {
		return true
	}
	index, term := m.GetIndex(), m.GetLogTerm()
	for _, e := range m.GetEntries() {
		if e.GetIndex() != index+1 || e.GetTerm() < term || e.GetTerm() > m.GetTerm() {
			return false
		}
		index, term = e.GetIndex(), e.GetTerm()
	}
	return true
}

// knowsCommit reports whether a leader may say how far the cluster has committed. It may once an entry of its own term is
// committed (Raft thesis, section 6.4). raft sees to that, but for a leader that is the only voter: after a restart that
// one would answer with the commit of its hard state, which lags behind what it has acknowledged.
func (r *Replica) knowsCommit(s raft.BasicStatus) bool {
	if s.RaftState != raft.StateLeader || !r.lone {
		return true
	}
	term, err := r.log.Term(kind.Index(s.GetCommit()))
	return err == nil && uint64(term) == s.GetTerm()
}

// ReadIndex asks for an index at which a read is linearizable; the answer comes out of Reads with the same
// context. A context is used once: an answer to an earlier attempt must not be taken for this one (etcd#20418). There
// may be no answer: who waits asks again after a while.
func (r *Replica) ReadIndex(context uint64) {
	if r.knowsCommit(r.raw.BasicStatus()) {
		r.raw.ReadIndex(binary.BigEndian.AppendUint64(nil, context))
	}
}

// Propose appends an entry, if this member leads. It returns raft.ErrProposalDropped when nothing was appended.
func (r *Replica) Propose(data []byte) error { return r.raw.Propose(data) }

// ErrChangePending means that a change of the configuration was not appended, because one before it is still under way.
var ErrChangePending = errors.New("a change of the configuration is still under way")

// ProposeChange appends a change of the configuration, if this member leads. It returns ErrChangePending or
// raft.ErrProposalDropped when the change is certainly not in the log. Only one may be under way: raft would put an
// empty entry in the place of a second.
func (r *Replica) ProposeChange(change *raftpb.ConfChangeV2) error {
	typ, data, err := raftpb.MarshalConfChange(change)
	if err != nil {
		return fmt.Errorf("encode a change of the configuration: %w", err)
	}
	m := &raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(uint64(r.id)), Entries: []*raftpb.Entry{{Type: typ.Enum(), Data: data}}}
	if err := r.raw.Step(m); err != nil {
		return err
	}
	if m.GetEntries()[0].GetType() == raftpb.EntryNormal {
		return ErrChangePending
	}
	return nil
}

// Unreachable tells that messages to a member got lost.
func (r *Replica) Unreachable(id kind.MemberID) { r.raw.ReportUnreachable(uint64(id)) }

// SnapshotSent tells how the sending of a snapshot has ended.
func (r *Replica) SnapshotSent(id kind.MemberID, ok bool) {
	status := raft.SnapshotFinish
	if !ok {
		status = raft.SnapshotFailure
	}
	r.raw.ReportSnapshot(uint64(id), status)
}

// Transfer makes a leader hand over to another voter as soon as that one has the whole log. raft gives up after an
// election timeout.
func (r *Replica) Transfer(id kind.MemberID) { r.raw.TransferLeader(uint64(id)) }

// Follower is what a leader knows of another member.
type Follower struct {
	ID       kind.MemberID
	Match    kind.Index // up to here its log is known to be the leader's
	Next     kind.Index // the entry that it is sent next
	State    FollowerState
	Active   bool       // it has answered within an election timeout
	Learner  bool       // it does not vote
	Snapshot kind.Index // of the snapshot that it needs and is being sent, 0 otherwise
}

// FollowerState is how a leader sends entries to a follower; the numbers are raft's.
type FollowerState uint8

// The states of a follower.
const (
	Probing      FollowerState = 0 // the leader does not know where its log ends
	Replicating  FollowerState = 1 // entries are sent as they come
	Snapshotting FollowerState = 2 // it needs entries that the log has no more
)

func (s FollowerState) String() string {
	return [...]string{"probe", "replicate", "snapshot"}[s]
}

// Followers appends what a leader knows of the other members, ordered by id; nothing on one that does not lead.
func (r *Replica) Followers(list []Follower) []Follower {
	if r.raw.BasicStatus().RaftState != raft.StateLeader {
		return list
	}
	r.raw.WithProgress(func(id uint64, typ raft.ProgressType, p tracker.Progress) {
		if id == uint64(r.id) {
			return
		}
		list = append(list, Follower{
			ID: kind.MemberID(id), Match: kind.Index(p.Match), Next: kind.Index(p.Next), State: FollowerState(p.State),
			Active: p.RecentActive, Learner: typ == raft.ProgressTypeLearner, Snapshot: kind.Index(p.PendingSnapshot),
		})
	})
	return list
}
