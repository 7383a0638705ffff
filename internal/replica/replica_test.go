package replica

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
	"holdfast/internal/wal"
)

// leads makes the only member of a cluster its leader.
func leads(t *testing.T) *peer {
	t.Helper()
	p := cluster(t, 1)[0]
	if s := p.State(); !s.SoleVoter || s.Role != raft.StateFollower || s.Commit != 1 {
		t.Fatalf("a new replica stands at %+v", s)
	}
	must(t, p.Campaign())
	p.settle()
	if s := p.State(); s.Role != raft.StateLeader || s.Leader != p.id.Member {
		t.Fatalf("after an election of one: %+v", s)
	}
	return p
}

// TestNothingBeforeTheSync holds R1: an entry is neither committed nor applied before its append is done.
func TestNothingBeforeTheSync(t *testing.T) {
	p := leads(t)
	commit := p.State().Commit
	must(t, p.Propose(entry(1)))
	p.take()
	if len(p.appends) != 1 || len(p.applies) != 0 || !p.appends[0].Sync || p.State().Commit != commit {
		t.Fatalf("after a proposal: %d appends, %d applies, %+v", len(p.appends), len(p.applies), p.State())
	}
	must(t, p.Propose(entry(2)))
	p.take()
	if len(p.appends) != 2 || len(p.applies) != 0 {
		t.Fatalf("a second entry does not wait for the first: %d appends, %d applies", len(p.appends), len(p.applies))
	}
	p.write(1)
	p.take()
	if p.State().Commit != commit+1 || len(p.applies) != 1 {
		t.Fatalf("after the first append: %d applies, %+v", len(p.applies), p.State())
	}
	p.write(1)
	p.settle()
	if !slices.Equal(p.applied, []uint64{1, 2}) {
		t.Errorf("applied: %v", p.applied)
	}
}

// TestCommitAloneWaitsForNoSync: a hard state in which only the commit has moved is no promise.
func TestCommitAloneWaitsForNoSync(t *testing.T) {
	p := leads(t)
	must(t, p.Propose(entry(1)))
	p.take()
	p.write(1)
	p.take()
	if len(p.appends) == 0 {
		t.Fatal("the commit is not written")
	}
	for _, a := range p.appends {
		if a.HardState == nil || len(a.Entries) > 0 {
			t.Fatalf("%+v is not a commit alone", a)
		}
		if synced, err := p.WriteLog([]*Append{a}, clock); err != nil || synced != 0 || a.Sync {
			t.Errorf("a commit alone: synced %v, sync %v, %v", synced, a.Sync, err)
		}
	}
}

// TestConfigurationIsCutOut: a change of the membership is a work of its own between the entries beside it, and only
// its own configuration is remembered with it.
func TestConfigurationIsCutOut(t *testing.T) {
	p := leads(t)
	must(t, p.Propose(entry(1)))
	must(t, p.raw.ProposeConfChange(&raftpb.ConfChange{Type: new(raftpb.ConfChangeUpdateNode), NodeId: new(uint64(p.id.Member))}))
	must(t, p.Propose(entry(2)))
	must(t, p.Propose(entry(3)))
	p.take()
	p.write(len(p.appends))
	p.take()
	var kinds []string
	for _, w := range p.applies {
		switch w := w.(type) {
		case *Apply:
			kinds = append(kinds, "apply "+strconv.Itoa(len(w.Entries)))
		case *Configure:
			kinds = append(kinds, "configure")
			if !slices.Equal(w.ConfState.GetVoters(), []uint64{uint64(p.id.Member)}) {
				t.Errorf("configuration: %v", w.ConfState)
			}
		}
	}
	if want := []string{"apply 1", "configure", "apply 2"}; !slices.Equal(kinds, want) {
		t.Errorf("the work is %v, not %v", kinds, want)
	}
	p.settle()
	if !slices.Equal(p.applied, []uint64{1, 2, 3}) || !p.State().SoleVoter {
		t.Errorf("applied %v, %+v", p.applied, p.State())
	}
}

