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
	confState *raftpb.ConfState // as of applied
	applied   kind.Position     // what the owner has handed back as applied
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

// Snapshot says where a snapshot would stand that is taken now. Whoever sends it takes the view and says where that
// stands, which is there or later. Before anything is applied there is nothing to send, and raft asks again.
func (s *storage) Snapshot() (*raftpb.Snapshot, error) {
	if s.applied.Index == 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		ConfState: s.confState,
		Index:     new(uint64(s.applied.Index)),
		Term:      new(uint64(s.applied.Term)),
	}}, nil
}

// took notes what is applied; confState is nil if it did not change.
func (s *storage) took(at kind.Position, confState *raftpb.ConfState) {
	s.applied = at
	if confState != nil {
		s.confState = confState
	}
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
