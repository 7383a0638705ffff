package member

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// cluster describes members of a test: v a voter that has started, n a voter that has not, l a learner, x one that was
// removed. Their ids are 1, 2, ... and their peer URLs "u1", "u2", ...
func cluster(kinds string) (members []Member, cs *raftpb.ConfState) {
	cs = &raftpb.ConfState{}
	for i, k := range kinds {
		m := Member{ID: kind.MemberID(i + 1), Name: "started", PeerURLs: []string{"u" + string(rune('1'+i))}}
		switch k {
		case 'n':
			m.Name = ""
		case 'l':
			m.Learner = true
		case 'x':
			m.Removed = true
		}
		members = append(members, m)
	}
	return members, Configuration(slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return m.Removed }))
}

// peers describes what the leader, 1, knows of 1, 2, ...: s settled and in sync, c connected for a short time and in
// sync, d gone and in sync, b settled and behind, - nothing.
func peers(kinds string) map[kind.MemberID]Peer {
	known := make(map[kind.MemberID]Peer)
	for i, k := range kinds {
		p := Peer{Connected: k != 'd', Settled: k != 'c' && k != 'd', Match: 1000}
		if k == 'b' {
			p.Match = 899
		}
		if k == 'e' {
			p.Match = 900
		}
		if k != '-' {
			known[kind.MemberID(i+1)] = p
		}
	}
	return known
}

