package node

import (
	"errors"
	"time"

	"go.etcd.io/raft/v3"

	"holdfast/internal/command"
	"holdfast/internal/lease"
)

// What the duties about leases need of a node.

// timeInterval is how old the youngest entry must be before one is made that carries only time.
const timeInterval = 250 * time.Millisecond

// Leases is the table of leases, for readers.
func (n *Node) Leases() *lease.Table { return n.Replica.Machine().Leases() }

// ClusterTime returns the time of the cluster in nanoseconds. leading says that this member leads and that its duties
// have begun; then it is the time that an entry made now would carry, otherwise that of the last entry it has applied.
func (n *Node) ClusterTime() (elapsed uint64, leading bool) {
	applied := n.applied.Load().Elapsed
	if l := n.leading.Load(); l != nil && l.began && !n.quarantine.isolated.Load() {
		return max(applied, n.elapsed()), true
	}
	return applied, false
}

// LogTime sees to it that the log learns the time: if this member leads and its last entry is older than 250 ms, it
// makes one that carries only time. Called as often, it keeps the time that a change of leader loses below 500 ms. It
// does not wait.
func (n *Node) LogTime() {
	if !n.queue.timeWanted.Swap(true) {
		n.loop.ring()
	}
}

// logTime makes an entry that carries only time, if one is wanted and due.
func (l *loopState) logTime() error {
	if !l.queue.timeWanted.Swap(false) || l.state.Role != raft.StateLeader || l.now()-l.packed < timeInterval {
		return nil
	}
	if _, leading := l.ClusterTime(); !leading {
		return nil
	}
	err := l.Replica.Propose(command.AppendEntryHeader(nil, l.elapsed(), l.Clock.Wall().UnixNano(), 0))
	if err != nil && !errors.Is(err, raft.ErrProposalDropped) {
		return err
	}
	l.packed = l.now()
	return l.dispatch()
}

// ApplyTime returns how long the applier has been at work since the start, in all.
func (n *Node) ApplyTime() time.Duration { return time.Duration(n.applier.busy.Load()) }
