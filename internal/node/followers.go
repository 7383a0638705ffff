package node

import (
	"sort"
	"time"

	"go.etcd.io/raft/v3"

	"holdfast/internal/kind"
	"holdfast/internal/replica"
)

// Follower is what a leader knows of another member.
type Follower = replica.Follower

// Followers lists what this member, as leader, knows of the others, ordered by id, not older than a tick; nothing on a
// member that does not lead. The caller must not change the answer.
func (n *Node) Followers() []Follower {
	if list := n.followers.Load(); list != nil {
		return *list
	}
	return nil
}

// publishFollowers lets others see the followers, once a tick.
func (l *loopState) publishFollowers() {
	if l.state.Role != raft.StateLeader {
		if l.Node.followers.Load() != nil {
			l.Node.followers.Store(nil)
			clear(l.heard)
		}
		return
	}
	list := l.Replica.Followers(nil)
	if l.heard == nil {
		l.heard = make(map[kind.MemberID]time.Duration)
	}
	for i := range list {
		f := &list[i]
		if f.Active {
			l.heard[f.ID] = l.now()
		}
		// raft forgets once in an election timeout who has answered, and hears of it again with the next heartbeat.
		at, heard := l.heard[f.ID]
		f.Active = heard && l.now()-at <= l.ElectionTimeout
	}
	l.Node.followers.Store(&list)
}

// evictable returns up to where the log may drop entries from memory: they are applied, and every follower that keeps up
// has them, so that the loop need not read files for it. The log bounds its memory by itself.
func (n *Node) evictable() kind.Index {
	through := n.applied.Load().Position.Index
	for _, f := range n.Followers() {
		if f.State == replica.Replicating && f.Active {
			through = min(through, f.Match)
		}
	}
	return through
}

// kept is what the keeper remembers of the followers for which it keeps the log.
type kept struct {
	matches map[kind.MemberID]progress
}

// progress is how far a follower has come, and since when it has come no further.
type progress struct {
	match kind.Index
	since time.Duration
}

// stale notes how far a follower has come and reports whether that was too long ago.
func (k *kept) stale(f Follower, now, most time.Duration) bool {
	if k.matches == nil {
		k.matches = make(map[kind.MemberID]progress)
	}
	p, known := k.matches[f.ID]
	if !known || f.Match != p.match {
		k.matches[f.ID] = progress{f.Match, now}
		return false
	}
	return now-p.since > most
}

// cutThrough returns up to where the log may be cut: never above what the store has flushed (N3), and below it by what
// the other members may need (I3). While the disk is short of room it is kept for nobody.
func (n *Node) cutThrough(k *kept, durable kind.Index) kind.Index {
	log := n.Replica.Log()
	if n.status.Load().SoleVoter || n.space.short.Load() {
		return durable
	}
	through := durable
	if last := log.LastIndex(); uint64(last) < n.CatchUpEntries {
		through = 0
	} else {
		through = min(through, last-kind.Index(n.CatchUpEntries))
	}
	for _, f := range n.Followers() {
		if k.stale(f, n.now(), n.KeepLogTime) {
			continue
		}
		switch {
		case f.State == replica.Snapshotting:
			through = min(through, f.Snapshot)
		case f.Active:
			through = min(through, f.Match)
		}
	}
	// What is kept is bounded: the lowest index from which on it fits.
	through = min(through, durable)
	return through + kind.Index(sort.Search(int(durable-through), func(i int) bool {
		return log.SizeSince(through+kind.Index(i)) <= n.KeepLogBytes
	}))
}