// Each refusal of etcd's, in the order in which etcd finds it, and what is allowed right beside it.
func TestCheck(t *testing.T) {
	add := func(id kind.MemberID, url string) []command.MemberStep {
		return []command.MemberStep{{Op: command.AddVoter, ID: id, PeerURLs: []string{url}}}
	}
	learner := func(id kind.MemberID, url string) []command.MemberStep {
		return []command.MemberStep{{Op: command.AddLearner, ID: id, PeerURLs: []string{url}}}
	}
	remove := func(id kind.MemberID) []command.MemberStep {
		return []command.MemberStep{{Op: command.RemoveMember, ID: id}}
	}
	promote := func(id kind.MemberID) []command.MemberStep {
		return []command.MemberStep{{Op: command.PromoteMember, ID: id}}
	}
	for _, c := range []struct {
		name    string
		members string
		peers   string
		steps   []command.MemberStep
		strict  error // with strict-reconfig-check
		lax     error // without
	}{
		{"a second member", "v", "s", add(9, "u9"), nil, nil},
		{"a third member before the second has started", "vn", "sd", add(9, "u9"), ErrNotEnoughStarted, nil},
		{"a third member", "vv", "ss", add(9, "u9"), nil, nil},
		{"a third member when the second is there for a moment", "vv", "sc", add(9, "u9"), ErrUnhealthy, nil},
		{"a third member when the second is gone", "vv", "sd", add(9, "u9"), ErrUnhealthy, nil},
		{"a fourth member", "vvv", "sss", add(9, "u9"), nil, nil},
		{"a fourth member when one is gone", "vvv", "ssd", add(9, "u9"), ErrUnhealthy, nil},
		{"a fourth member when one has not started", "vvn", "sss", add(9, "u9"), ErrNotEnoughStarted, nil},
		{"a fifth member when one is gone", "vvvv", "sssd", add(9, "u9"), nil, nil},
		{"a sixth member when one is gone", "vvvvv", "ssssd", add(9, "u9"), nil, nil},
		{"a sixth member when two are gone", "vvvvv", "sssdd", add(9, "u9"), ErrUnhealthy, nil},
		{"learners do not count as started", "vnl", "sss", add(9, "u9"), ErrNotEnoughStarted, nil},
		{"an id that is there", "vv", "ss", add(2, "u9"), ErrIDExists, ErrIDExists},
		{"an id that was removed", "vvx", "ss", add(3, "u9"), ErrIDRemoved, ErrIDRemoved},
		{"a URL that is there", "vv", "ss", add(9, "u2"), ErrPeerURLExists, ErrPeerURLExists},
		{"a URL that is there comes after a majority that is not", "vv", "sd", add(9, "u2"), ErrUnhealthy, ErrPeerURLExists},
		{"a URL of one that was removed", "vvx", "ss", add(9, "u3"), nil, nil},

		{"a learner", "v", "s", learner(9, "u9"), nil, nil},
		{"a learner when one has not started", "vvn", "sss", learner(9, "u9"), nil, nil},
		{"a learner when one is gone", "vvv", "ssd", learner(9, "u9"), nil, nil}, // etcd refuses it
		{"a learner when the majority is gone", "vvv", "sdd", learner(9, "u9"), ErrUnhealthy, nil},
		{"a second learner", "vl", "ss", learner(9, "u9"), ErrTooManyLearners, ErrTooManyLearners},
		{"a second learner at a URL that is there", "vl", "ss", learner(9, "u2"), ErrPeerURLExists, ErrPeerURLExists},
		{"a voter beside a learner", "vl", "ss", add(9, "u9"), nil, nil},
		{"a learner after one was removed", "vx", "s", learner(9, "u9"), nil, nil},

		{"the only member", "v", "s", remove(1), ErrNotEnoughStarted, ErrNotEnoughStarted},
		{"the only voter", "vl", "ss", remove(1), ErrNotEnoughStarted, ErrNotEnoughStarted},
		{"a stranger, of one", "v", "s", remove(9), ErrIDNotFound, ErrIDNotFound},
		{"a stranger", "vvv", "sss", remove(9), ErrIDNotFound, ErrIDNotFound},
		{"one that was removed", "vvvx", "sss", remove(4), ErrIDRemoved, ErrIDRemoved},
		{"one of three", "vvv", "sss", remove(3), nil, nil},
		{"the leader of three", "vvv", "sss", remove(1), nil, nil},
		{"one of three that is gone", "vvv", "ssd", remove(3), nil, nil},
		{"one of three while another is gone", "vvv", "ssd", remove(2), ErrUnhealthy, nil},
		{"the leader of three while another is gone", "vvv", "ssd", remove(1), ErrUnhealthy, nil},
		{"one of three while another has just come", "vvv", "ssc", remove(2), ErrUnhealthy, nil},
		{"one that started, and one that has not stays", "vvn", "sss", remove(2), ErrNotEnoughStarted, nil},
		{"one that has not started", "vvn", "ssd", remove(3), nil, nil},
		{"the second of two", "vv", "ss", remove(2), nil, nil},
		{"a learner goes whatever else", "vnl", "sdd", remove(3), nil, nil},

		{"a learner in sync", "vl", "ss", promote(2), nil, nil},
		{"a learner that is behind", "vl", "sb", promote(2), ErrLearnerNotReady, ErrLearnerNotReady},
		{"a learner that is nine tenths there", "vl", "se", promote(2), nil, nil},
		{"a learner that raft does not know", "vl", "s", promote(2), ErrIDNotFound, ErrIDNotFound},
		{"a stranger to promote", "vl", "ss", promote(9), ErrIDNotFound, ErrIDNotFound},
		{"a voter to promote", "vvl", "sss", promote(2), ErrNotLearner, ErrNotLearner},
		{"a voter that is behind", "vvl", "sbs", promote(2), ErrLearnerNotReady, ErrLearnerNotReady},
		{"a learner when a voter has not started", "vnl", "sds", promote(3), nil, nil},
		{"a learner when two voters have not started", "vnnl", "sdds", promote(4), ErrNotEnoughStarted, nil},

		{"a learner for one that is gone", "vvvl", "ssds", append(promote(4), remove(3)...), nil, nil},
		{"one that is gone for a learner", "vvvl", "ssds", append(remove(3), promote(4)...), nil, nil},
		{"a learner for one that is there", "vvvl", "ssss", append(promote(4), remove(3)...), nil, nil},
		{"a learner behind for one that is gone", "vvvl", "ssdb", append(remove(3), promote(4)...), ErrLearnerNotReady, ErrLearnerNotReady},
		{"two new at one URL", "vvv", "sss", append(add(8, "u9"), add(9, "u9")...), ErrPeerURLExists, ErrPeerURLExists},
		{"two of three", "vvv", "sss", append(remove(2), remove(3)...), nil, nil},
		{"everybody", "vv", "ss", append(remove(1), remove(2)...), ErrNotEnoughStarted, ErrNotEnoughStarted},
		{"nothing", "v", "s", nil, command.ErrMemberChange, command.ErrMemberChange},
		{"one twice", "vv", "ss", append(remove(2), add(2, "u9")...), command.ErrMemberChange, command.ErrMemberChange},
	} {
		members, cs := cluster(c.members)
		before := slices.Clone(members)
		for _, strict := range []bool{true, false} {
			want := c.lax
			if strict {
				want = c.strict
			}
			err := Check(command.MemberChange{Steps: c.steps}, members, cs, Activity{Leader: 1, Peers: peers(c.peers), Strict: strict, MaxLearners: 1})
			if err != want && !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s (strict %v): %v, want %v", c.name, strict, err, want)
			}
		}
		if !slices.EqualFunc(before, members, Member.Equal) {
			t.Errorf("%s: the members have changed", c.name)
		}
	}
	members, cs := cluster("vvv")
	cs.VotersOutgoing = []uint64{1, 2}
	if err := Check(command.MemberChange{Steps: remove(3)}, members, cs, Activity{Leader: 1, Peers: peers("sss")}); err != ErrUnderWay {
		t.Errorf("in a joint configuration: %v", err)
	}
}

