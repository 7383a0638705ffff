package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/transport"
)

// TestTransfer: leadership goes where it is sent, and nowhere else.
func TestTransfer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all := seats(t, 3, nil)
		for range 5 {
			first := leader(t, all)
			rest := others(all, first)
			if err := rest[0].TransferLeadership(t.Context(), rest[1].id.Member); !errors.Is(err, ErrNotLeader) {
				t.Errorf("asked of a follower: %v", err)
			}
			if err := first.TransferLeadership(t.Context(), 12345); !errors.Is(err, ErrBadLeaderTransferee) {
				t.Errorf("to a stranger: %v", err)
			}
			check(t, first.TransferLeadership(t.Context(), first.id.Member))
			began := time.Now()
			check(t, first.TransferLeadership(t.Context(), rest[1].id.Member))
			if took := time.Since(began); took > testTick {
				t.Errorf("it took %v", took)
			}
			if now := leader(t, all); now != rest[1] {
				t.Errorf("member %v leads", now.id.Member)
			}
		}
		first := leader(t, all)
		to := others(all, first)[0]
		net.cut(to.id.Member)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := first.TransferLeadership(ctx, to.id.Member); !errors.Is(err, ErrTimeoutLeaderTransfer) {
			t.Errorf("to one that is not there: %v", err)
		}
		write(t, leader(t, others(all, to)), "a", "x")
	})
}

// TestStopHandsOver: when the leader stops in order, writes of the others wait for no election.
func TestStopHandsOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, all := seats(t, 3, nil)
		for round := range 5 {
			first := leader(t, all)
			l := load{stop: make(chan struct{})}
			for i, s := range others(all, first) {
				l.run(t, fmt.Sprintf("%d/%d", round, i), func() *Node { return s.Node }, 4)
			}
			<-time.After(5 * testTick)
			check(t, first.stop())
			<-time.After(10 * testTick)
			close(l.stop)
			l.group.Wait()
			if took := time.Duration(l.longest.Load()); took > 4*testTick {
				t.Errorf("a write took %v, an election timeout is %v", took, 10*testTick)
			}
			first.start()
			leader(t, all)
			level(t, all)
			once(t, all)
		}
	})
}

// sick is a disk of which the syncs of the log can be made to wait, or to fail.
type sick struct {
	hang atomic.Pointer[chan struct{}]
	fail atomic.Bool
}

func (s *sick) wrap(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpFileSyncData || !strings.HasPrefix(op.Path, "log/") {
			return nil
		}
		if gate := s.hang.Load(); gate != nil {
			<-*gate
		}
		if s.fail.Load() {
			return syscall.EIO
		}
		return nil
	}))
}

// TestSickDisk: a leader whose disk hangs or fails hands over, and those who wait with the others hardly notice.
func TestSickDisk(t *testing.T) {
	for name, spoil := range map[string]func(s *sick) (heal func()){
		"hangs": func(s *sick) func() {
			gate := make(chan struct{})
			s.hang.Store(&gate)
			return func() { s.hang.Store(nil); close(gate) }
		},
		"fails": func(s *sick) func() { s.fail.Store(true); return func() {} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				disks := map[kind.MemberID]*sick{}
				_, all := seatsOn(t, 3, nil, func(s *seat) vfs.FS {
					d := new(sick)
					disks[s.id.Member] = d
					return d.wrap(s.fs)
				})
				first := leader(t, all)
				term := first.Status().Term
				l := load{stop: make(chan struct{})}
				for i, s := range others(all, first) {
					l.run(t, fmt.Sprint(i), func() *Node { return s.Node }, 4)
				}
				<-time.After(5 * testTick)
				heal := sync.OnceFunc(spoil(disks[first.id.Member]))
				t.Cleanup(heal) // before the members are stopped
				rest := others(all, first)
				until(t, "another leads", func() bool { return rest[0].Status().Leading || rest[1].Status().Leading })
				after := l.acknowledged.Load()
				until(t, "writes go on", func() bool { return l.acknowledged.Load() > after+50 })
				close(l.stop)
				l.group.Wait()
				if took := time.Duration(l.longest.Load()); took > 12*testTick {
					t.Errorf("a write took %v, an election timeout is %v", took, 10*testTick)
				}
				if now := rest[0].Status().Term; now != term+1 {
					t.Errorf("term %d after %d: it was an election, not a hand-over", now, term)
				}
				heal()
				if name == "fails" {
					if err := <-first.ended; !errors.Is(err, syscall.EIO) {
						t.Errorf("Run: %v", err)
					}
					first.ended <- nil
				} else {
					level(t, all)
				}
				once(t, rest)
			})
		})
	}
}

