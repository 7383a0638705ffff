package machine

import (
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// JoiningGenesis sets the records with which the store of a member begins that joins a cluster: at position (0, 0),
// before anything, without members and with an empty configuration. Such a member neither votes nor stands for
// election, and is given the whole state by a snapshot.
func JoiningGenesis(set func(key, value []byte)) {
	set(store.AppliedKey(), store.EncodeApplied(store.Applied{
		Revision:       mvcc.FirstRevision,
		Compacted:      mvcc.NeverCompacted,
		MachineVersion: Versions[0].Number,
	}))
	member.WriteConfState(set, &raftpb.ConfState{})
}

// knowsNothing reports whether a store is that of a member which has joined and was not given the state yet.
func knowsNothing(state *store.Applied, members []member.Member, cs *raftpb.ConfState) bool {
	return state.Position == kind.Position{} && len(members) == 0 &&
		len(cs.GetVoters())+len(cs.GetLearners())+len(cs.GetVotersOutgoing())+len(cs.GetLearnersNext()) == 0
}