// TestReadIndex: the answer carries the context that asked, and an index that holds what was acknowledged.
func TestReadIndex(t *testing.T) {
	p := leads(t)
	must(t, p.Propose(entry(1)))
	p.settle()
	for context := uint64(1); context < 4; context++ {
		p.ReadIndex(context)
		p.take()
		reads := p.Reads()
		if len(reads) != 1 || reads[0].Context != context || reads[0].Index < p.State().Commit {
			t.Errorf("reads: %+v, %+v", reads, p.State())
		}
	}
	if reads := p.Reads(); len(reads) != 0 {
		t.Errorf("answers come twice: %v", reads)
	}
}

// TestOpenRaisesTheCommit holds R4 and I6: the commit is written without a sync and may lag behind the store.
func TestOpenRaisesTheCommit(t *testing.T) {
	p := leads(t)
	for n := range uint64(20) {
		must(t, p.Propose(entry(n)))
		p.settle()
	}
	must(t, p.db.Flush())
	applied := p.machine.Applied()
	p.crash(nil, 0)
	if s := p.State(); s.Commit < applied.Index || s.Term < applied.Term || !s.SoleVoter {
		t.Errorf("the store has applied %+v, raft starts at %+v", applied, s)
	}
	must(t, p.Campaign())
	p.settle()
	if len(p.applied) != 0 {
		t.Errorf("entries that are in the store are applied again: %v", p.applied)
	}
	lags := &raftpb.HardState{Term: new(uint64(3)), Vote: new(uint64(7)), Commit: new(uint64(4))}
	h := initialHardState(lags, kind.Position{Index: 9, Term: 5})
	if h.GetCommit() != 9 || h.GetTerm() != 5 || h.GetVote() != 7 || lags.GetCommit() != 4 {
		t.Errorf("a hard state that lags becomes %v", h)
	}
	if h := initialHardState(nil, kind.Position{Index: 1, Term: 1}); h.GetCommit() != 1 || h.GetTerm() != 1 {
		t.Errorf("a log without a hard state begins with %v", h)
	}
}

