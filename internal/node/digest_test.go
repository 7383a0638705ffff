package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/store"
	"holdfast/internal/transport"
)

// holds is what keeps the quarantine of each member of a test over restarts.
type holds struct {
	mu     sync.Mutex
	causes map[kind.MemberID]string
}

// guarded makes a cluster whose members see to their alarms and to the leader's duty about marks, and whose quarantines
// outlive restarts.
func guarded(t *testing.T, n int, change func(*Config)) (*network, []*seat, *holds) {
	h := &holds{causes: map[kind.MemberID]string{}}
	net, all := seats(t, n, func(c *Config) {
		id := c.Identity.Member
		h.mu.Lock()
		defer h.mu.Unlock()
		c.Hold = Hold{
			Cause:   h.causes[id],
			Keep:    func(cause string, _ bool) error { h.mu.Lock(); defer h.mu.Unlock(); h.causes[id] = cause; return nil },
			Release: func() error { h.mu.Lock(); defer h.mu.Unlock(); delete(h.causes, id); return nil },
		}
		if change != nil {
			change(c)
		}
	})
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, s := range all {
		group.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(250 * time.Millisecond)
				s.duties(ctx)
			}
		})
	}
	t.Cleanup(func() { stop(); group.Wait() })
	return net, all, h
}

// duties does what package chore does.
func (s *seat) duties(ctx context.Context) {
	n := s.life.Load()
	if n.MarkDue() {
		n.LogTime()
	}
	if c, due := n.AlarmDue(); due {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, _ = n.Propose(ctx, c) // it is tried again
	}
}

// spoil lets the state of a member part from the others': it is stopped, and a counter of its store is wrong afterwards.
func (s *seat) spoil(by int64) {
	s.t.Helper()
	check(s.t, s.stop())
	db, err := store.Open(s.fs, "store", s.id, store.Options{})
	check(s.t, err)
	a, err := db.Applied()
	check(s.t, err)
	a.LiveKeys += by
	a.LiveBytes += by
	check(s.t, db.Set(store.AppliedKey(), store.EncodeApplied(a), pebble.NoSync))
	check(s.t, db.Close(true))
	s.start()
}

func corruptOf(s *seat) machine.Alarm {
	return machine.Alarm{Member: s.id.Member, Type: command.AlarmCorrupt}
}

// within2s waits for what has to follow from an entry within two seconds.
func within2s(t *testing.T, what string, met func() bool) {
	t.Helper()
	began := time.Now()
	until(t, what, met)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("%s: it took %v", what, took)
	}
}

// TestOneDiffers: the one of three whose state differs knows it within two seconds of the entry, raises its alarm, refuses,
// and does not lead: it hands over if it leads. It goes on voting and applying. A restart changes nothing about that.
func TestOneDiffers(t *testing.T) {
	for _, leading := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			_, all, holds := guarded(t, 3, nil)
			first := leader(t, all)
			write(t, first, "a", "1")
			bad := others(all, first)[0]
			bad.spoil(7)
			first = leader(t, all)
			if leading {
				check(t, first.TransferLeadership(t.Context(), bad.id.Member))
				leader(t, all)
			}
			write(t, bad, "b", "2")
			within2s(t, "the member knows that its state differs", bad.Corrupt)
			within2s(t, "the alarm stands everywhere", func() bool {
				for _, s := range all {
					if !slices.Contains(s.Alarms(), corruptOf(bad)) {
						return false
					}
				}
				return true
			})
			within2s(t, "somebody else leads", func() bool {
				s := leader(t, all)
				return s != bad
			})
			select {
			case <-bad.Refusing():
			default:
				t.Error("nobody is told that it refuses")
			}
			if _, err := bad.Propose(t.Context(), put("c", "3")); !errors.Is(err, ErrCorrupt) {
				t.Errorf("a write through it: %v", err)
			}
			for _, s := range others(all, bad) {
				if s.Corrupt() || s.Quarantine() != "" {
					t.Errorf("member %v refuses: %s", s.id.Member, s.Quarantine())
				}
				write(t, s, "d", "4")
			}

			bad.kill()
			bad.start()
			if !bad.Corrupt() || bad.Quarantine() == "" {
				t.Error("a restart has ended the quarantine")
			}
			// Of three, one is gone: the one in quarantine has to vote, and must not be elected.
			leader(t, all)
			gone := leader(t, all)
			gone.kill()
			left := others(all, bad)[0]
			until(t, "the other one leads", func() bool { return left.Status().Leading })
			write(t, left, "e", "5")
			until(t, "it goes on applying", func() bool { return bad.Status().Applied == left.Status().Applied })
			<-time.After(5 * time.Second)
			if bad.Status().Leading || !left.Status().Leading {
				t.Error("leadership has moved")
			}
			if len(holds.causes) != 1 {
				t.Errorf("%v are kept", holds.causes)
			}
		})
	}
}

