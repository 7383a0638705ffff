package node

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/snapshot"
	"holdfast/internal/transport"
)

// The receiving side. A snapshot becomes a store beside the current one; raft hears of it when that is complete.

// The refusals of a snapshot, for its sender to read.
var (
	errSnapshotLate   = errors.New("this member is in a later term, or has applied that already")
	errSnapshotBusy   = errors.New("this member is taking another snapshot")
	errSnapshotOthers = errors.New("another snapshot has taken its place")
)

// incoming is a snapshot that is being received: a transport.Sink.
type incoming struct {
	node    *Node
	from    kind.MemberID
	message *raftpb.Message
	at      kind.Position
	refetch *refetch // who has asked for it; nil if raft did

	name    string // of the new store's directory
	path    string
	machine *machine.Machine // of the new store, once it is complete

	cancelled atomic.Bool // another has taken its place; the transport hears of it with the next chunk

	mu struct {
		sync.Mutex
		builder *snapshot.Builder
		over    error // why nothing more is taken
	}
}

// Snapshot takes a snapshot that a peer offers, one at a time: that of a later term takes the place of an earlier one.
func (n *Node) Snapshot(from kind.MemberID, m *raftpb.Message, id uint64) (transport.Sink, error) {
	meta := m.GetSnapshot().GetMetadata()
	if m.GetType() != raftpb.MsgSnap || meta == nil || kind.MemberID(m.GetFrom()) != from || kind.MemberID(m.GetTo()) != n.Identity.Member {
		return nil, errors.New("that does not announce a snapshot for this member")
	}
	if n.Stores == nil {
		return nil, errNoStores
	}
	if n.isRemoved(from) {
		return nil, ErrRemoved
	}
	in := &incoming{node: n, from: from, message: m,
		at: kind.Position{Index: kind.Index(meta.GetIndex()), Term: kind.Term(meta.GetTerm())}}
	s := &n.snapshots
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.mu.refetch; r != nil && r.id == id && r.from == from {
		in.refetch = r
	}
	status := n.Status()
	switch {
	case s.mu.shut:
		return nil, ErrStopped
	case in.refetch == nil && in.at.Index <= status.Index:
		n.order(func(l *loopState) error { return l.Replica.Receive(m) }) // raft answers with how far it has come
		return nil, errSnapshotLate
	case kind.Term(m.GetTerm()) < status.Term:
		return nil, errSnapshotLate
	}
	if before := s.mu.arriving; before != nil {
		if in.refetch == nil && m.GetTerm() <= before.message.GetTerm() {
			return nil, errSnapshotBusy
		}
		before.cancelled.Store(true)
		s.mu.arriving = nil
	}
	var err error
	if in.name, in.path, err = n.nextStore(); err != nil {
		return nil, err
	}
	in.mu.builder = snapshot.NewBuilder(n.FS, in.path, n.Identity,
		snapshot.Expected{ID: id, Cluster: n.Identity.Cluster, Position: in.at}, snapshot.BuilderOptions{Reserve: n.MinFreeBytes})
	s.mu.arriving = in
	n.Logger.Info("receiving a snapshot", zap.Stringer("from", from), zap.Uint64("index", uint64(in.at.Index)), zap.Uint64("term", uint64(in.at.Term)))
	return in, nil
}

// Next is the chunk that is wanted next.
func (in *incoming) Next() uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.mu.builder.Next()
}

// Write takes a chunk.
func (in *incoming) Write(number uint64, chunk []byte) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.mu.over != nil {
		return in.mu.over
	}
	if in.cancelled.Load() {
		return errSnapshotOthers
	}
	in.node.Metrics.snapshotBytes.Add(float64(len(chunk)))
	return in.mu.builder.Write(number, chunk)
}

// Finish makes the store, opens it, and tells raft.
func (in *incoming) Finish() error {
	err := in.finish()
	if err != nil {
		in.Abort(err)
		return err
	}
	n := in.node
	s := &n.snapshots
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.shut:
		return errors.Join(ErrStopped, closeStore(in.machine))
	case s.mu.arriving != in:
		in.drop()
		return errSnapshotOthers
	}
	s.mu.arriving = nil
	if s.mu.complete[in.at] != nil {
		in.drop()
		return errSnapshotOthers
	}
	s.mu.complete[in.at] = in
	n.Logger.Info("a snapshot has arrived", zap.Stringer("from", in.from), zap.Uint64("index", uint64(in.at.Index)))
	n.order(in.arrive)
	return nil
}

func (in *incoming) finish() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.mu.over != nil {
		return in.mu.over
	}
	if err := in.mu.builder.Finish(); err != nil {
		return err
	}
	m, err := in.node.openStore(in.path)
	if err != nil {
		return err
	}
	if want := in.message.GetSnapshot().GetMetadata(); m.Applied() != in.at || !proto.Equal(m.ConfState(), want.GetConfState()) {
		return errors.Join(fmt.Errorf("%w: the store stands at %v with the configuration %v, and %v was announced",
			snapshot.ErrOther, m.Applied(), m.ConfState(), want), closeStore(m))
	}
	in.machine, in.mu.over = m, errors.New("the snapshot is complete")
	return nil
}

// Abort gives a snapshot up.
func (in *incoming) Abort(why error) {
	s := &in.node.snapshots
	s.mu.Lock()
	current := s.mu.arriving == in
	if current {
		s.mu.arriving = nil
	}
	s.mu.Unlock()
	if current {
		in.node.Logger.Warn("a snapshot is given up", zap.Stringer("from", in.from), zap.Uint64("index", uint64(in.at.Index)), zap.Error(why))
	}
	in.end(why)
}

// end stops the building, and has what there is removed. What is complete is left alone.
func (in *incoming) end(why error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.mu.over != nil {
		return
	}
	in.mu.over = why
	in.mu.builder.Abandon()
	in.node.retire(in.name, nil, 0)
	if in.refetch != nil {
		in.refetch.finish(why)
	}
}

// drop has a complete store removed that is not adopted.
func (in *incoming) drop() {
	in.node.retire(in.name, in.machine, 0)
	if in.refetch != nil {
		in.refetch.finish(errSnapshotOthers)
	}
}

// arrive lets raft have a snapshot whose store is complete. If raft does not take it, because it has come further
// meanwhile or serves another leader, the store goes; one that was asked for is adopted all the same.
func (in *incoming) arrive(l *loopState) error {
	n := in.node
	s := &n.snapshots
	l.adopting = kind.Position{} // an earlier one may have stood at the same place
	if err := l.Replica.Receive(in.message); err != nil {
		return err
	}
	if err := l.dispatch(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.complete[in.at] != in || l.adopting == in.at {
		return nil
	}
	if in.refetch == nil {
		delete(s.mu.complete, in.at)
		n.Logger.Info("a snapshot was not needed any more", zap.Uint64("index", uint64(in.at.Index)))
		in.drop()
		return nil
	}
	n.writer.fetched.put(in)
	return nil
}