// TestFullQueue: while the queue is full for a minute there is no election, duties are done at once, and every member's
// clients get their share.
func TestFullQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all := seats(t, 3, func(c *Config) { c.MaxPending = 24 })
		first := leader(t, all)
		term := first.Status().Term
		// The network is slow, so that commands stay undecided and the queue fills.
		net.mu.Lock()
		net.delay = 2 * testTick
		net.mu.Unlock()
		stop := make(chan struct{})
		var shares [3]atomic.Int64
		var refused atomic.Int64
		for i, s := range all {
			for c := range 40 {
				go func() {
					for n := 0; ; n++ {
						select {
						case <-stop:
							return
						default:
						}
						_, err := s.Propose(context.Background(), put(fmt.Sprintf("%d/%d/%d", i, c, n), "x"))
						switch {
						case err == nil:
							shares[i].Add(1)
						case errors.Is(err, ErrTooManyRequests):
							refused.Add(1)
							<-time.After(testTick)
						case errors.Is(err, ErrStopped):
							return
						default:
							t.Errorf("member %d: %v", i, err)
							return
						}
					}
				}()
			}
		}
		for range fullSeconds() {
			before := [3]int64{shares[0].Load(), shares[1].Load(), shares[2].Load()}
			began := time.Now()
			c := command.Command{Kind: command.KindLeaseExpire, Payload: command.AppendLeaseExpire(nil, &command.LeaseExpire{IDs: []kind.LeaseID{77}})}
			if _, err := first.Propose(t.Context(), c); err != nil {
				t.Errorf("a duty while the queue is full: %v", err)
			}
			if took := time.Since(began); took > 500*time.Millisecond {
				t.Errorf("a duty took %v", took)
			}
			<-time.After(time.Second)
			for i := range before {
				if shares[i].Load() == before[i] {
					t.Errorf("member %d got nothing for a second", i)
				}
			}
		}
		close(stop)
		if refused.Load() == 0 {
			t.Error("the queue was never full")
		}
		if s := first.Status(); !s.Leading || s.Term != term {
			t.Errorf("there was an election: %+v", s)
		}
	})
}

// TestDutiesHaveRoom: while nothing is decided and the queue is full of clients' commands, in number or in bytes, a duty is
// taken, and done once the network is well.
func TestDutiesHaveRoom(t *testing.T) {
	for name, bound := range map[string]func(*Config){
		"count": func(c *Config) { c.MaxPending = 8 },
		"bytes": func(c *Config) { c.MaxPendingBytes = 16 << 10 },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				net, all := seats(t, 3, bound)
				first := leader(t, all)
				// Entries do not get through, so nothing is decided; heartbeats do, so nobody is elected.
				net.mu.Lock()
				net.mu.lose = func(m transport.Message) bool {
					return m.From == first.id.Member && m.Kind == transport.KindRaft && len(m.Raft.GetEntries()) > 0
				}
				net.mu.Unlock()
				var group sync.WaitGroup
				refused := make(chan struct{})
				full := sync.OnceFunc(func() { close(refused) })
				for i := range 200 {
					group.Go(func() {
						_, err := first.Propose(t.Context(), put(fmt.Sprint("a", i), strings.Repeat("x", 100)))
						if errors.Is(err, ErrTooManyRequests) {
							full()
						} else if err != nil {
							t.Errorf("a write: %v", err)
						}
					})
				}
				<-refused
				group.Go(func() {
					c := command.Command{Kind: command.KindLeaseExpire, Payload: command.AppendLeaseExpire(nil, &command.LeaseExpire{IDs: []kind.LeaseID{77}})}
					if _, err := first.Propose(t.Context(), c); err != nil {
						t.Errorf("a duty while the queue is full: %v", err)
					}
				})
				<-time.After(testTick)
				net.mu.Lock()
				net.mu.lose = nil
				net.mu.Unlock()
				group.Wait()
			})
		})
	}
}

// TestLeaseTime: the time of leases goes on over changes of the leader and never back, whatever the wall clocks say; a
// leader's duties begin when it has applied an entry of its own term.
func TestLeaseTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		walls := map[kind.MemberID]*atomic.Int64{}
		_, all := seats(t, 3, func(c *Config) {
			w := walls[c.Identity.Member]
			if w == nil {
				w = new(atomic.Int64)
				walls[c.Identity.Member] = w
			}
			c.Clock = wrongClock{SystemClock(), w}
		})
		began := time.Now()
		var last uint64
		var start uint64
		for round := range 20 {
			first := leader(t, all)
			now, leading := first.ClusterTime()
			if !leading || now < last {
				t.Fatalf("round %d: the time is %d after %d, leading %v", round, now, last, leading)
			}
			if round == 0 {
				start = now
			}
			walls[first.id.Member].Store(int64(round-10) * int64(10*365*24*time.Hour))
			for range 10 {
				<-time.After(250 * time.Millisecond)
				first.LogTime()
			}
			<-time.After(testTick)
			last, _ = first.ClusterTime()
			if round%2 == 0 {
				first.kill()
			} else {
				check(t, first.TransferLeadership(t.Context(), others(all, first)[0].id.Member))
			}
			leader(t, all)
			if !first.running {
				first.start()
			}
			last -= min(last, uint64(500*time.Millisecond))
		}
		// A change of the leader loses less than 500 ms, and the time without one.
		elapsed, passed := time.Duration(last-start), time.Since(began)
		if elapsed > passed || elapsed < passed-20*(500*time.Millisecond+40*testTick) {
			t.Errorf("the cluster's time went on by %v in %v", elapsed, passed)
		}
	})
}

