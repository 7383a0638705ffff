package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/kind"
	"holdfast/internal/transport"
)

// once checks that every key was written exactly once: then there are as many keys as revisions.
func once(t *testing.T, all []*seat) {
	t.Helper()
	for _, s := range all {
		if !s.running {
			continue
		}
		if revision, keys := s.KV().Revision(), s.Keys(); int64(revision)-1 != keys {
			t.Errorf("member %v has %d keys at revision %d", s.id.Member, keys, revision)
		}
	}
}

// level waits until all that run have applied the same, and checks that their states are the same.
func level(t *testing.T, all []*seat) {
	t.Helper()
	until(t, "all have applied the same", func() bool {
		var first kind.Index
		for _, s := range all {
			st := s.Status()
			switch {
			case !s.running:
			case first == 0:
				first = st.Applied
			case st.Applied != first:
				return false
			}
		}
		return true
	})
	synctest.Wait()
	var digest uint64
	for _, s := range all {
		if !s.running {
			continue
		}
		if have := s.applied.Load().Digest; digest == 0 {
			digest = have
		} else if have != digest {
			t.Errorf("member %v has another state", s.id.Member)
		}
	}
}

// load writes keys of its own through a member until told to stop, and counts what was acknowledged. Errors that leave
// the fate of a command open are counted as open.
type load struct {
	acknowledged atomic.Int64
	open         atomic.Int64
	stop         chan struct{}
	group        sync.WaitGroup
	longest      atomic.Int64 // nanoseconds that a write has taken
}

func (l *load) run(t *testing.T, name string, s func() *Node, clients int) {
	for c := range clients {
		l.group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-l.stop:
					return
				default:
				}
				began := time.Now()
				reply, err := s().Propose(context.Background(), put(fmt.Sprintf("%s/%d/%d", name, c, i), "x"))
				took := time.Since(began)
				for old := l.longest.Load(); int64(took) > old && !l.longest.CompareAndSwap(old, int64(took)); old = l.longest.Load() {
				}
				switch {
				case err == nil && reply.Err == nil:
					l.acknowledged.Add(1)
				case errors.Is(err, ErrTimeout), errors.Is(err, ErrTimeoutConnLost), errors.Is(err, ErrTimeoutLeaderLoss):
					l.open.Add(1)
				case errors.Is(err, ErrStopped):
					<-time.After(testTick)
				default:
					t.Errorf("%s: %v, %v", name, err, reply.Err)
					return
				}
			}
		})
	}
}

// TestForwarding: commands of all members are applied, each once, also when the network delivers forwards twice.
func TestForwarding(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all := seats(t, 3, nil)
		leader(t, all)
		net.mu.Lock()
		net.mu.twice = func(m transport.Message) bool { return m.Kind == transport.KindForward }
		net.mu.Unlock()
		var group sync.WaitGroup
		for i, s := range all {
			for c := range 20 {
				group.Go(func() {
					for n := range 10 {
						write(t, s, fmt.Sprintf("%d/%d/%d", i, c, n), "x")
					}
				})
			}
		}
		group.Wait()
		level(t, all)
		once(t, all)
		if keys := all[0].Keys(); keys != 600 {
			t.Errorf("%d keys of 600", keys)
		}
	})
}

// TestFate holds N1 over changes of the leader: whatever becomes of leaders, commands of the members that live are
// applied, each exactly once, and their callers wait for the election and no longer.
func TestFate(t *testing.T) {
	for name, lose := range map[string]func(l *seat){
		"killed": func(l *seat) { l.kill() },
		"cut off": func(l *seat) {
			l.net.cut(l.id.Member)
			until(l.t, "it knows that it does not lead", func() bool { return !l.Status().Leading })
			l.net.heal()
		},
		"handing over": func(l *seat) {
			for _, m := range l.Replica.Machine().Members() {
				if m.ID != l.id.Member {
					_ = l.TransferLeadership(l.t.Context(), m.ID)
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, all := seats(t, 3, nil)
				leader(t, all)
				for round := range 12 {
					first := leader(t, all)
					followers := others(all, first)
					l := load{stop: make(chan struct{})}
					for i, s := range followers {
						l.run(t, fmt.Sprintf("%d/%d", round, i), func() *Node { return s.Node }, 8)
					}
					<-time.After(3 * testTick)
					lose(first)
					after := l.acknowledged.Load()
					leader(t, all)
					until(t, "writes go on", func() bool { return l.acknowledged.Load() > after+50 })
					close(l.stop)
					l.group.Wait()
					if took := time.Duration(l.longest.Load()); took > 60*testTick {
						t.Errorf("a write took %v, election timeouts are %v", took, 10*testTick)
					}
					if l.open.Load() > 0 {
						t.Errorf("the fate of %d commands is said to be unknown", l.open.Load())
					}
					if !first.running {
						first.start()
					}
					leader(t, all)
					level(t, all)
					once(t, all)
				}
			})
		})
	}
}

