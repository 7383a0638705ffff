package replica

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/wal"
)

// The refusals of Isolate.
var (
	// ErrEmptyMember refuses to make a cluster of a member that has never been told what its cluster holds.
	ErrEmptyMember = errors.New("the member has joined a cluster and has not been given its data yet; it has nothing to make a cluster of")
	// ErrRemovedMember refuses to make a cluster of a member that its cluster has removed: its id is not given again.
	ErrRemovedMember = errors.New("the member's own log says that it is removed from the cluster; use another one, or restore a backup")
)

// Isolate makes a member the only one of its cluster, on disk, before it is opened: it appends to its log the changes
// of the configuration that leave nobody else, and a hard state by which everything in the log is committed. The
// changes are ordinary entries, which the machine applies after what is in the log before them. It returns the members
// that are left out.
//
// Everything that the log holds is kept: an entry that this member does not know to be committed may have been
// acknowledged. The new entries have a term of their own, so that no other member has, or will have, others in their
// place under the same term.
//
// A crash at any moment leaves the log as it was, or with a part of the changes, or with all: doing it again completes
// them, and changes nothing that is complete.
func Isolate(id kind.MemberID, log *wal.Log, m *machine.Machine) (left []kind.MemberID, err error) {
	voters, steps, err := isolation(uint64(id), log, m)
	if err != nil {
		return nil, err
	}
	hard := initialHardState(log.HardState(), m.Applied())
	last := uint64(log.LastIndex())
	if len(steps) == 0 && hard.GetCommit() == last {
		return nil, nil
	}
	if len(steps) > 0 {
		hard.Term, hard.Vote = new(hard.GetTerm()+1), new(uint64(id))
	}
	var entries []*raftpb.Entry
	for _, step := range steps {
		typ, data, err := raftpb.MarshalConfChange(step)
		if err != nil {
			return nil, fmt.Errorf("encode a change of the configuration: %w", err)
		}
		last++
		entries = append(entries, &raftpb.Entry{Index: new(last), Term: new(hard.GetTerm()), Type: typ.Enum(), Data: data})
	}
	hard.Commit = new(last)
	if err := log.Append(entries, hard); err != nil {
		return nil, fmt.Errorf("append the removal of the other members: %w", err)
	}
	if err := log.Sync(); err != nil {
		return nil, fmt.Errorf("append the removal of the other members: %w", err)
	}
	for _, v := range voters {
		if v != uint64(id) {
			left = append(left, kind.MemberID(v))
		}
	}
	return left, nil
}

// isolation returns everybody in the configuration at the end of the log, and the changes that leave only id. Each is
// a simple one: a joint configuration would ask those who are gone.
func isolation(id uint64, log *wal.Log, m *machine.Machine) (everybody []uint64, steps []*raftpb.ConfChangeV2, err error) {
	cs, err := configurationAtEnd(log, m)
	if err != nil {
		return nil, nil, err
	}
	if len(cs.GetVoters()) == 0 {
		return nil, nil, ErrEmptyMember
	}
	everybody = slices.Concat(cs.GetVoters(), cs.GetVotersOutgoing(), cs.GetLearners(), cs.GetLearnersNext())
	slices.Sort(everybody)
	everybody = slices.Compact(everybody)
	if len(cs.GetVotersOutgoing()) > 0 {
		leave := &raftpb.ConfChangeV2{}
		steps = append(steps, leave)
		if cs, err = after(cs, leave, uint64(log.LastIndex())); err != nil {
			return nil, nil, fmt.Errorf("leave the joint configuration: %w", err)
		}
	}
	change := func(what raftpb.ConfChangeType, who uint64) {
		steps = append(steps, &raftpb.ConfChangeV2{Changes: []*raftpb.ConfChangeSingle{{Type: what.Enum(), NodeId: new(who)}}})
	}
	switch {
	case slices.Contains(cs.GetLearners(), id):
		change(raftpb.ConfChangeAddNode, id)
	case !slices.Contains(cs.GetVoters(), id):
		return nil, nil, ErrRemovedMember
	}
	for _, who := range slices.Concat(cs.GetVoters(), cs.GetLearners()) {
		if who != id {
			change(raftpb.ConfChangeRemoveNode, who)
		}
	}
	return everybody, steps, nil
}

// configurationAtEnd is the configuration that is in force once the whole log has been applied.
func configurationAtEnd(log *wal.Log, m *machine.Machine) (*raftpb.ConfState, error) {
	cs := m.ConfState()
	last := log.LastIndex()
	for next := m.Applied().Index + 1; next <= last; {
		entries, err := log.Entries(next, last+1, maxApplyingBytes)
		if err != nil {
			return nil, fmt.Errorf("read entry %d from the log: %w", next, err)
		}
		for _, e := range entries {
			if e.GetType() == raftpb.EntryNormal {
				continue
			}
			change, err := decodeChange(e)
			if err != nil {
				return nil, fmt.Errorf("entry %d is no change of the configuration: %w", e.GetIndex(), err)
			}
			if cs, err = after(cs, change.AsV2(), e.GetIndex()); err != nil {
				return nil, fmt.Errorf("entry %d changes the configuration: %w", e.GetIndex(), err)
			}
		}
		next += kind.Index(len(entries))
	}
	return cs, nil
}

// after is the configuration after a change, as raft makes it.
func after(cs *raftpb.ConfState, change *raftpb.ConfChangeV2, index uint64) (*raftpb.ConfState, error) {
	cfg, progress, err := confchange.Restore(confchange.Changer{Tracker: tracker.MakeProgressTracker(1, 0), LastIndex: index}, cs)
	if err != nil {
		return nil, err
	}
	c := confchange.Changer{Tracker: tracker.MakeProgressTracker(1, 0), LastIndex: index}
	c.Tracker.Config, c.Tracker.Progress = cfg, progress
	if change.LeaveJoint() {
		cfg, progress, err = c.LeaveJoint()
	} else if autoLeave, joint := change.EnterJoint(); joint {
		cfg, progress, err = c.EnterJoint(autoLeave, change.GetChanges()...)
	} else {
		cfg, progress, err = c.Simple(change.GetChanges()...)
	}
	if err != nil {
		return nil, err
	}
	c.Tracker.Config, c.Tracker.Progress = cfg, progress
	return c.Tracker.ConfState(), nil
}
