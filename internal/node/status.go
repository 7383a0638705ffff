package node

import (
	"context"

	"go.etcd.io/raft/v3"

	"holdfast/internal/kind"
	"holdfast/internal/member"
	"holdfast/internal/replica"
)

// Status is where a node stands, in one consistent glance at raft and a newer one at the store.
type Status struct {
	Leader    kind.MemberID // 0 when unknown
	Term      kind.Term
	Index     kind.Index // of the last entry known to be committed
	Applied   kind.Index
	Learner   bool
	SoleVoter bool
	Leading   bool
	Failed    error // why the node stopped, if it has
}

// Status returns where the node stands.
func (n *Node) Status() Status {
	s := *n.status.Load()
	s.Applied = n.applied.Load().Position.Index
	s.Index = max(s.Index, s.Applied)
	select {
	case <-n.failed:
		s.Failed = n.cause
	default:
	}
	return s
}

// publishStatus lets others see what the loop sees.
func (n *Node) publishStatus(r replica.State) {
	old := n.status.Load()
	s := Status{
		Leader:    r.Leader,
		Term:      r.Term,
		Index:     r.Commit,
		Learner:   r.Learner,
		SoleVoter: r.SoleVoter,
		Leading:   r.Role == raft.StateLeader,
	}
	if old != nil && *old == s {
		return
	}
	n.status.Store(&s)
	n.Metrics.status(old, &s)
}

// ClusterID and MemberID are what answers carry in their headers.
func (n *Node) ClusterID() kind.ClusterID { return n.Identity.Cluster }

// MemberID is this member's id.
func (n *Node) MemberID() kind.MemberID { return n.Identity.Member }

// Members lists the cluster's members, after a read index if linearizable.
func (n *Node) Members(ctx context.Context, linearizable bool) ([]member.Member, error) {
	if linearizable {
		if err := n.ReadIndex(ctx); err != nil {
			return nil, err
		}
	}
	return n.Replica.Machine().Members(), nil
}

// Sizes returns the bytes that the store takes on disk, and those of the live keys and values.
func (n *Node) Sizes() (disk, live int64) {
	return int64(n.DB().Usage()), n.applied.Load().LiveBytes
}

// Keys is the number of live keys.
func (n *Node) Keys() int64 { return n.applied.Load().LiveKeys }