// TestLostForwards: a forward that may have arrived is not sent again within its term. Its caller is told that its fate
// is unknown, in time.
func TestLostForwards(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all := seats(t, 3, nil)
		first := leader(t, all)
		s := others(all, first)[0]
		net.mu.Lock()
		net.mu.lose = func(m transport.Message) bool { return m.Kind == transport.KindForward }
		net.mu.Unlock()
		began := time.Now()
		_, err := s.Propose(t.Context(), put("a", "x"))
		if !errors.Is(err, ErrTimeout) {
			t.Errorf("a lost forward: %v", err)
		}
		if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("after %v", took)
		}
		net.mu.Lock()
		net.mu.lose = nil
		net.mu.Unlock()
		write(t, s, "b", "x")
		level(t, all)
		if s.Keys() != 1 {
			t.Errorf("%d keys", s.Keys())
		}
	})
}

// TestForwardOfAnotherTerm: a leader takes commands only of its own term. A late forward is refused, whatever it holds.
func TestForwardOfAnotherTerm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all := seats(t, 3, nil)
		first := leader(t, all)
		s := others(all, first)[0]
		var kept []transport.Message
		net.mu.Lock()
		net.mu.lose = func(m transport.Message) bool {
			if m.Kind == transport.KindForward {
				kept = append(kept, m)
				return true
			}
			return false
		}
		net.mu.Unlock()
		done := make(chan error, 1)
		go func() {
			_, err := s.Propose(context.Background(), put("a", "x"))
			done <- err
		}()
		until(t, "a forward", func() bool { net.mu.Lock(); defer net.mu.Unlock(); return len(kept) > 0 })
		check(t, first.TransferLeadership(t.Context(), s.id.Member))
		leader(t, all)
		if err := <-done; err != nil {
			t.Errorf("in the next term it is the sender that leads: %v", err)
		}
		net.mu.Lock()
		net.mu.lose = nil
		net.mu.Unlock()
		check(t, s.TransferLeadership(t.Context(), first.id.Member))
		leader(t, all)
		first.Receive(kept)
		<-time.After(10 * testTick)
		level(t, all)
		once(t, all)
		if s.Keys() != 1 {
			t.Errorf("%d keys", s.Keys())
		}
	})
}

// TestNoStaleReads: a leader that is cut off answers no linearizable read while the others write, nor does it answer
// one afterwards with what it had then.
func TestNoStaleReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all := seats(t, 3, nil)
		old := leader(t, all)
		write(t, old, "a", "x")
		net.cut(old.id.Member)
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				defer cancel()
				if err := old.ReadIndex(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a leader alone answers: %v", err)
				}
			})
			<-time.After(testTick)
		}
		rest := others(all, old)
		until(t, "another leader", func() bool { return rest[0].Status().Leading || rest[1].Status().Leading })
		reply := write(t, rest[0], "b", "x")
		group.Wait()
		late := make(chan error, 1)
		go func() { late <- old.ReadIndex(context.Background()) }()
		<-time.After(time.Second)
		net.heal()
		check(t, <-late)
		if have := old.KV().Revision(); have < reply.Revision {
			t.Errorf("a read at revision %d, %d was acknowledged before", have, reply.Revision)
		}
	})
}

