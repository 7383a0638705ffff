package member

import (
	"cmp"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// HealthInterval is how long, in nanoseconds, a member has to have been connected to count for a majority that a
// change of the membership must keep.
const HealthInterval = 5_000_000_000

// readyPercent is how much of the leader's log a learner must hold to be promoted.
const readyPercent = 90

// Peer is what the leader knows about another member, or about itself.
type Peer struct {
	Connected bool       // there is a connection now
	Settled   bool       // there has been one for HealthInterval
	Match     kind.Index // the last entry of the leader's log that the member is known to hold
}

// Activity is what Check has to know beside the members: how the cluster does, as its leader sees it, and two
// settings of the leader's.
type Activity struct {
	Leader      kind.MemberID          // who checks; it is connected with itself, always
	Peers       map[kind.MemberID]Peer // everybody in Raft's configuration; Match of the leader is the end of its log
	Strict      bool                   // protect the majority: strict-reconfig-check
	MaxLearners int                    // how many learners there may be
}

func (a *Activity) settled(id kind.MemberID) bool { return id == a.Leader || a.Peers[id].Settled }

// Check decides whether change may be proposed to a cluster of these members (the removed ones included, see Load) in
// this configuration. It is called by the leader, which proposes one change at a time, when all earlier ones are
// applied. Steps are looked at one after the other, each with the members that the steps before it leave. The
// refusals are those of this package and command.ErrMemberChange, in the order in which etcd finds them.
func Check(change command.MemberChange, members []Member, cs *raftpb.ConfState, a Activity) error {
	if err := change.Check(); err != nil {
		return err
	}
	if len(cs.GetVotersOutgoing()) > 0 {
		return ErrUnderWay
	}
	members = slices.Clone(members)
	for _, s := range change.Steps {
		i := slices.IndexFunc(members, func(m Member) bool { return m.ID == s.ID })
		var err error
		switch s.Op {
		case command.AddVoter, command.AddLearner:
			err = checkAdd(s, members, i, &a)
			members = append(members, Member{ID: s.ID, PeerURLs: s.PeerURLs, Learner: s.Op == command.AddLearner})
		case command.PromoteMember:
			if err = checkPromote(s.ID, members, i, &a); err == nil {
				// One that is in sync has started, whether it has said its name yet or not.
				members[i].Learner, members[i].Name = false, cmp.Or(members[i].Name, "started")
			}
		case command.RemoveMember:
			if err = checkRemove(s.ID, members, i, &a); err == nil {
				members[i].Removed = true
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// CheckUpdate decides whether a member may get other peer URLs.
func CheckUpdate(u command.MemberUpdate, members []Member) error {
	i := slices.IndexFunc(members, func(m Member) bool { return m.ID == u.ID })
	switch {
	case i < 0:
		return ErrIDNotFound
	case members[i].Removed:
		return ErrIDRemoved
	case taken(u.PeerURLs, members, u.ID):
		return ErrPeerURLExists
	}
	return nil
}

// checkAdd decides about a member that is added; at is where a member of that id is in the list, below 0 if nowhere.
func checkAdd(s command.MemberStep, members []Member, at int, a *Activity) error {
	voters, started, settled := count(members, 0, a)
	if a.Strict {
		// The second member of a cluster of one may come before it has started: there is no other way to two.
		alone := voters == 1 && started == 1
		if s.Op == command.AddVoter && !alone && started < majority(voters+1) {
			return ErrNotEnoughStarted
		}
		// The new voter counts as one that is not there, except beside a single one. A learner changes no majority: the
		// one that there is has to be there.
		after := voters + 1
		if s.Op == command.AddLearner {
			after = voters
		}
		if voters > 1 && settled < majority(after) {
			return ErrUnhealthy
		}
	}
	switch {
	case at >= 0 && members[at].Removed:
		return ErrIDRemoved
	case at >= 0:
		return ErrIDExists
	case taken(s.PeerURLs, members, 0):
		return ErrPeerURLExists
	}
	if s.Op == command.AddLearner {
		learners := 0
		for _, m := range members {
			if m.Learner && !m.Removed {
				learners++
			}
		}
		if learners+1 > a.MaxLearners {
			return ErrTooManyLearners
		}
	}
	return nil
}

func checkPromote(id kind.MemberID, members []Member, at int, a *Activity) error {
	peer, known := a.Peers[id]
	switch {
	case !known:
		return ErrIDNotFound
	case peer.Match*100 < a.Peers[a.Leader].Match*readyPercent:
		return ErrLearnerNotReady
	}
	if voters, started, _ := count(members, 0, a); a.Strict && started+1 < majority(voters+1) {
		return ErrNotEnoughStarted
	}
	switch {
	case at < 0:
		return ErrIDNotFound
	case members[at].Removed:
		return ErrIDRemoved
	case !members[at].Learner:
		return ErrNotLearner
	}
	return nil
}

func checkRemove(id kind.MemberID, members []Member, at int, a *Activity) error {
	there := at >= 0 && !members[at].Removed
	if there && members[at].Learner {
		return nil
	}
	left, started, _ := count(members, id, a)
	if there && left == 0 {
		return ErrNotEnoughStarted // nobody would be left to say so
	}
	if a.Strict {
		if started < majority(left) {
			return ErrNotEnoughStarted
		}
		// One that is not there is no part of any majority that works.
		if gone := id != a.Leader && !a.Peers[id].Connected; !gone {
			if voters, _, settled := count(members, 0, a); settled-1 < majority(voters-1) {
				return ErrUnhealthy
			}
		}
	}
	switch {
	case at < 0:
		return ErrIDNotFound
	case members[at].Removed:
		return ErrIDRemoved
	}
	return nil
}

// count counts the voters, all but one, those of them that have started, and those that have been connected for long
// enough.
func count(members []Member, but kind.MemberID, a *Activity) (voters, started, settled int) {
	for _, m := range members {
		if m.Removed || m.Learner || m.ID == but {
			continue
		}
		voters++
		if m.Name != "" {
			started++
		}
		if a.settled(m.ID) {
			settled++
		}
	}
	return voters, started, settled
}

func majority(n int) int { return n/2 + 1 }

// taken reports whether one of the URLs is that of a member, all but one.
func taken(urls []string, members []Member, but kind.MemberID) bool {
	for _, m := range members {
		if m.Removed || m.ID == but {
			continue
		}
		for _, u := range urls {
			if slices.Contains(m.PeerURLs, u) {
				return true
			}
		}
	}
	return false
}
