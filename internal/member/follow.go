package member

import (
	"slices"
	"strconv"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// NewID returns an id for a member that is to be added: a hash of the cluster, its peer URLs and the time, in Unix
// nanoseconds of the member that was asked, and one that no record has, removed ones included.
func NewID(cluster kind.ClusterID, peerURLs []string, wall int64, members []Member) kind.MemberID {
	urls := slices.Clone(peerURLs)
	slices.Sort(urls)
	for try := 0; ; try++ {
		parts := append([]string{cluster.String(), strconv.FormatInt(wall, 10), strconv.Itoa(try)}, urls...)
		id := kind.MemberID(hash("added member", parts))
		if !slices.ContainsFunc(members, func(m Member) bool { return m.ID == id }) {
			return id
		}
	}
}

// Proposal returns the change of Raft's configuration that does what change says and carries context. One step is a
// simple change; several make a joint configuration, which Raft leaves by itself (Raft thesis, 4.3).
func Proposal(change command.MemberChange, context []byte) *raftpb.ConfChangeV2 {
	cc := &raftpb.ConfChangeV2{Transition: raftpb.ConfChangeTransitionAuto.Enum(), Context: context}
	for _, s := range change.Steps {
		single := &raftpb.ConfChangeSingle{NodeId: new(uint64(s.ID))}
		switch s.Op {
		case command.AddVoter, command.PromoteMember:
			single.Type = raftpb.ConfChangeAddNode.Enum()
		case command.AddLearner:
			single.Type = raftpb.ConfChangeAddLearnerNode.Enum()
		case command.RemoveMember:
			single.Type = raftpb.ConfChangeRemoveNode.Enum()
		}
		cc.Changes = append(cc.Changes, single)
	}
	return cc
}

// Follow returns the records that are new or other in the configuration cs, ordered by id. change is what has led to
// it; the end of a joint configuration has none. Members that leave a joint configuration are removed when it ends:
// until then it may take their votes.
func Follow(members []Member, change command.MemberChange, cs *raftpb.ConfState) (changed []Member) {
	named := func(id kind.MemberID, lists ...[]uint64) bool {
		return slices.ContainsFunc(lists, func(list []uint64) bool { return slices.Contains(list, uint64(id)) })
	}
	for _, m := range members {
		if m.Removed {
			continue
		}
		now := m
		now.Removed = !named(m.ID, cs.GetVoters(), cs.GetLearners(), cs.GetVotersOutgoing(), cs.GetLearnersNext())
		now.Learner = !now.Removed && named(m.ID, cs.GetLearners(), cs.GetLearnersNext())
		if !now.Equal(m) {
			changed = append(changed, now)
		}
	}
	for _, s := range change.Steps {
		if s.Op != command.AddVoter && s.Op != command.AddLearner ||
			slices.ContainsFunc(members, func(m Member) bool { return m.ID == s.ID }) {
			continue
		}
		changed = append(changed, Member{ID: s.ID, PeerURLs: s.PeerURLs, Learner: named(s.ID, cs.GetLearners(), cs.GetLearnersNext())})
	}
	slices.SortFunc(changed, byID)
	return changed
}

// Leaving reports whether a member is about to be removed: only the outgoing half of a joint configuration names it.
func Leaving(id kind.MemberID, cs *raftpb.ConfState) bool {
	i := uint64(id)
	return slices.Contains(cs.GetVotersOutgoing(), i) && !slices.Contains(cs.GetVoters(), i) &&
		!slices.Contains(cs.GetLearners(), i) && !slices.Contains(cs.GetLearnersNext(), i)
}