// TestMismatch holds I6: a log that does not continue the store is refused, with a sentence.
func TestMismatch(t *testing.T) {
	for name, c := range map[string]struct {
		start, applied kind.Position
		entries        []uint64 // their terms
		reason         string
	}{
		"a gap":            {start: kind.Position{Index: 9, Term: 2}, applied: kind.Position{Index: 7, Term: 2}, reason: "missing"},
		"the log is short": {start: kind.Position{Index: 1, Term: 1}, applied: kind.Position{Index: 4, Term: 1}, entries: []uint64{1, 1}, reason: "ends early"},
		"another term":     {start: kind.Position{Index: 1, Term: 1}, applied: kind.Position{Index: 3, Term: 1}, entries: []uint64{1, 2}, reason: "with term 2"},
		"right":            {start: kind.Position{Index: 1, Term: 1}, applied: kind.Position{Index: 3, Term: 2}, entries: []uint64{1, 2}},
		"right behind it":  {start: kind.Position{Index: 5, Term: 3}, applied: kind.Position{Index: 5, Term: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			p := cluster(t, 1)[0]
			must(t, wal.Create(p.fs, "other", p.id, c.start, wal.Options{SegmentBytes: 64 << 10}))
			log, err := wal.Open(p.fs, "other", p.id, wal.Witness{Applied: c.start}, wal.Options{SegmentBytes: 64 << 10})
			must(t, err)
			defer log.Close()
			for i, term := range c.entries {
				e := &raftpb.Entry{Term: new(term), Index: new(uint64(c.start.Index) + uint64(i) + 1)}
				must(t, log.Append([]*raftpb.Entry{e}, nil))
			}
			err = checkContinuity(log, c.applied)
			mismatch, is := errors.AsType[*MismatchError](err)
			if (c.reason != "") != is || is && !bytes.Contains([]byte(mismatch.Error()), []byte(c.reason)) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestUnknownFieldsAreNotIgnored: a change of the membership that holds what this version does not know is not
// half understood (I5).
func TestUnknownFieldsAreNotIgnored(t *testing.T) {
	var cc raftpb.ConfChange
	if err := unmarshal([]byte{0x98, 0x06, 0x01}, &cc); !errors.Is(err, errUnknownFields) {
		t.Errorf("%v", err)
	}
}

// TestAnyOrder holds R1, R2, R3 and I1 for a cluster of three: messages are lost, doubled and late, appends and applies
// are done in any order that the contract allows, some of them together, and members lose their power. Every member
// applies the same entries in the same order, each once, and none that was applied anywhere is ever missing.
func TestAnyOrder(t *testing.T) {
	seeds := []uint64{1, 2, 3, rand.Uint64()}
	if text := os.Getenv("REPLICA_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		must(t, err)
		seeds = []uint64{seed}
	}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { anyOrder(t, seed) })
	}
}

func anyOrder(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	peers := cluster(t, 3)
	var history []uint64 // what was applied anywhere, in its order
	var flying []*raftpb.Message
	proposed := uint64(0)
	last := ^uint64(0) // no proposals after this one
	step := func(faults bool) {
		p := peers[rng.IntN(len(peers))]
		p.take()
		flying = append(flying, p.sent...)
		p.sent = nil
		switch rng.IntN(10) {
		case 0:
			p.Tick()
		case 1, 2:
			p.write(rng.IntN(len(p.appends) + 1))
		case 3, 4:
			p.apply(rng.IntN(len(p.applies) + 1))
		case 5:
			if p.State().Role == raft.StateLeader && proposed < last {
				proposed++
				if err := p.Propose(entry(proposed)); err != nil && !errors.Is(err, raft.ErrProposalDropped) {
					t.Fatal(err)
				}
			}
		case 6:
			if faults && rng.IntN(60) == 0 {
				p.crash(rng, 50)
			}
		default:
			if len(flying) == 0 {
				return
			}
			at := rng.IntN(len(flying))
			m := flying[at]
			if !faults || rng.IntN(10) != 0 {
				flying = slices.Delete(flying, at, at+1) // or it comes a second time
			}
			if faults && rng.IntN(10) == 0 {
				return // lost
			}
			for _, to := range peers {
				if uint64(to.id.Member) == m.GetTo() {
					if err := to.Receive(m); err != nil && !errors.Is(err, raft.ErrProposalDropped) {
						t.Fatal(err)
					}
				}
			}
		}
		history = agree(t, history, p)
	}
	for range 12_000 {
		step(true)
		if t.Failed() {
			t.Fatalf("REPLICA_SEED=%d replays it", seed)
		}
	}
	// Without faults all come to the same.
	last = proposed + 5
	for i := 0; ; i++ {
		step(false)
		same := proposed == last && len(history) > 0
		for _, p := range peers {
			same = same && p.machine.Applied() == peers[0].machine.Applied() && len(p.appends)+len(p.applies) == 0
		}
		if same && peers[0].machine.State().Digest == peers[1].machine.State().Digest && peers[1].machine.State().Digest == peers[2].machine.State().Digest {
			break
		}
		if i > 1_000_000 {
			t.Fatalf("the members do not come to the same; REPLICA_SEED=%d replays it", seed)
		}
	}
	if len(history) < 20 {
		t.Errorf("only %d of %d entries were applied", len(history), proposed)
	}
}

// agree holds what p has applied in this life against what was applied anywhere: it is a piece of it, up to an end
// that only grows.
func agree(t *testing.T, history []uint64, p *peer) []uint64 {
	t.Helper()
	if len(p.applied) == 0 {
		return history
	}
	at := slices.Index(history, p.applied[0])
	if at < 0 {
		at = len(history)
	}
	for i, n := range p.applied {
		switch {
		case at+i == len(history):
			history = append(history, n)
		case history[at+i] != n:
			t.Errorf("member %v applied entry %d where another had applied %d", p.id.Member, n, history[at+i])
			return history
		}
	}
	return history
}

// TestReadIndexOfALoneVoter: after a restart the commit in the hard state lags behind what was acknowledged, so a leader
// that is the only voter says how far the cluster has committed only when an entry of its own term is.
func TestReadIndexOfALoneVoter(t *testing.T) {
	p := leads(t)
	for n := range uint64(5) {
		must(t, p.Propose(entry(n)))
		p.settle()
	}
	last := p.State().Last
	p.crash(nil, 0)
	must(t, p.Campaign())
	for range 3 {
		p.take()
		p.ReadIndex(1)
		for _, read := range p.Reads() {
			if read.Index < last {
				t.Errorf("the read index is %d, and entry %d was acknowledged", read.Index, last)
			}
		}
		p.write(len(p.appends))
	}
	p.settle()
	p.ReadIndex(2)
	p.take()
	if reads := p.Reads(); len(reads) != 1 || reads[0].Index < last {
		t.Errorf("reads: %+v, the log ends at %d", reads, last)
	}
}
