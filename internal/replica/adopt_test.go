package replica

import (
	"fmt"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// another opens a fresh machine of the same cluster, in a store of its own.
func (p *peer) another(name string) *machine.Machine {
	p.t.Helper()
	must(p.t, store.Create(p.fs, name, p.id, func(set func(key, value []byte)) error {
		machine.Genesis(set, []member.Member{{ID: p.id.Member, Name: "0", PeerURLs: []string{"http://127.0.0.1:2380"}}})
		return nil
	}))
	db, err := store.Open(p.fs, name, p.id, store.Options{BlockCacheBytes: 1 << 20, MemTableBytes: 256 << 10})
	must(p.t, err)
	kv, err := mvcc.Open(db, mvcc.Options{})
	must(p.t, err)
	m, err := machine.Open(db, kv, machine.Options{})
	must(p.t, err)
	p.t.Cleanup(func() {
		_ = m.Close()
		_ = db.Close(false)
	})
	return m
}

// What the log holds behind a machine is applied to it, changes of the configuration included; once it is adopted, what
// was committed up to there and not yet applied is discarded, and the rest is applied to it (R3).
func TestReplayAndAdopt(t *testing.T) {
	p := leads(t)
	for n := range uint64(5) {
		must(t, p.Propose(entry(n)))
	}
	must(t, p.raw.ProposeConfChange(&raftpb.ConfChange{Type: new(raftpb.ConfChangeUpdateNode), NodeId: new(uint64(p.id.Member))}))
	must(t, p.Propose(entry(5)))
	must(t, p.Propose(entry(6)))
	p.take()
	p.write(len(p.appends))
	p.take()
	waiting := Last(p.applies)
	if waiting != p.State().Commit || waiting == p.machine.Applied().Index {
		t.Fatalf("the applier has been handed up to %d, %+v", waiting, p.State())
	}
	adopted := p.another("adopted")
	must(t, p.Replay(adopted, waiting-1)) // the snapshot stood before the last of them
	if at := adopted.Applied().Index; at != waiting-1 {
		t.Fatalf("replayed up to %d, not %d", at, waiting-1)
	}
	p.Adopt(adopted)
	old := p.machine.State()
	p.apply(len(p.applies))
	must(t, p.Propose(entry(7)))
	p.settle()
	if p.Machine() != adopted || adopted.Applied().Index != waiting+1 || p.machine.State() != old {
		t.Errorf("the adopted machine stands at %v, the one before went from %v to %v", adopted.Applied(), old.Position, p.machine.Applied())
	}
	whole := p.another("whole")
	must(t, p.Replay(whole, waiting+1))
	if a, b := adopted.State(), whole.State(); a != b {
		t.Errorf("applied in parts: %+v, in one go: %+v", a, b)
	}
}

// The snapshot that raft is told of stands where the owner has said that it has applied, with the configuration of there.
func TestSnapshotMetadata(t *testing.T) {
	p := leads(t)
	must(t, p.Propose(entry(1)))
	p.settle()
	must(t, p.raw.ProposeConfChange(&raftpb.ConfChange{Type: new(raftpb.ConfChangeAddLearnerNode), NodeId: new(uint64(77))}))
	p.take()
	p.write(len(p.appends))
	p.take()
	say := func() string {
		s, err := p.storage.Snapshot()
		must(t, err)
		return fmt.Sprintf("%d %d %v", s.GetMetadata().GetIndex(), s.GetMetadata().GetTerm(), s.GetMetadata().GetConfState().GetLearners())
	}
	before := p.machine.Applied()
	if got, want := say(), fmt.Sprintf("%d %d []", before.Index, before.Term); got != want {
		t.Errorf("while a change is committed and not applied: %s, want %s", got, want)
	}
	c := p.applies[len(p.applies)-1].(*Configure)
	must(t, p.Done(c))
	if got, want := say(), fmt.Sprintf("%d %d [77]", c.Entry.GetIndex(), c.Entry.GetTerm()); got != want {
		t.Errorf("when it is applied: %s, want %s", got, want)
	}
	p.applies = nil
	if _, err := (&storage{}).Snapshot(); err == nil {
		t.Error("there is a snapshot before anything is applied")
	}
}

// A snapshot that raft takes comes out as an append that is synced, and the configuration counts from then on.
func TestSnapshotIsAnAppend(t *testing.T) {
	p := cluster(t, 1)[0]
	at := kind.Position{Index: 50, Term: 4}
	m := &raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: new(uint64(9)), To: new(uint64(p.id.Member)), Term: new(uint64(5)),
		Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(at.Index)), Term: new(uint64(at.Term)),
			ConfState: &raftpb.ConfState{Voters: []uint64{9, uint64(p.id.Member)}}}}}
	must(t, p.Receive(m))
	p.take()
	if len(p.appends) != 1 || !p.appends[0].Sync || p.appends[0].Snapshot.GetMetadata().GetIndex() != 50 || p.State().SoleVoter || len(p.sent) != 0 {
		t.Fatalf("%d appends, %+v, sent %v", len(p.appends), p.State(), p.sent)
	}
	must(t, p.log.Reset(at))
	p.stable = at.Index
	p.write(1)
	p.take()
	if s := p.State(); s.Commit != 50 || s.Applied != 50 || s.Term != 5 || p.log.FirstIndex() != 51 {
		t.Errorf("afterwards: %+v, the log begins with %d", s, p.log.FirstIndex())
	}
	if len(p.sent) != 1 || p.sent[0].GetType() != raftpb.MsgAppResp || p.sent[0].GetIndex() != 50 || p.sent[0].GetReject() {
		t.Errorf("the leader is told %v", p.sent)
	}
	if s, err := p.storage.Snapshot(); err != nil || s.GetMetadata().GetIndex() != 50 {
		t.Errorf("a snapshot of it would stand at %v, %v", s, err)
	}
}
