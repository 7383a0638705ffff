package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/member"
)

func remove(ids ...kind.MemberID) command.MemberChange {
	var c command.MemberChange
	for _, id := range ids {
		c.Steps = append(c.Steps, command.MemberStep{Op: command.RemoveMember, ID: id})
	}
	return c
}

// TestChangeMembers: a change asked of any member is made once; those who are removed stop with ErrRemoved; a refusal
// is the leader's, wherever it was asked.
func TestChangeMembers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, all := seats(t, 5, func(c *Config) { c.StrictReconfiguration = true })
		first := leader(t, all)
		<-time.After(6 * time.Second) // a majority has been connected for long enough
		rest := others(all, first)
		for _, s := range []*seat{first, rest[0]} {
			for want, c := range map[error]command.MemberChange{
				member.ErrIDNotFound:    remove(12345),
				command.ErrMemberChange: {},
				member.ErrPeerURLExists: {Steps: []command.MemberStep{{Op: command.AddVoter, ID: 99, PeerURLs: []string{"http://127.0.0.1:2380"}}}},
			} {
				if _, err := s.ChangeMembers(t.Context(), c); !errors.Is(err, want) {
					t.Errorf("member %v: %v, not %v", s.id.Member, err, want)
				}
			}
		}
		reply, err := rest[0].ChangeMembers(t.Context(), remove(rest[1].id.Member))
		if err != nil || reply.Err != nil {
			t.Fatalf("remove through a follower: %v, %v", err, reply.Err)
		}
		if err := <-rest[1].ended; !errors.Is(err, ErrRemoved) {
			t.Errorf("the removed member's Run: %v", err)
		}
		rest[1].ended <- nil
		check(t, rest[1].stop())
		if n := len(rest[0].Replica.Machine().Members()); n != 4 {
			t.Errorf("%d members", n)
		}
		// The leader itself: it hands over first, so writes go on.
		l := load{stop: make(chan struct{})}
		l.run(t, "load", func() *Node { return rest[0].Node }, 4)
		<-time.After(5 * testTick)
		if _, err := first.ChangeMembers(t.Context(), remove(first.id.Member)); err != nil {
			t.Errorf("the leader removes itself: %v", err)
		}
		if err := <-first.ended; !errors.Is(err, ErrRemoved) {
			t.Errorf("the removed leader's Run: %v", err)
		}
		first.ended <- nil
		check(t, first.stop())
		<-time.After(10 * testTick)
		close(l.stop)
		l.group.Wait()
		if took := time.Duration(l.longest.Load()); took > 6*testTick {
			t.Errorf("a write took %v, an election timeout is %v", took, 10*testTick)
		}
		leader(t, all)
		level(t, all)
		once(t, all)
	})
}

// TestJointChange: two voters leave in one change, which uses a joint configuration that raft leaves by itself; the
// next change waits for that.
func TestJointChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, all := seats(t, 5, nil)
		first := leader(t, all)
		rest := others(all, first)
		type result struct {
			name string
			err  error
		}
		results := make(chan result, 2)
		go func() {
			_, err := rest[0].ChangeMembers(t.Context(), remove(rest[2].id.Member, rest[3].id.Member))
			results <- result{"two", err}
		}()
		go func() {
			_, err := rest[1].ChangeMembers(t.Context(), remove(rest[1].id.Member))
			results <- result{"one", err}
		}()
		// Who removes itself may be gone before it hears of it.
		for range 2 {
			if r := <-results; r.err != nil && (r.name == "two" || !errors.Is(r.err, ErrStopped)) {
				t.Errorf("%s: %v", r.name, r.err)
			}
		}
		for _, s := range rest[1:] {
			if err := <-s.ended; !errors.Is(err, ErrRemoved) {
				t.Errorf("member %v: %v", s.id.Member, err)
			}
			s.ended <- nil
			check(t, s.stop())
		}
		cs := leader(t, all).Replica.Machine().ConfState()
		if len(cs.GetVoters()) != 2 || len(cs.GetVotersOutgoing()) != 0 {
			t.Errorf("the configuration is %v", cs)
		}
		write(t, rest[0], "a", "x")
		level(t, all)
	})
}

// TestChangesOverLeaders: changes come through although leaders come and go, each once.
func TestChangesOverLeaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, all := seats(t, 5, nil)
		leader(t, all)
		for round := range 2 {
			first := leader(t, all)
			rest := others(all, first)
			goes, asked := rest[0], rest[1]
			done := make(chan error, 1)
			go func() {
				_, err := asked.ChangeMembers(t.Context(), remove(goes.id.Member))
				done <- err
			}()
			first.kill()
			// The first attempt may have been made before the old leader was gone; then the second finds it done.
			if err := <-done; err != nil && !errors.Is(err, member.ErrIDRemoved) {
				t.Errorf("round %d: %v", round, err)
			}
			if err := <-goes.ended; !errors.Is(err, ErrRemoved) {
				t.Errorf("round %d: %v", round, err)
			}
			goes.ended <- nil
			check(t, goes.stop())
			first.start()
			leader(t, all)
			write(t, asked, fmt.Sprint(round), "x")
			level(t, all)
		}
	})
}

// TestReadsOfTheLastVoter: whoever is left as the sole voter answers no read by itself before it has applied what the
// others had acknowledged before they left.
func TestReadsOfTheLastVoter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, all := seats(t, 2, nil)
		first := leader(t, all)
		s := others(all, first)[0]
		write(t, s, "a", "x")
		level(t, all)
		resume, err := first.park()
		check(t, err)
		reply := write(t, s, "b", "x") // the follower has applied it, the leader rests
		gone := make(chan error, 1)
		go func() {
			_, err := first.ChangeMembers(context.Background(), remove(s.id.Member))
			gone <- err
		}()
		for range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), testTick)
			if err := first.ReadIndex(ctx); err == nil && first.KV().Revision() < reply.Revision {
				t.Fatalf("a linearizable read at revision %d, %d was acknowledged before it", first.KV().Revision(), reply.Revision)
			}
			cancel()
		}
		resume()
		check(t, <-gone)
		check(t, first.ReadIndex(t.Context()))
		if have := first.KV().Revision(); have < reply.Revision || !first.Status().SoleVoter {
			t.Errorf("at revision %d after %d; %+v", have, reply.Revision, first.Status())
		}
		if err := <-s.ended; !errors.Is(err, ErrRemoved) {
			t.Errorf("the removed member's Run: %v", err)
		}
		s.ended <- nil
		check(t, s.stop())
	})
}
