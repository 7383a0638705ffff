package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
)

// Refetching: a member whose state is not to be trusted gets that of the leader, although its log lacks nothing. The
// snapshot may stand before what the member has applied; what the log holds behind it is then applied anew, before the
// new store takes the place of the old one.

// CallSnapshot is the method of a peer call that asks the leader for a snapshot. The request is the version of the
// format (1 byte: 1) and the id that the snapshot is to have (8 bytes, big endian); the answer is empty.
const CallSnapshot = "snapshot"

const callSnapshotVersion = 1

// ErrRefetch means that the state of the leader could not be adopted; the member goes on with its own.
var ErrRefetch = errors.New("the state of the leader could not be fetched")

// refetch is a snapshot that this member has asked for.
type refetch struct {
	id   uint64
	from kind.MemberID
	once sync.Once
	done chan error
}

func (r *refetch) finish(err error) { r.once.Do(func() { r.done <- err }) }

// Refetch replaces this member's state by the leader's and returns when that is adopted. Meanwhile the member goes on
// storing the log and voting, and applies, unless SetDiscarding says otherwise; the log is not cut. The errors are
// ErrNoLeader, ErrTooManyRequests if it is under way already, ErrRefetch with the reason, and that of ctx.
func (n *Node) Refetch(ctx context.Context) error {
	status := n.Status()
	switch {
	case n.Stores == nil:
		return fmt.Errorf("%w: %w", ErrRefetch, errNoStores)
	case status.Leader == 0:
		return ErrNoLeader
	case status.Leader == n.Identity.Member:
		return fmt.Errorf("%w: this member leads; move the leadership to another member first", ErrRefetch)
	}
	s := &n.snapshots
	s.mu.Lock()
	if s.mu.refetch != nil {
		s.mu.Unlock()
		return fmt.Errorf("%w: the state is being fetched already", ErrTooManyRequests)
	}
	s.mu.count++
	r := &refetch{id: n.Boot + s.mu.count, from: status.Leader, done: make(chan error, 1)}
	s.mu.refetch = r
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.mu.refetch = nil
		s.mu.Unlock()
	}()
	request := binary.BigEndian.AppendUint64([]byte{callSnapshotVersion}, r.id)
	if _, err := n.Transport.Call(ctx, r.from, CallSnapshot, request); err != nil {
		return fmt.Errorf("%w: ask member %v: %w", ErrRefetch, r.from, err)
	}
	select {
	case err := <-r.done:
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRefetch, err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-n.stop:
		return ErrStopped
	case <-n.failed:
		return ErrStopped
	}
}

// refetching reports whether the log must not be cut, because a snapshot is coming that it has to continue.
func (n *Node) refetching() bool {
	n.snapshots.mu.Lock()
	defer n.snapshots.mu.Unlock()
	return n.snapshots.mu.refetch != nil
}

// callSnapshot is the leader's side: it sends a snapshot to the member that asks.
func (n *Node) callSnapshot(from kind.MemberID, request []byte) ([]byte, error) {
	if len(request) != 9 || request[0] != callSnapshotVersion {
		return nil, errors.New("that does not ask for a snapshot in a way that this version knows")
	}
	status := n.Status()
	if !status.Leading {
		return nil, ErrNotLeader
	}
	id := binary.BigEndian.Uint64(request[1:])
	m := &raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: new(uint64(n.Identity.Member)), To: new(uint64(from)), Term: new(uint64(status.Term))}
	return nil, n.startSnapshot(m, id)
}

// SetDiscarding says whether committed entries are thrown away instead of being applied: so a member goes on whose state
// is not to be trusted, until Refetch has replaced it. That ends the discarding.
func (n *Node) SetDiscarding(discard bool) { n.applier.discarding.Store(discard) }

// adoptRefetched adopts the store of a snapshot that this member has asked for, although raft had no need of it. The
// writer does it, so that nobody changes the log meanwhile.
func (n *Node) adoptRefetched(in *incoming) error {
	if _, err := n.snapshots.claim(in.at); err != nil {
		return err
	}
	refuse := func(err error) error {
		n.Logger.Warn("the state of the leader cannot be adopted", zap.Error(err))
		in.refetch.finish(err)
		in.drop()
		return nil
	}
	log := n.Replica.Log()
	if term, err := log.Term(in.at.Index); err != nil || term != in.at.Term {
		return refuse(fmt.Errorf("the log does not continue the snapshot at entry %d of term %d; try again", in.at.Index, in.at.Term))
	}
	n.Metrics.snapshotApplying.Inc()
	defer n.Metrics.snapshotApplying.Dec()
	resume, err := n.park()
	if err != nil {
		return errors.Join(err, closeStore(in.machine))
	}
	defer resume()
	// What has been handed to the applier is committed and in the log. What is behind it comes, and is applied or, up to
	// where the snapshot stands, discarded.
	if err := n.Replica.Replay(in.machine, n.applier.handed); err != nil {
		return errors.Join(fmt.Errorf("apply the log to the state of the leader: %w", err), closeStore(in.machine))
	}
	old := n.Stores.Dir.StoreName()
	if err := n.switchStore(in.name); err != nil {
		return errors.Join(err, closeStore(in.machine))
	}
	if err := in.machine.DB().ForgetAdoption(); err != nil {
		return errors.Join(err, closeStore(in.machine))
	}
	invariant.Check(in.machine.Applied().Index >= in.at.Index, "a store has gone back to entry %d", in.machine.Applied().Index)
	n.replaceMachine(in.machine, old)
	in.refetch.finish(nil)
	return nil
}
