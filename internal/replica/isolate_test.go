package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/store"
	"holdfast/internal/wal"
)

// elect makes the first peer lead and commits some entries everywhere.
func elect(t *testing.T, peers []*peer) {
	t.Helper()
	must(t, peers[0].Campaign())
	exchange(peers, nil)
	if peers[0].State().Role != raft.StateLeader {
		t.Fatal("no leader")
	}
	for n := range uint64(5) {
		must(t, peers[0].Propose(entry(n+1)))
	}
	exchange(peers, nil)
}

// exchange does all the work there is, and delivers messages but those that are dropped.
func exchange(peers []*peer, drop func(m *raftpb.Message) bool) {
	for {
		var sent []*raftpb.Message
		for _, p := range peers {
			if p.machine == nil {
				continue
			}
			p.settle()
			sent = append(sent, p.sent...)
			p.sent = nil
		}
		if len(sent) == 0 {
			return
		}
		for _, m := range sent {
			i := slices.IndexFunc(peers, func(p *peer) bool { return uint64(p.id.Member) == m.GetTo() })
			if i >= 0 && peers[i].machine != nil && (drop == nil || !drop(m)) {
				must(peers[i].t, peers[i].Receive(m))
			}
		}
	}
}

// isolate stops a peer, makes it a cluster of its own, and starts it again.
func (p *peer) isolate() (left []kind.MemberID, err error) {
	p.t.Helper()
	left, err = Isolate(p.id.Member, p.log, p.machine)
	p.applied = nil
	if closeErr := errors.Join(p.machine.Close(), p.log.Close(), p.db.Close(false)); closeErr != nil {
		p.t.Fatal(closeErr)
	}
	p.machine = nil
	must(p.t, p.open())
	return left, err
}

// alone requires that a peer is a whole cluster by itself: it is elected, writes, and remembers no other member.
func (p *peer) alone() {
	p.t.Helper()
	p.settle() // what is committed is applied first
	must(p.t, p.Campaign())
	p.settle()
	must(p.t, p.Propose(entry(1000)))
	p.settle()
	if s := p.State(); s.Role != raft.StateLeader || !s.SoleVoter {
		p.t.Errorf("the survivor is %v, the sole voter: %v", s.Role, s.SoleVoter)
	}
	if len(p.applied) == 0 || p.applied[len(p.applied)-1] != 1000 {
		p.t.Errorf("the survivor has applied %v", p.applied)
	}
	if members := p.machine.Members(); len(members) != 1 || members[0].ID != p.id.Member {
		p.t.Errorf("the survivor's members are %v", members)
	}
	p.sent = nil
}

// The last survivor of three keeps its data and the entries that it does not know to be committed, also when it
// was only a learner, and the others are removed for good; doing it twice changes nothing.
func TestIsolate(t *testing.T) {
	for _, who := range []string{"leader", "follower", "learner", "half of a joint configuration"} {
		t.Run(who, func(t *testing.T) {
			peers := cluster(t, 3)
			elect(t, peers)
			survivor := peers[0]
			change := func(single ...*raftpb.ConfChangeSingle) {
				t.Helper()
				must(t, peers[0].ProposeChange(&raftpb.ConfChangeV2{Changes: single}))
			}
			single := func(what raftpb.ConfChangeType, p *peer) *raftpb.ConfChangeSingle {
				return &raftpb.ConfChangeSingle{Type: what.Enum(), NodeId: new(uint64(p.id.Member))}
			}
			switch who {
			case "follower":
				survivor = peers[2]
			case "learner":
				survivor = peers[1]
				change(single(raftpb.ConfChangeAddLearnerNode, survivor))
				exchange(peers, nil)
			case "half of a joint configuration":
				survivor = peers[1]
				// The change is committed and applied; its end reaches nobody.
				change(single(raftpb.ConfChangeRemoveNode, peers[2]), single(raftpb.ConfChangeAddLearnerNode, survivor))
				exchange(peers, func(m *raftpb.Message) bool {
					return slices.ContainsFunc(m.GetEntries(), func(e *raftpb.Entry) bool {
						return e.GetType() == raftpb.EntryConfChangeV2 && len(e.GetData()) == 0
					})
				})
				if cs := survivor.machine.ConfState(); len(cs.GetVotersOutgoing()) == 0 {
					t.Fatalf("the configuration is not joint: %v", cs)
				}
			}
			// An entry that reaches the survivor and of which it never learns that it is committed.
			if who != "half of a joint configuration" {
				must(t, peers[0].Propose(entry(77)))
				exchange(peers, func(m *raftpb.Message) bool {
					return m.GetTo() == uint64(survivor.id.Member) && m.GetType() != raftpb.MsgApp || m.GetType() == raftpb.MsgAppResp
				})
			}
			for _, p := range peers {
				if p != survivor {
					p.close()
				}
			}
			left, err := survivor.isolate()
			if err != nil || len(left) != 2 {
				t.Fatalf("left out %v, %v", left, err)
			}
			if who != "half of a joint configuration" {
				survivor.settle()
				if !slices.Contains(survivor.applied, 77) {
					t.Errorf("an entry that may have been acknowledged is lost: %v", survivor.applied)
				}
			}
			survivor.alone()
			last := survivor.log.LastIndex()
			if left, err := survivor.isolate(); err != nil || len(left) != 0 || survivor.log.LastIndex() != last {
				t.Errorf("the second time: left out %v, %v, the log ends at %d, not %d", left, err, survivor.log.LastIndex(), last)
			}
			survivor.alone()
		})
	}
}

// Whatever a power cut leaves of it, doing it again completes it, and what was committed is there.
func TestIsolateCrash(t *testing.T) {
	for seed := range uint64(30) {
		peers := cluster(t, 3)
		elect(t, peers)
		survivor := peers[1]
		rng := rand.New(rand.NewPCG(seed, 1))
		peers[0].close()
		peers[2].close()
		// The changes are written and not synced.
		_, steps, err := isolation(uint64(survivor.id.Member), survivor.log, survivor.machine)
		must(t, err)
		hard := initialHardState(survivor.log.HardState(), survivor.machine.Applied())
		hard.Term, hard.Vote = new(hard.GetTerm()+1), new(uint64(survivor.id.Member))
		last := uint64(survivor.log.LastIndex())
		var entries []*raftpb.Entry
		for _, step := range steps {
			typ, data, err := raftpb.MarshalConfChange(step)
			must(t, err)
			last++
			entries = append(entries, &raftpb.Entry{Index: new(last), Term: new(hard.GetTerm()), Type: typ.Enum(), Data: data})
		}
		hard.Commit = new(last)
		must(t, survivor.log.Append(entries, hard))
		survivor.crash(rng, 50)
		if _, err := survivor.isolate(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		survivor.alone()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// A member that has joined and knows nothing yet is no cluster.
func TestIsolateEmpty(t *testing.T) {
	p := cluster(t, 1)[0]
	p.close()
	must(t, p.fs.RemoveAll("store"))
	must(t, p.fs.RemoveAll("log"))
	must(t, store.Create(p.fs, "store", p.id, func(set func(key, value []byte)) error {
		machine.JoiningGenesis(set)
		return nil
	}))
	must(t, wal.Create(p.fs, "log", p.id, kind.Position{}, wal.Options{SegmentBytes: 64 << 10}))
	must(t, p.open())
	if _, err := Isolate(p.id.Member, p.log, p.machine); !errors.Is(err, ErrEmptyMember) {
		t.Errorf("a member without data: %v", fmt.Sprint(err))
	}
}