// Other peer URLs are refused to who is not there, and those of others to everybody.
func TestCheckUpdate(t *testing.T) {
	members, _ := cluster("vvxl")
	for _, c := range []struct {
		id   kind.MemberID
		urls []string
		want error
	}{
		{1, []string{"u9"}, nil}, {1, []string{"u1"}, nil}, {1, []string{"u3"}, nil}, {1, nil, nil}, {4, []string{"u8", "u9"}, nil},
		{1, []string{"u9", "u2"}, ErrPeerURLExists}, {1, []string{"u4"}, ErrPeerURLExists},
		{3, []string{"u2"}, ErrIDRemoved}, {9, []string{"u2"}, ErrIDNotFound},
	} {
		if err := CheckUpdate(command.MemberUpdate{ID: c.id, PeerURLs: c.urls}, members); err != c.want {
			t.Errorf("%v to %v: %v, want %v", c.id, c.urls, err, c.want)
		}
	}
}

// An id depends on the cluster, the URLs in any order and the time, and is none that a record has.
func TestNewID(t *testing.T) {
	urls := []string{"b", "a"}
	id := NewID(1, urls, 5, nil)
	if id == 0 || id != NewID(1, []string{"a", "b"}, 5, nil) || urls[0] != "b" {
		t.Errorf("id %v of %v", id, urls)
	}
	for _, other := range []kind.MemberID{NewID(2, urls, 5, nil), NewID(1, []string{"a"}, 5, nil), NewID(1, urls, 6, nil),
		NewID(1, urls, 5, []Member{{ID: id}}), NewID(1, urls, 5, []Member{{ID: id, Removed: true}})} {
		if other == id {
			t.Errorf("id %v is given twice", id)
		}
	}
}

