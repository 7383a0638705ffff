package node

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"holdfast/internal/kind"
	"holdfast/internal/transport"
)

// The Node is its transport's Handler: nothing here blocks, everything goes to the loop.

// Receive takes messages of another member.
func (n *Node) Receive(ms []transport.Message) {
	if dropped := n.inbox.put(ms); len(dropped) > 0 {
		n.refuseDropped(dropped)
	}
	n.loop.ring()
}

// Unreachable tells that raft messages to a member were lost.
func (n *Node) Unreachable(id kind.MemberID) {
	n.order(func(l *loopState) error {
		l.Replica.Unreachable(id)
		return nil
	})
}

// SnapshotSent tells how the sending of a snapshot has ended.
func (n *Node) SnapshotSent(id kind.MemberID, err error) {
	if err != nil {
		n.Logger.Warn("a snapshot did not reach a member; it is sent again", zap.Stringer("member", id), zap.Error(err))
	}
	n.order(func(l *loopState) error {
		l.Replica.SnapshotSent(id, err == nil)
		return nil
	})
}

// Refused tells that another member does not talk to this one. If it says that this one was removed, it stops.
func (n *Node) Refused(id kind.MemberID, why error) {
	if errors.Is(why, transport.ErrRemoved) {
		n.removed(fmt.Errorf("%w, says member %v", ErrRemoved, id))
		return
	}
	n.Logger.Warn("another member refuses this one", zap.Stringer("member", id), zap.Error(why))
}

// receive hands one message to whom it is for.
func (l *loopState) receive(m transport.Message) error {
	if m.To != l.Identity.Member || l.isRemoved(m.From) {
		return nil
	}
	switch m.Kind {
	case transport.KindRaft:
		// A member that is unknown here may be the leader: this one may lag behind the change that has added it.
		if m.Raft == nil || kind.MemberID(m.Raft.GetFrom()) != m.From || kind.MemberID(m.Raft.GetTo()) != m.To {
			return nil
		}
		return l.Replica.Receive(m.Raft)
	case transport.KindForward:
		if a, ok := l.arrive(m); ok {
			l.arrived = append(l.arrived, a)
		}
	case transport.KindRefused:
		f, err := decodeRefusal(m.Payload)
		if err != nil {
			l.Logger.Warn("a refusal of another member is dropped", zap.Stringer("member", m.From), zap.Error(err))
			return nil
		}
		l.refused(m.From, &f)
	case transport.KindDigest:
		l.digestHeard(m)
	}
	return nil
}

// post puts messages of raft's into the outgoing ones.
func (l *loopState) post(ms []*raftpb.Message) {
	for _, m := range ms {
		if m.GetType() == raftpb.MsgSnap {
			l.snapshots.wanted.put(m)
			continue
		}
		l.outgoing = append(l.outgoing, transport.Message{
			From: l.Identity.Member, To: kind.MemberID(m.GetTo()), Kind: transport.KindRaft, Raft: m})
	}
}

// flush sends what is outgoing: all that one turn has to say leaves in one write to each member.
func (l *loopState) flush() {
	if len(l.outgoing) == 0 {
		return
	}
	l.Transport.Send(l.outgoing)
	l.outgoing = nil
}
