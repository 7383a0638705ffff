package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// TestBrokenMessages: what raft would panic about, or take into its log with a hole, is dropped, and the member goes on.
func TestBrokenMessages(t *testing.T) {
	all := cluster(t, 3)
	p, from := all[0], all[1]
	appendOf := func(indexesAndTerms ...uint64) *raftpb.Message {
		m := &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: new(uint64(from.id.Member)), To: new(uint64(p.id.Member)),
			Term: new(uint64(5)), Index: new(uint64(1)), LogTerm: new(uint64(1)), Commit: new(uint64(1))}
		for i := 0; i < len(indexesAndTerms); i += 2 {
			m.Entries = append(m.Entries, &raftpb.Entry{Index: new(indexesAndTerms[i]), Term: new(indexesAndTerms[i+1]), Data: entry(uint64(i))})
		}
		return m
	}
	for name, m := range map[string]*raftpb.Message{
		"a hole before":       appendOf(4, 5),
		"a hole":              appendOf(2, 5, 4, 5),
		"twice":               appendOf(2, 5, 2, 5),
		"a term that falls":   appendOf(2, 5, 3, 4),
		"a term to come":      appendOf(2, 6),
		"without an index":    {Type: raftpb.MsgApp.Enum(), From: new(uint64(from.id.Member)), Term: new(uint64(5)), Entries: []*raftpb.Entry{{}}},
		"an empty snapshot":   {Type: raftpb.MsgSnap.Enum(), From: new(uint64(from.id.Member)), Term: new(uint64(5)), Snapshot: &raftpb.Snapshot{}},
		"a snapshot and none": {Type: raftpb.MsgSnap.Enum(), From: new(uint64(from.id.Member)), Term: new(uint64(5))},
	} {
		must(t, p.Receive(m))
		p.settle()
		if s := p.State(); s.Last != 1 || s.Leader != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	must(t, p.Receive(appendOf(2, 4, 3, 5)))
	p.settle()
	if s := p.State(); s.Last != 3 || s.Leader != from.id.Member {
		t.Errorf("a sound message: %+v", s)
	}
}
