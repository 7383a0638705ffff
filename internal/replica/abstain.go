package replica

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// abstention is how a member takes part that must not lead: it stores the log and votes, and does not stand for election.
// raft has no such role. So a follower's time stands still, and with it the election that it would call; that its leader
// has gone quiet, for which it would otherwise need that time, it is told.
type abstention struct {
	on       bool
	election int // ticks without a leader before others may be voted for
	silent   int // ticks since the leader was last heard
}

// Abstain says whether the member stays out of elections from now on. One that leads goes on to until it has handed over,
// which is its owner's business.
func (r *Replica) Abstain(on bool) {
	r.abstention.on, r.abstention.silent = on, 0
}

// idle is the tick of a member that abstains. It reports false for one that has to be ticked all the same.
func (r *Replica) idle() bool {
	a := &r.abstention
	if !a.on {
		return false
	}
	switch s := r.raw.BasicStatus(); {
	case s.RaftState == raft.StateLeader:
		return false
	case s.Lead == raft.None:
	default:
		// A follower that has heard its leader in this time turns everybody away who wants its vote (Raft thesis, section
		// 6.4.1); without a leader it listens.
		if a.silent++; a.silent >= a.election {
			a.silent = 0
			_ = r.raw.ForgetLeader() // the error is only about leases, which are not used
		}
	}
	return true
}

// turnedDown looks at a message for a member that abstains: one that asks it to lead is dropped.
func (r *Replica) turnedDown(m *raftpb.Message) bool {
	a := &r.abstention
	if !a.on {
		return false
	}
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgHeartbeat, raftpb.MsgSnap:
		a.silent = 0
	case raftpb.MsgTimeoutNow:
		return true
	}
	return false
}