// wrongClock has a time of day that is off.
type wrongClock struct {
	Clock
	off *atomic.Int64
}

func (c wrongClock) Wall() time.Time { return c.Clock.Wall().Add(time.Duration(c.off.Load())) }

// TestReady holds I6: a member is ready when it has what the leader had committed when it started, and after five
// seconds without a leader, when it has what its log knew.
func TestReady(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all := seats(t, 3, nil)
		first := leader(t, all)
		s := others(all, first)[0]
		<-s.Ready()
		check(t, s.stop())
		reply := write(t, first, "a", "x")
		// Entries do not get through to it, so it cannot have them; heartbeats do.
		net.mu.Lock()
		net.mu.lose = (func(m transport.Message) bool {
			return m.To == s.id.Member && m.Kind == transport.KindRaft && len(m.Raft.GetEntries()) > 0
		})
		net.mu.Unlock()
		s.start()
		<-time.After(time.Minute)
		select {
		case <-s.Ready():
			t.Errorf("ready at revision %d, %d is acknowledged", s.KV().Revision(), reply.Revision)
		default:
		}
		net.mu.Lock()
		net.mu.lose = nil
		net.mu.Unlock()
		<-s.Ready()
		if have := s.KV().Revision(); have < reply.Revision {
			t.Errorf("ready at revision %d, %d is acknowledged", have, reply.Revision)
		}
		for _, m := range all {
			check(t, m.stop())
		}
		began := time.Now()
		s.start()
		<-s.Ready()
		if took := time.Since(began); took < readyAlone || took > readyAlone+time.Second {
			t.Errorf("alone it is ready after %v", took)
		}
	})
}

// TestLogIsKept: the log is kept for a follower that is slow and for one that was away for a short time, within the
// bounds that are set, and never cut above what the store has flushed (N3).
func TestLogIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all := seats(t, 3, func(c *Config) {
			c.FlushLogEntries, c.CatchUpEntries, c.KeepLogBytes, c.KeepLogTime = 20, 100, 64<<10, 30*time.Second
		})
		first := leader(t, all)
		slow := others(all, first)[0]
		for i := range 300 {
			write(t, first, fmt.Sprint("a", i), strings.Repeat("x", 100))
		}
		<-time.After(5 * time.Second)
		start := first.log.FirstIndex()
		if last := first.log.LastIndex(); start == 2 || last-start+1 < 100 || last-start > 200 {
			t.Errorf("the log holds %d to %d, the newest 100 are to stay", start, last)
		}
		// One that answers, and does not get on.
		net.mu.Lock()
		net.mu.lose = (func(m transport.Message) bool {
			return m.To == slow.id.Member && m.Kind == transport.KindRaft && len(m.Raft.GetEntries()) > 0
		})
		net.mu.Unlock()
		at := slow.Status().Applied
		for i := range 200 {
			write(t, first, fmt.Sprint("b", i), strings.Repeat("x", 100))
		}
		<-time.After(5 * time.Second)
		if start := first.log.FirstIndex(); start > at+1 {
			t.Errorf("the log begins at %d, the slow one has %d", start, at)
		}
		if size := first.log.SizeSince(first.log.FirstIndex()); size < 30<<10 {
			t.Errorf("%d bytes of log: the test is too small", size)
		}
		// Too much of it, or too long.
		<-time.After(40 * time.Second)
		if start := first.log.FirstIndex(); start <= at+1 {
			t.Errorf("the log is kept for one that has not come on for 40 s: from %d, it has %d", start, at)
		}
		for i := range 1000 {
			write(t, first, fmt.Sprint("c", i), strings.Repeat("x", 1000))
		}
		<-time.After(5 * time.Second)
		if size := first.log.SizeSince(first.log.FirstIndex()); size > 70<<10 {
			t.Errorf("%d bytes of log are kept", size)
		}
		durable, err := first.DB().Durable()
		check(t, err)
		if start := first.log.FirstIndex(); start > durable.Index+1 {
			t.Errorf("the log begins at %d, flushed is %d", start, durable.Index)
		}
	})
}

// fullSeconds is how long the queue is kept full.
func fullSeconds() int {
	if testing.Short() {
		return 5
	}
	return 60
}