// TestReadsGoOn: linearizable reads of a follower survive the loss of the leader: they cost the election, and no error.
func TestReadsGoOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, all := seats(t, 3, nil)
		for range 5 {
			first := leader(t, all)
			s := others(all, first)[0]
			reply := write(t, s, fmt.Sprint(first.Status().Term), "x")
			first.kill()
			began := time.Now()
			check(t, s.ReadIndex(t.Context()))
			if took := time.Since(began); took > 50*testTick {
				t.Errorf("the read took %v", took)
			}
			if have := s.KV().Revision(); have < reply.Revision {
				t.Errorf("a read at revision %d after %d", have, reply.Revision)
			}
			first.start()
		}
	})
}

// TestNothingWithoutMajority: without a majority nothing is acknowledged, and who waits is told in etcd's words.
func TestNothingWithoutMajority(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all := seats(t, 3, nil)
		old := leader(t, all)
		net.cut(old.id.Member)
		if _, err := old.Propose(t.Context(), put("a", "x")); !errors.Is(err, ErrTimeout) {
			t.Errorf("a proposal: %v", err)
		}
		if err := old.ReadIndex(t.Context()); !errors.Is(err, ErrTimeout) {
			t.Errorf("a read: %v", err)
		}
		if s := old.Status(); s.Leading || s.Leader != 0 {
			t.Errorf("a leader without a majority: %+v", s)
		}
		net.heal()
		until(t, "it follows", func() bool { return old.Status().Leader != 0 })
		write(t, old, "b", "x")
		once(t, all)
	})
}

// TestWindow: each number is new once, in any order that a network may have within reach.
func TestWindow(t *testing.T) {
	var w window
	for i, c := range []struct {
		number uint64
		fresh  bool
	}{{1, true}, {1, false}, {3, true}, {2, true}, {2, false}, {3, false}, {1, false}, {60, true}, {5, true}, {5, false},
		{67, true}, {3, false}, {4, true}, {200, true}, {67, false}, {140, true}, {140, false}, {199, true}, {136, true}, {135, false}} {
		if got := w.add(c.number); got != c.fresh {
			t.Errorf("step %d: %d is new: %v", i, c.number, got)
		}
	}
	w = window{}
	if !w.add(5) || !w.add(4) || !w.add(1) || w.add(4) || w.add(5) {
		t.Error("a first number that is not 1")
	}
}

// TestLateSecondForward: a forward is in the log of a leader that has lost its office when the network delivers it once
// more. It must not be refused, or its sender would propose what will be committed a second time.
func TestLateSecondForward(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all := seats(t, 3, nil)
		first := leader(t, all)
		s, third := others(all, first)[0], others(all, first)[1]
		write(t, s, "before", "x")
		level(t, all)
		var kept []transport.Message
		silent := false
		net.mu.Lock()
		net.mu.lose = func(m transport.Message) bool {
			if m.Kind == transport.KindForward {
				kept = append(kept, m)
			}
			// The entry comes to the third member and no further, and then nothing of raft's to anybody.
			return m.Kind == transport.KindRaft && (silent || m.To == s.id.Member || m.From == third.id.Member)
		}
		net.mu.Unlock()
		last := first.Replica.Log().LastIndex()
		done := make(chan error, 1)
		go func() {
			_, err := s.Propose(context.Background(), put("a", "x"))
			done <- err
		}()
		until(t, "the entry in two logs", func() bool {
			return first.Replica.Log().LastIndex() > last && third.Replica.Log().LastIndex() > last
		})
		net.mu.Lock()
		silent = true
		net.mu.Unlock()
		until(t, "it leads no more", func() bool { return !first.Status().Leading })
		first.Receive(kept)
		<-time.After(5 * testTick)
		net.mu.Lock()
		net.mu.lose = nil
		net.mu.Unlock()
		check(t, <-done)
		leader(t, all)
		level(t, all)
		once(t, all)
	})
}

// TestLateForwardAfterRestart: so it is with a forward that may have been taken in an earlier life.
func TestLateForwardAfterRestart(t *testing.T) {
	l := loopState{Node: new(Node), born: 7}
	l.Identity.Member = 1
	for term, refused := range map[kind.Term]bool{6: false, 7: false, 8: true} {
		l.outgoing = nil
		l.arrived = []arrival{{from: 2, full: true, sequences: []uint64{1}, forward: forward{term: term, number: 1}}}
		l.admit()
		if got := len(l.outgoing) > 0; got != refused {
			t.Errorf("a forward of term %d, after a start in term 7, is refused: %v", term, got)
		}
	}
}