// Whatever is allowed, raft can do, and the records follow raft's configuration: nobody is lost, nobody comes back, who
// votes is no learner, and somebody votes always.
func TestFollowRaft(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 7))
	done := map[command.MemberOp]int{}
	joint := 0
	for range 300 {
		members, cs := cluster("vvvl"[:1+rng.IntN(4)])
		track := tracker.MakeProgressTracker(10, 0)
		cfg, progress, err := confchange.Restore(confchange.Changer{Tracker: track, LastIndex: 1}, cs)
		if err != nil {
			t.Fatal(err)
		}
		next := kind.MemberID(20)
		for range 40 {
			known := make(map[kind.MemberID]Peer)
			for _, m := range members {
				if !m.Removed {
					known[m.ID] = Peer{Connected: true, Settled: rng.IntN(4) > 0, Match: 1}
				}
			}
			var change command.MemberChange
			for range 1 + rng.IntN(3) {
				s := command.MemberStep{Op: command.MemberOp(1 + rng.IntN(4)), ID: members[rng.IntN(len(members))].ID}
				if s.Op <= command.AddLearner {
					s.ID, s.PeerURLs = next, []string{"n" + next.String()}
					next++
				}
				change.Steps = append(change.Steps, s)
			}
			if Check(change, members, cs, Activity{Leader: members[0].ID, Peers: known, Strict: rng.IntN(2) == 0, MaxLearners: 2}) != nil {
				continue
			}
			for _, s := range change.Steps {
				done[s.Op]++
			}
			cc := Proposal(change, []byte("context"))
			changer := confchange.Changer{Tracker: tracker.ProgressTracker{Config: cfg, Progress: progress, MaxInflight: 10}, LastIndex: 1}
			auto, isJoint := cc.EnterJoint()
			if isJoint {
				joint++
				cfg, progress, err = changer.EnterJoint(auto, cc.GetChanges()...)
			} else {
				cfg, progress, err = changer.Simple(cc.GetChanges()...)
			}
			if err != nil {
				t.Fatalf("raft refuses %+v of %v: %v", change, cs, err)
			}
			for round := range 2 {
				conf := tracker.ProgressTracker{Config: cfg, Progress: progress}
				now := conf.ConfState()
				records := apply(t, members, Follow(members, change, now))
				follows(t, records, now)
				members, cs = records, now
				if round == 0 && isJoint {
					if !now.GetAutoLeave() {
						t.Fatal("the joint configuration is not left by itself")
					}
					change = command.MemberChange{}
					changer = confchange.Changer{Tracker: tracker.ProgressTracker{Config: cfg, Progress: progress, MaxInflight: 10}, LastIndex: 1}
					if cfg, progress, err = changer.LeaveJoint(); err != nil {
						t.Fatal(err)
					}
					continue
				}
				break
			}
		}
	}
	for op := command.AddVoter; op <= command.RemoveMember; op++ {
		if done[op] < 100 {
			t.Errorf("operation %d was done %d times", op, done[op])
		}
	}
	if joint < 100 {
		t.Errorf("%d joint configurations", joint)
	}
}

func apply(t *testing.T, members, changed []Member) []Member {
	members = slices.Clone(members)
	for _, m := range changed {
		i, found := slices.BinarySearchFunc(members, m, byID)
		switch {
		case !found:
			members = slices.Insert(members, i, m)
		case members[i].Removed:
			t.Fatalf("%v comes back", m.ID)
		default:
			members[i] = m
		}
	}
	return members
}

func follows(t *testing.T, members []Member, cs *raftpb.ConfState) {
	t.Helper()
	if len(cs.GetVoters()) == 0 {
		t.Fatal("nobody votes")
	}
	in := func(list []uint64, id kind.MemberID) bool { return slices.Contains(list, uint64(id)) }
	total := 0
	for _, m := range members {
		votes := in(cs.GetVoters(), m.ID) || in(cs.GetVotersOutgoing(), m.ID)
		learns := in(cs.GetLearners(), m.ID) || in(cs.GetLearnersNext(), m.ID)
		if m.Removed == (votes || learns) || m.Learner != learns {
			t.Fatalf("%+v in %v", m, cs)
		}
		if Leaving(m.ID, cs) != (in(cs.GetVotersOutgoing(), m.ID) && !in(cs.GetVoters(), m.ID) && !learns) {
			t.Fatalf("%v leaves %v: %v", m.ID, cs, Leaving(m.ID, cs))
		}
		if votes || learns {
			total++
		}
	}
	named := map[uint64]bool{}
	for _, list := range [][]uint64{cs.GetVoters(), cs.GetVotersOutgoing(), cs.GetLearners(), cs.GetLearnersNext()} {
		for _, id := range list {
			named[id] = true
		}
	}
	if len(named) != total {
		t.Fatalf("%v names %d, the records have %d", cs, len(named), total)
	}
}
