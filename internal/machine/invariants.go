package machine

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// The laws of the state: what is true at any time, and what may change from one entry to the next. The cheap ones
// run always, and a member that breaks one stops; tests and simulators call all of them.

// CheckState returns what is wrong with a state, nil if nothing is.
func CheckState(a *store.Applied) error {
	switch {
	case a.Revision < mvcc.FirstRevision:
		return fmt.Errorf("the revision is %d, below that of a new store", a.Revision)
	case a.Compacted < mvcc.NeverCompacted || a.Compacted > a.Revision:
		return fmt.Errorf("the compacted revision is %d at revision %d", a.Compacted, a.Revision)
	case a.LiveKeys < 0 || a.LiveBytes < 0 || a.LiveKeys == 0 && a.LiveBytes != 0:
		return fmt.Errorf("%d live keys have %d bytes", a.LiveKeys, a.LiveBytes)
	case known(a.MachineVersion) == nil:
		return fmt.Errorf("the machine version %d is unknown", a.MachineVersion)
	}
	return nil
}

// CheckStep returns what is wrong with going from one state to the next by one entry of so many commands.
func CheckStep(before, after *store.Applied, commands int) error {
	switch {
	case after.Position.Index != before.Position.Index+1:
		return fmt.Errorf("entry %d is applied after entry %d", after.Position.Index, before.Position.Index)
	case after.Position.Term < before.Position.Term:
		return fmt.Errorf("the term falls from %d to %d", before.Position.Term, after.Position.Term)
	case after.Revision < before.Revision || after.Revision-before.Revision > kind.Revision(commands):
		return fmt.Errorf("%d commands move the revision from %d to %d", commands, before.Revision, after.Revision)
	case after.Compacted < before.Compacted:
		return fmt.Errorf("the compacted revision falls from %d to %d", before.Compacted, after.Compacted)
	case after.Elapsed < before.Elapsed:
		return fmt.Errorf("the cluster's time falls from %d to %d", before.Elapsed, after.Elapsed)
	case after.MachineVersion < before.MachineVersion:
		return fmt.Errorf("the machine version falls from %d to %d", before.MachineVersion, after.MachineVersion)
	case after.Revision != before.Revision && after.Digest == before.Digest:
		return fmt.Errorf("the revision moves to %d and the digest stays %x", after.Revision, after.Digest)
	}
	return nil
}

// CheckMembers returns what is wrong with the members and Raft's configuration beside them: every id of the
// configuration is a member that was not removed, and there is a voter.
func CheckMembers(members []member.Member, cs *raftpb.ConfState) error {
	if len(cs.GetVoters()) == 0 {
		return fmt.Errorf("%w: nobody votes", member.ErrRecord)
	}
	there := make(map[uint64]bool)
	for i, m := range members {
		if m.ID == 0 || i > 0 && members[i-1].ID >= m.ID {
			return fmt.Errorf("%w: the members are not in order at %v", member.ErrRecord, m.ID)
		}
		there[uint64(m.ID)] = !m.Removed
	}
	for _, list := range [][]uint64{cs.GetVoters(), cs.GetLearners(), cs.GetVotersOutgoing(), cs.GetLearnersNext()} {
		for _, id := range list {
			// One that is leaving a joint configuration still votes and may have been removed already.
			if _, known := there[id]; !known {
				return fmt.Errorf("%w: the configuration names %v, which is no member", member.ErrRecord, kind.MemberID(id))
			}
		}
	}
	for _, list := range [][]uint64{cs.GetVoters(), cs.GetLearners()} {
		for _, id := range list {
			if !there[id] {
				return fmt.Errorf("%w: the configuration names %v, which was removed", member.ErrRecord, kind.MemberID(id))
			}
		}
	}
	return nil
}

func checkState(a *store.Applied) {
	if err := CheckState(a); err != nil {
		invariant.Check(false, "%v", err)
	}
}

func checkStep(before, after *store.Applied, commands int) {
	if err := CheckStep(before, after, commands); err != nil {
		invariant.Check(false, "%v", err)
	}
	checkState(after)
}
