package node

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/replica"
)

// Adoption: the store that was built of a snapshot takes the place of the current one, in a member that runs. The writer
// does it, in the place of the append in which raft says so, in steps that are each durable before the next:
//
//	1  the applier has done all that it was handed, and rests
//	2  STORE names the new store, which bears the mark that it was adopted
//	3  the log begins after the snapshot, and keeps term and vote
//	4  the mark is removed; machine, keys, leases and users are replaced in the eyes of everybody
//	5  the applier goes on; raft's answers leave
//	6  the old store is closed and removed when its last reader has gone
//
// A member that ends between 2 and 3 finds the mark at its start, and resets the log; one that ends before 2 has never
// begun, one that ends after 3 is through.

// parking is the applier's rest.
type parking struct {
	parked chan struct{} // closed by the applier when it has done all that it was handed
	resume chan struct{} // closed by the writer
}

// errStopping means that the node stops, and what was begun with it.
var errStopping = errors.New("the member is stopping")

// failUnlessStopping ends the member because of err, unless that only says that it ends anyway.
func (n *Node) failUnlessStopping(err error) {
	if !errors.Is(err, errStopping) {
		n.Fail(err)
	}
}

// park lets the applier rest when it has done all that it was handed. The caller calls resume.
func (n *Node) park() (resume func(), err error) {
	p := parking{make(chan struct{}), make(chan struct{})}
	select {
	case n.applier.park <- p:
	case <-n.stop:
		return nil, errStopping
	case <-n.failed:
		return nil, errStopping
	}
	select {
	case <-p.parked:
		return func() { close(p.resume) }, nil
	case <-n.failed: // the applier itself may have failed
		return nil, errStopping
	}
}

// rest is the applier's side of park.
func (n *Node) rest(p parking) {
	close(p.parked)
	select {
	case <-p.resume:
	case <-n.stop:
	case <-n.failed:
	}
}

// writeLog does appends, the adoptions among them included, and hands them back.
func (n *Node) writeLog(appends []*replica.Append) error {
	for len(appends) > 0 {
		if s := appends[0].Snapshot; s != nil {
			if err := n.adoptSnapshot(s.GetMetadata()); err != nil {
				return err
			}
		}
		count := 1
		for count < len(appends) && appends[count].Snapshot == nil {
			count++
		}
		n.writer.began.Store(max(1, int64(n.now())))
		synced, err := n.Replica.WriteLog(appends[:count], n.now)
		n.writer.began.Store(0)
		if err != nil {
			return err
		}
		if synced > 0 {
			n.Metrics.LogSync.Observe(synced.Seconds())
		}
		finished := make([]replica.Work, 0, count)
		for _, a := range appends[:count] {
			finished = append(finished, a)
		}
		n.loop.put(finished...)
		appends = appends[count:]
	}
	return nil
}

// adoptSnapshot adopts the store of the snapshot that raft has taken.
func (n *Node) adoptSnapshot(meta *raftpb.SnapshotMetadata) error {
	at := kind.Position{Index: kind.Index(meta.GetIndex()), Term: kind.Term(meta.GetTerm())}
	in, err := n.snapshots.claim(at)
	if err != nil {
		return err
	}
	n.Metrics.snapshotApplying.Inc()
	defer n.Metrics.snapshotApplying.Dec()
	resume, err := n.park()
	if err != nil {
		return errors.Join(err, closeStore(in.machine))
	}
	defer resume()
	old := n.Stores.Dir.StoreName()
	if err := n.switchStore(in.name); err != nil {
		return errors.Join(err, closeStore(in.machine))
	}
	if err := n.Replica.Log().Reset(at); err != nil {
		return errors.Join(fmt.Errorf("begin the log after a snapshot: %w", err), closeStore(in.machine))
	}
	if err := in.machine.DB().ForgetAdoption(); err != nil {
		return errors.Join(err, closeStore(in.machine))
	}
	n.replaceMachine(in.machine, old)
	if in.refetch != nil {
		in.refetch.finish(nil)
	}
	return nil
}

// switchStore makes the store in the directory of this name current, on the disk.
func (n *Node) switchStore(name string) error {
	n.stores.dir.Lock()
	defer n.stores.dir.Unlock()
	if err := n.Stores.Dir.SwitchStore(name); err != nil {
		return fmt.Errorf("adopt the store of a snapshot: %w", err)
	}
	return nil
}

// replaceMachine makes m the machine in the eyes of everybody, while the applier rests. oldName is the directory of the
// store before.
func (n *Node) replaceMachine(m *machine.Machine, oldName string) {
	old := n.Replica.Machine()
	// Of what was under way nobody knows whether it is in the snapshot.
	n.queue.abandon(ErrTimeoutLeaderLoss)
	n.Replica.Adopt(m)
	n.SetDiscarding(false)
	applied := m.State()
	n.applied.Store(&applied)
	n.tellPeers()
	n.Metrics.applied(applied)
	n.Metrics.snapshotsAdopted.Inc()
	n.sweeper.replaced(m.KV().Compacted(), m.KV().Deleted())
	n.hub.Rebase(m.KV())
	n.digests.put(digestEvent{adopted: true})
	n.alarmsApplied()
	n.retire(oldName, old, retireGrace)
	n.Logger.Info("adopted a snapshot", zap.Uint64("index", uint64(applied.Position.Index)), zap.Uint64("term", uint64(applied.Position.Term)),
		zap.Int64("revision", int64(applied.Revision)))
	n.loop.ring()
}
