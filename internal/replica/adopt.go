package replica

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
)

// Adopt makes m the machine, in the place of the one before, whose appliers and writers have stopped; what reads that one
// may go on. m stands where a snapshot stood, or behind it after Replay. Entries up to there that were committed and not
// yet applied are discarded. It is called while nothing is being applied.
func (r *Replica) Adopt(m *machine.Machine) {
	r.adopted = m.Applied().Index
	r.machine.Store(m)
}

// Replay applies to m, which is not adopted yet, what the log holds behind it, up to and including through, which must be
// committed. Nobody is answered. It may be called beside the owner, while the log is not cut above m's position.
func (r *Replica) Replay(m *machine.Machine, through kind.Index) error {
	scratch, err := r.scratch(m.ConfState())
	if err != nil {
		return err
	}
	for at := m.Applied().Index; at < through; at = m.Applied().Index {
		entries, err := r.log.Entries(at+1, through+1, maxApplyingBytes)
		if err != nil {
			return fmt.Errorf("read the log from entry %d: %w", at+1, err)
		}
		p := m.Begin(machine.Local{})
		for i, e := range entries {
			if e.GetType() == raftpb.EntryNormal {
				if err := p.Apply(machine.Entry{Position: position(e), Data: e.GetData()}); err != nil {
					return err
				}
				if p.Size() < applyBatchBytes {
					continue
				}
			} else {
				if i > 0 {
					break // it is a batch of its own
				}
				change, err := decodeChange(e)
				invariant.Check(err == nil, "entry %d is committed and no change of the membership: %v", e.GetIndex(), err)
				if err := p.Configure(position(e), scratch.ApplyConfChange(change), change.AsV2().GetContext()); err != nil {
					return err
				}
			}
			break
		}
		if err := p.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// scratch is a raft that only knows what configuration follows from a change.
func (r *Replica) scratch(confState *raftpb.ConfState) (*raft.RawNode, error) {
	s := raft.NewMemoryStorage()
	at := &raftpb.SnapshotMetadata{ConfState: confState, Index: new(uint64(1)), Term: new(uint64(1))}
	if err := s.ApplySnapshot(&raftpb.Snapshot{Metadata: at}); err != nil {
		return nil, fmt.Errorf("follow the configuration: %w", err)
	}
	raw, err := raft.NewRawNode(&raft.Config{ID: uint64(r.id), ElectionTick: 10, HeartbeatTick: 1, Storage: s, Applied: 1,
		MaxSizePerMsg: 1, MaxInflightMsgs: 1, Logger: r.logger})
	if err != nil {
		return nil, fmt.Errorf("follow the configuration: %w", err)
	}
	return raw, nil
}