// TestNobodyAgrees: where no majority agrees every member refuses, and nobody is accused; the third decides.
func TestNobodyAgrees(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, all, holds := guarded(t, 3, nil)
		write(t, leader(t, all), "a", "1")
		bad, away := all[0], all[1]
		bad.spoil(7)
		leader(t, all)
		until(t, "all have applied", func() bool { return away.Status().Applied == leader(t, all).Status().Applied })
		check(t, away.stop())
		write(t, leader(t, all), "b", "2")
		within2s(t, "both refuse", func() bool { return all[0].Corrupt() && all[2].Corrupt() })
		if len(holds.causes) != 0 || len(all[2].Replica.Machine().Alarms()) != 0 {
			t.Errorf("somebody is accused: %v", holds.causes)
		}
		if _, err := all[2].Propose(t.Context(), put("x", "")); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a write: %v", err)
		}
		away.start()
		until(t, "the third has decided", func() bool { return bad.Corrupt() && bad.Quarantine() != "" && !all[2].Corrupt() && !away.Corrupt() })
		until(t, "the alarm stands", func() bool { return slices.Contains(all[2].Alarms(), corruptOf(bad)) })
		write(t, all[2], "c", "3")
	})
}

// TestNoFalseAlarm: whatever is lost, repeated and cut off, and whoever is killed, nobody is accused of what he has not.
func TestNoFalseAlarm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all, holds := guarded(t, 5, nil)
		reports, messages := 0, 0
		net.mu.Lock()
		net.mu.lose = func(m transport.Message) bool {
			if m.Kind == transport.KindDigest {
				reports++
				return reports%3 != 0
			}
			messages++
			return messages%17 == 0
		}
		net.mu.twice = func(m transport.Message) bool { return m.Kind == transport.KindDigest }
		net.mu.Unlock()
		for round := range 30 {
			s := leader(t, all)
			for range 20 {
				write(t, s, "k", "v")
				<-time.After(20 * time.Millisecond)
			}
			switch victim := all[round%5]; round % 3 {
			case 0:
				victim.kill()
				<-time.After(300 * time.Millisecond)
				victim.start()
			case 1:
				net.cut(victim.id.Member)
				<-time.After(700 * time.Millisecond)
				net.heal()
			}
			for _, s := range all {
				if s.Corrupt() {
					t.Fatalf("round %d: member %v refuses: %s", round, s.id.Member, s.Quarantine())
				}
			}
		}
		net.mu.Lock()
		net.mu.lose = nil
		net.mu.Unlock()
		last := leader(t, all)
		write(t, last, "z", "z")
		until(t, "all agree", func() bool {
			for _, s := range all {
				s.digests.mu.Lock()
				v := s.digests.mu.now
				s.digests.mu.Unlock()
				if v.Standing.String() != "agrees" || v.At.Index < last.Status().Applied-2 {
					return false
				}
			}
			return true
		})
		if len(holds.causes) != 0 {
			t.Errorf("accused are %v", holds.causes)
		}
	})
}

// TestAlarmQuarantines: the alarm CORRUPT against a member lets it refuse, against member 0 all; clearing it ends that.
func TestAlarmQuarantines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, all, _ := guarded(t, 3, nil)
		first := leader(t, all)
		raise := func(action command.AlarmAction, id kind.MemberID) {
			_, err := leader(t, all).Propose(t.Context(), corruptAlarm(action, id))
			check(t, err)
		}
		raise(command.AlarmRaise, first.id.Member)
		until(t, "it refuses, and another leads", func() bool { return first.Corrupt() && leader(t, all) != first })
		raise(command.AlarmClear, first.id.Member)
		until(t, "it serves", func() bool { return !first.Corrupt() })
		write(t, first, "a", "1")
		raise(command.AlarmRaise, 0)
		until(t, "all refuse", func() bool { return all[0].Corrupt() && all[1].Corrupt() && all[2].Corrupt() })
		raise(command.AlarmClear, 0)
		until(t, "all serve", func() bool { return !all[0].Corrupt() && !all[1].Corrupt() && !all[2].Corrupt() })
		write(t, all[1], "b", "2")
	})
}
