package replica

import (
	"errors"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/kind"
	"holdfast/internal/wal"
)

var errUnknownFields = errors.New("it has fields that this version does not know")

// storage is raft's view of what is on disk: entries and hard state from the log, the configuration from the
// store's batch, since only that one moves together with the applied index.
type storage struct {
	log       *wal.Log
	hard      *raftpb.HardState
	confState *raftpb.ConfState
}

func (s *storage) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return s.hard, s.confState, nil
}

func (s *storage) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	return s.log.Entries(kind.Index(lo), kind.Index(hi), maxSize)
}

func (s *storage) Term(i uint64) (uint64, error) {
	t, err := s.log.Term(kind.Index(i))
	return uint64(t), err
}

func (s *storage) FirstIndex() (uint64, error) { return uint64(s.log.FirstIndex()), nil }
func (s *storage) LastIndex() (uint64, error)  { return uint64(s.log.LastIndex()), nil }

// Snapshot says that there is none to send at the moment: raft asks again when a follower still needs one.
func (s *storage) Snapshot() (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

// initialHardState is the log's hard state with its commit raised to the applied index: the commit is written
// without a sync, so it may lag behind what the store has, and raft would take that for a contradiction (I6).
func initialHardState(logged *raftpb.HardState, applied kind.Position) *raftpb.HardState {
	h := &raftpb.HardState{Term: new(uint64), Vote: new(uint64), Commit: new(uint64)}
	if logged != nil {
		h = proto.Clone(logged).(*raftpb.HardState)
	}
	h.Commit = new(max(h.GetCommit(), uint64(applied.Index)))
	h.Term = new(max(h.GetTerm(), uint64(applied.Term)))
	return h
}

// unmarshal decodes a message of raft's own, strictly: what is left over would be a newer field.
func unmarshal(data []byte, m proto.Message) error {
	if err := proto.Unmarshal(data, m); err != nil {
		return err
	}
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		return errUnknownFields
	}
	return nil
}
