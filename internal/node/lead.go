package node

import (
	"context"
	"time"

	"go.etcd.io/raft/v3"
	"go.uber.org/zap"

	"holdfast/internal/kind"
	"holdfast/internal/replica"
)

// handOverTime is how long a member that stops, or whose disk has failed, waits at most for another to lead.
const handOverTime = 500 * time.Millisecond

// successor returns the voter that should lead next: the connected one whose log is the longest, if it holds the log
// up to least. Those that not excludes do not count, nor those whose state is wrong.
func (l *loopState) successor(not func(kind.MemberID) bool, least kind.Index) (id kind.MemberID, found bool) {
	l.progress = l.Replica.Followers(l.progress[:0])
	var best kind.Index
	for _, f := range l.progress {
		if f.Learner || f.State == replica.Snapshotting || f.Match < least || not != nil && not(f.ID) || l.isCorrupt(f.ID) {
			continue
		}
		if _, connected := l.Transport.Active(f.ID); !connected && !f.Active {
			continue
		}
		if !found || f.Match > best {
			id, best, found = f.ID, f.Match, true
		}
	}
	return id, found
}

// TransferLeadership makes a member the leader and returns when it is. It is called on the leader. The errors are
// ErrNotLeader, ErrBadLeaderTransferee if the other is no voter of the cluster, ErrTimeoutLeaderTransfer if it did not
// come to it before ctx ended or within the time for a request, and ErrStopped.
func (n *Node) TransferLeadership(ctx context.Context, to kind.MemberID) error {
	if s := n.Status(); !s.Leading {
		return ErrNotLeader
	}
	voter := false
	for _, m := range n.Replica.Machine().Members() {
		voter = voter || m.ID == to && !m.Learner
	}
	if !voter {
		return ErrBadLeaderTransferee
	}
	if to == n.Identity.Member {
		return nil
	}
	timeout := n.Clock.NewTimer(n.requestTimeout())
	defer timeout.Stop()
	n.order(func(l *loopState) error {
		l.Replica.Transfer(to)
		return nil
	})
	for {
		changed := n.LeaderChanged()
		if n.Status().Leader == to {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ErrTimeoutLeaderTransfer
		case <-timeout.C():
			return ErrTimeoutLeaderTransfer
		case <-n.stop:
			return ErrStopped
		case <-n.failed:
			return ErrStopped
		}
	}
}

// LeaderChanged returns a channel that is closed when the leader that this member knows, or the term, next changes. Who
// wants to miss none asks for it before the status.
func (n *Node) LeaderChanged() <-chan struct{} { return *n.changed.Load() }

// handOver lets another member lead before this one stops, so that clients do not wait for an election.
func (n *Node) handOver() {
	if s := n.Status(); !s.Leading || s.SoleVoter {
		return
	}
	timeout := n.Clock.NewTimer(min(handOverTime, n.ElectionTimeout))
	defer timeout.Stop()
	n.order(func(l *loopState) error {
		if to, found := l.successor(nil, 0); found {
			l.Logger.Info("handing over before this member stops", zap.Stringer("to", to))
			l.Replica.Transfer(to)
		}
		return nil
	})
	for {
		changed := n.LeaderChanged()
		if s := n.Status(); !s.Leading && s.Leader != 0 {
			return
		}
		select {
		case <-changed:
		case <-timeout.C():
			return
		case <-n.failed:
			return
		}
	}
}

// abdicate lets another member lead after this one's disk has failed. Nothing is appended, applied or acknowledged any
// more (N4), but messages still go both ways.
func (l *loopState) abdicate(ticks <-chan time.Time) {
	l.failing = true
	to, found := l.successor(nil, 0)
	if l.state.Role != raft.StateLeader || !found {
		return
	}
	l.Logger.Info("handing over because this member has failed", zap.Stringer("to", to))
	l.Replica.Transfer(to)
	until := l.now() + min(handOverTime, l.ElectionTimeout)
	for l.state.Role == raft.StateLeader && l.now() < until {
		l.urgent, l.data, _ = l.inbox.take(l.urgent, l.data)
		for _, m := range append(l.urgent, l.data...) {
			if err := l.receive(m); err != nil {
				return
			}
		}
		if err := l.dispatch(); err != nil {
			return
		}
		select {
		case <-ticks:
			l.Replica.Tick()
		case <-l.loop.wake:
		}
	}
}

// stalled hands over when a sync has taken longer than half an election timeout, to a member that has on its disk what
// this one cannot bring to its own: the disk is the one that is slow, not the load.
func (l *loopState) stalled() {
	began := l.writer.began.Load()
	if began == 0 || l.state.Role != raft.StateLeader || l.state.Transferee != 0 || l.now()-time.Duration(began) <= l.ElectionTimeout/2 {
		return
	}
	if to, found := l.successor(nil, l.state.Last); found {
		l.Logger.Warn("handing over because the disk is slow", zap.Duration("sync", l.now()-time.Duration(began)), zap.Stringer("to", to))
		l.Replica.Transfer(to)
	}
}

// advance lets a member that starts campaign sooner (--initial-election-tick-advance): once it is connected with enough
// others to win, it goes on as if an election timeout but two ticks had passed without a leader.
func (l *loopState) advance() {
	if l.advanced || l.state.Leader != 0 || l.now()-l.started > advanceTime {
		l.advanced = true
		return
	}
	connected, voters := 0, l.Replica.Machine().ConfState().GetVoters()
	for _, id := range voters {
		if _, ok := l.Transport.Active(kind.MemberID(id)); ok || kind.MemberID(id) == l.Identity.Member {
			connected++
		}
	}
	if connected <= len(voters)/2 {
		return
	}
	l.advanced = true
	for range max(0, int(l.ElectionTimeout/l.TickInterval)-2) {
		l.Replica.Tick()
	}
}

// advanceTime is how long after the start the first election may be brought forward.
const advanceTime = 5 * time.Second
