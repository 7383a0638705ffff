package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// swap lets the peers do everything and delivers what they send, except from and to those that are cut off.
func swap(peers []*peer, cut ...*peer) {
	gone := func(id uint64) bool {
		for _, p := range cut {
			if uint64(p.id.Member) == id {
				return true
			}
		}
		return false
	}
	for moved := true; moved; {
		moved = false
		for _, p := range peers {
			p.settle()
			sent := p.sent
			p.sent = nil
			for _, m := range sent {
				for _, to := range peers {
					if uint64(to.id.Member) == m.GetTo() && !gone(m.GetTo()) && !gone(m.GetFrom()) {
						must(p.t, to.Receive(m))
						moved = true
					}
				}
			}
		}
	}
}

// A member that abstains never asks for a vote, neither when its time would be up nor when it is told to lead. Once its
// leader has been silent for an election timeout it votes for another, and not before; afterwards it takes part as ever.
func TestAbstain(t *testing.T) {
	peers := cluster(t, 3)
	lead, other, quiet := peers[0], peers[1], peers[2]
	must(t, lead.Campaign())
	swap(peers)
	if !lead.leads() {
		t.Fatal("nobody leads")
	}
	quiet.Abstain(true)
	asks := func(why string) {
		t.Helper()
		quiet.settle()
		for _, m := range quiet.sent {
			switch m.GetType() {
			case raftpb.MsgPreVote, raftpb.MsgVote:
				t.Errorf("%s: it stands for election", why)
			}
		}
		quiet.sent = nil
	}
	must(t, quiet.Receive(&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: new(uint64(lead.id.Member)), To: new(uint64(quiet.id.Member)), Term: new(uint64(lead.State().Term))}))
	asks("told to lead")
	must(t, quiet.Campaign())
	asks("told to campaign")

	// The leader is cut off. The other one would win with one vote.
	for range 9 {
		quiet.Tick()
	}
	must(t, other.Campaign())
	swap(peers, lead)
	if other.leads() {
		t.Error("it votes although it has heard its leader a moment ago")
	}
	for range 100 {
		quiet.Tick()
	}
	asks("its time is long up")
	must(t, other.Campaign())
	swap(peers, lead)
	if !other.leads() {
		t.Error("it does not vote")
	}
	must(t, other.Propose(entry(1)))
	swap(peers, lead)
	if quiet.run < uint64(other.State().Commit) {
		t.Error("it does not apply")
	}
	quiet.Abstain(false)
	for range 100 {
		quiet.Tick()
	}
	quiet.settle()
	if len(quiet.sent) == 0 {
		t.Error("it stays out of elections for ever")
	}
}

func (p *peer) leads() bool {
	s := p.State()
	return s.Leader == p.id.Member
}
