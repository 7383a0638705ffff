package wal

import (
	"fmt"
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
)

// content is what a log holds: the model of the tests.
type content struct {
	start   kind.Position
	entries []*pb.Entry // from start.Index+1 on
	state   state
}

func (c content) last() kind.Position {
	if n := len(c.entries); n > 0 {
		return kind.Position{Index: kind.Index(c.entries[n-1].GetIndex()), Term: kind.Term(c.entries[n-1].GetTerm())}
	}
	return c.start
}

func (c content) at(i kind.Index) kind.Position {
	if i == c.start.Index {
		return c.start
	}
	e := c.entries[i-c.start.Index-1]
	return kind.Position{Index: i, Term: kind.Term(e.GetTerm())}
}

func (c content) with(e *pb.Entry) content {
	n := e.GetIndex() - uint64(c.start.Index) - 1
	c.entries = append(c.entries[:n:n], e)
	return c
}

// recovered is the hard state that Open must make of the content.
func (c content) recovered(applied kind.Position) state {
	s := c.state
	if commit := max(uint64(applied.Index), uint64(c.start.Index)); commit > s.commit {
		s.commit, s.set = commit, true
	}
	if term := uint64(c.last().Term); term > s.term {
		s.term, s.vote, s.set = term, 0, true
	}
	return s
}

// author drives a log with random work that raft could give it, and knows what the log may hold after a crash at any
// moment: the content after each record since the last sync.
type author struct {
	rng     *rand.Rand
	log     *Log
	now     content
	may     []content // the last is now
	applied kind.Position
	adopted bool
	written map[string]*pb.Entry // every entry that was ever appended, by index and term
}

func newAuthor(seed uint64) *author {
	a := &author{rng: rand.New(rand.NewPCG(seed, 2)), written: map[string]*pb.Entry{}}
	a.may = []content{a.now}
	return a
}

func (a *author) set(c content) { a.now = c; a.may = append(a.may, c) }
func (a *author) durable()      { a.may = []content{a.now} }

func key(e *pb.Entry) string {
	return fmt.Sprintf("%d %d %d", e.GetIndex(), e.GetTerm(), len(e.GetData()))
}

func (a *author) entries(first, term uint64, n, size int) (out []*pb.Entry) {
	for i := range n {
		e := entry(first+uint64(i), term, a.rng.IntN(size))
		if a.rng.IntN(8) == 0 {
			*e.Type = pb.EntryConfChangeV2
		}
		a.written[key(e)+e.GetType().String()] = e
		out = append(out, e)
	}
	return out
}

// step does one random piece of work.
func (a *author) step() error {
	c := a.now
	term := max(c.state.term, uint64(c.last().Term), 1)
	switch n := a.rng.IntN(100); {
	case n < 45: // the usual: append, sync, then a commit without a sync
		return a.appendGroup(a.entries(uint64(c.last().Index)+1, term, 1+a.rng.IntN(4), 900), a.maybeState(term))
	case n < 48:
		return a.appendGroup(a.entries(uint64(c.last().Index)+1, term, 1+a.rng.IntN(20), 1500), nil)
	case n < 56: // a new leader replaces what is not committed
		first := max(c.state.commit, uint64(a.applied.Index), uint64(c.start.Index)) + 1
		first += uint64(a.rng.Int64N(int64(uint64(c.last().Index) + 2 - first)))
		return a.appendGroup(a.entries(first, term+1, 1+a.rng.IntN(3), 600), hard(term+1, a.rng.Uint64N(4), c.state.commit))
	case n < 62:
		return a.appendGroup(nil, hard(c.state.term+a.rng.Uint64N(2), a.rng.Uint64N(4), c.state.commit))
	case n < 70:
		return a.appendGroup(nil, hard(term, c.state.vote, uint64(c.last().Index)))
	case n < 82:
		return a.sync()
	case n < 88:
		return a.log.Mark()
	case n < 91:
		return a.log.PrepareSpare()
	case n < 93:
		a.log.Evict(c.last().Index - kind.Index(a.rng.Uint64N(3)))
		return nil
	case n < 99:
		// The store flushes only what is committed, and what is applied is synced.
		if err := a.sync(); err != nil || c.state.commit <= uint64(c.start.Index) {
			return err
		}
		through := c.start.Index + 1 + kind.Index(a.rng.Uint64N(c.state.commit-uint64(c.start.Index)))
		if through > a.applied.Index {
			a.applied = c.at(through)
		}
		c.start, c.entries = c.at(through), c.entries[through-c.start.Index:]
		a.now = c
		a.durable()
		return a.log.Truncate(through)
	default:
		if err := a.sync(); err != nil {
			return err
		}
		start := kind.Position{Index: c.last().Index + kind.Index(a.rng.Uint64N(50)), Term: kind.Term(term)}
		c.start, c.entries = start, nil
		c.state = state{c.state.term, c.state.vote, uint64(start.Index), true}
		if term > c.state.term {
			c.state.term, c.state.vote = term, 0
		}
		a.now = c
		a.durable()
		a.applied, a.adopted = start, true // The new store is in use before the log is reset.
		err := a.log.Reset(start)
		a.adopted = err != nil
		return err
	}
}

func (a *author) maybeState(term uint64) *pb.HardState {
	if a.rng.IntN(2) == 0 {
		return nil
	}
	return hard(term, a.now.state.vote, max(a.now.state.commit, uint64(a.now.last().Index)))
}

func (a *author) appendGroup(es []*pb.Entry, hs *pb.HardState) error {
	c := a.now
	for _, e := range es {
		c = c.with(e)
		a.set(c)
	}
	if hs != nil {
		c.state = stateOf(hs)
		a.set(c)
	}
	return a.log.Append(es, hs)
}

func (a *author) sync() error {
	err := a.log.Sync()
	if err == nil {
		a.durable()
	}
	return err
}

// check compares a log that was opened after a crash with everything it may hold, and returns which it is.
func (a *author) check(t testing.TB, l *Log) content {
	t.Helper()
	got := all(t, l)
	for _, e := range got {
		if w := a.written[key(e)+e.GetType().String()]; w == nil || !sameEntry(e, w) {
			t.Fatalf("the log holds an entry that nobody appended: index %d term %d", e.GetIndex(), e.GetTerm())
		}
	}
	var why string
	for i := len(a.may) - 1; i >= 0; i-- {
		if why = a.may[i].differs(l, got, a.applied); why == "" {
			return a.may[i]
		}
	}
	t.Fatalf("the log holds entries %d to %d and %v, which is none of %d possible contents; the oldest has last %v: %s",
		l.FirstIndex(), l.LastIndex(), l.HardState(), len(a.may), a.may[0].last(), why)
	return content{}
}

func (c content) differs(l *Log, got []*pb.Entry, applied kind.Position) string {
	if l.LastIndex() != c.last().Index {
		return "last index"
	}
	if s := stateOf(l.HardState()); s != c.recovered(applied) {
		return fmt.Sprintf("hard state %+v, want %+v", s, c.recovered(applied))
	}
	if l.FirstIndex() > c.start.Index+1 {
		return "first index"
	}
	if term, err := l.Term(c.start.Index); err != nil || term != c.start.Term {
		return "term at the start"
	}
	got = got[c.start.Index+1-l.FirstIndex():]
	for i := range got {
		if !sameEntry(got[i], c.entries[i]) {
			return fmt.Sprintf("entry %d", got[i].GetIndex())
		}
	}
	return ""
}
