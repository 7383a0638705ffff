package sim

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"holdfast/internal/assembly"
	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
)

// A story is a script in a world: what befalls whom, in a few lines, under a title that tells it. What the script says holds
// for every seed; the seed decides the rest. At the end everything is healed, read and judged by all checkers.
type story struct {
	*World
	t    *testing.T
	load *workload
	asks int
	skip []string // checkers that a planted fault makes object
}

// corner is a story to be told.
type corner struct {
	title   string
	members int
	options Options
	tell    func(s *story)
}

// logFlag lets the members of a story log, for whoever looks for what has happened in it.
var logFlag = flag.Bool("log", false, "let the members of a story log to standard error")

// seedsOfCorner is how many seeds each story is told with.
const seedsOfCorner = 2

// shortLog has members that were away for a while need a snapshot.
var shortLog = assembly.Sizes{SegmentBytes: 16 << 10, MemTableBytes: 1 << 20, FlushLogBytes: 24 << 10, FlushLogEntries: 100, KeepLogBytes: 32 << 10}

// tell runs stories.
func tell(t *testing.T, corners []corner) {
	for _, c := range corners {
		t.Run(strings.ReplaceAll(c.title, " ", "-"), func(t *testing.T) {
			for seed := uint64(1); seed <= seedsOfCorner; seed++ {
				if *seedFlag != 0 {
					seed = *seedFlag
				}
				t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) { c.run(t, seed) })
				if t.Failed() || *seedFlag != 0 {
					t.Logf("go test ./internal/sim -run '%s' -args -seed %d", t.Name(), seed)
					return
				}
			}
		})
	}
}

func (c corner) run(t *testing.T, seed uint64) {
	cryptotest.SetGlobalRandom(t, seed)
	o := c.options
	o.Members = c.members
	if *logFlag {
		o.Logger = zap.Must(zap.NewDevelopment())
	}
	var skip []string
	r := Run(t, seed, o, func(w *World) {
		s := &story{World: w, t: t, load: newWorkload(w, 5, 60*time.Millisecond)}
		w.startAll()
		if !w.Until(20*time.Second, w.allServe) {
			w.wrong("the new cluster does not become ready: %s", w.standing())
			return
		}
		c.tell(s)
		skip = s.skip
		if len(w.problem) == 0 {
			w.finish(nil, s.load)
		}
	})
	for _, problem := range r.Problems {
		t.Error(problem)
	}
	report := check.Judge(r.History)
	for _, v := range report.Violations() {
		if !strings.Contains(" "+strings.Join(skip, " ")+" ", " "+v.Checker+" ") {
			t.Error(v)
		}
	}
	t.Logf("%v of the world's time, %d operations, counts %v", r.Took, len(r.History.Operations), r.Counts)
}

// must ends the story if something that the script relies on does not come.
func (s *story) must(what string, within time.Duration, done func() bool) bool {
	if s.Until(within, done) {
		return true
	}
	s.wrong("waited %v in vain until %s: %s", within, what, s.standing())
	return false
}

// do asks a host for something and waits for its fate.
func (s *story) do(h *host, op check.Operation) *check.Operation {
	s.asks++
	var told *check.Operation
	s.Ask(h, 100_000+s.asks, &op, func(op *check.Operation) { told = op })
	s.Until(2*giveUp, func() bool { return told != nil })
	return told
}

// done is do for what must be answered, by a host that can.
func (s *story) done(h *host, op check.Operation) *check.Operation {
	told := s.do(h, op)
	if told.Outcome != check.Done {
		s.wrong("%v: %s", told, told.Error)
	}
	return told
}

// begin asks and does not wait; the fate is there when the outcome is set.
func (s *story) begin(h *host, op check.Operation) (told *bool, asked *check.Operation) {
	s.asks++
	told = new(bool)
	s.Ask(h, 100_000+s.asks, &op, func(*check.Operation) { *told = true })
	return told, &op
}

func put(key, value string) check.Operation {
	return check.Operation{Put: &check.Put{Key: key, Value: value}}
}

func get(key string) check.Operation { return check.Operation{Range: &check.Range{Key: key}} }

func del(key string) check.Operation { return check.Operation{Delete: &check.Delete{Key: key}} }

func compactAt(r kind.Revision) check.Operation {
	return check.Operation{Compact: &check.Compact{Revision: r}}
}

// written puts and returns the revision.
func (s *story) written(h *host, key, value string) kind.Revision {
	if op := s.done(h, put(key, value)); op.Outcome == check.Done {
		return op.Put.Result.Revision
	}
	return 0
}

// fill writes so much that tables and segments are full.
func (s *story) fill(h *host, writes int) (last kind.Revision) {
	for i := range writes {
		last = s.written(h, fmt.Sprintf("fill/%03d", i%40), s.load.value()+strings.Repeat("x", 900))
		if last == 0 {
			return 0
		}
	}
	return last
}

// led waits for a leader that serves, and returns it.
func (s *story) led() *host {
	s.must("there is a leader", 20*time.Second, func() bool { l := s.leader(); return l != nil && l.life.serves() })
	return s.leader()
}

// others are the hosts beside one.
func (s *story) others(h *host) (others []*host) {
	for _, o := range s.hosts {
		if o != h && !o.gone && !o.removed {
			others = append(others, o)
		}
	}
	return others
}

// cut cuts a host off: what it sends, what it is sent, or both.
func (s *story) cut(h *host, sends, receives bool) {
	for _, o := range s.hosts {
		if o == h {
			continue
		}
		if sends {
			s.net.cutLink(h, o, true)
		}
		if receives {
			s.net.cutLink(o, h, true)
		}
	}
}

// watch begins a watcher of everything.
func (s *story) watch(h *host, start kind.Revision) *watcher {
	return s.Watch(h, 0, check.Watcher{Resumes: -1, Key: "\x00", End: allEnd, Start: start}, 0, nil)
}

// watchOn begins one that goes on elsewhere when its stream ends, for as long as the story lasts.
func (s *story) watchOn(r check.Watcher, slow time.Duration, at ...*host) {
	homes := append([]*host(nil), at...)
	i := 0
	var begin func(r check.Watcher)
	begin = func(r check.Watcher) {
		s.Watch(homes[i%len(homes)], 0, r, slow, func(x *watcher) {
			i++
			next, _ := x.next()
			s.source("watch on").after(50*time.Millisecond, nil, "watches on", func() { begin(next) })
		})
	}
	r.Resumes = -1
	begin(r)
}

// everything is a watcher of everything from the beginning.
func everything() check.Watcher { return check.Watcher{Key: "\x00", End: allEnd, Start: 1} }

// got reports whether a watcher has been given an event of a key at a revision.
func got(x *watcher, key string, at kind.Revision) bool {
	for _, r := range x.Responses {
		for _, e := range r.Events {
			if e.KV.Key == key && e.KV.ModRevision == at {
				return true
			}
		}
	}
	return false
}

// call does something with a host's API that the history has no words for, and waits for it.
func (s *story) call(h *host, do func(ctx context.Context, conn grpc.ClientConnInterface) error) (err error) {
	l := h.life
	done := make(chan struct{})
	finished := false
	l.work(func(ctx context.Context) {
		defer close(done)
		ctx, cancel := context.WithTimeout(ctx, giveUp)
		defer cancel()
		err = do(ctx, l.conn())
	})
	s.await(done, func() { finished = true })
	s.must("a call is answered", 2*giveUp, func() bool { return finished })
	return err
}

// begun starts a host and waits until it serves.
func (s *story) begun(h *host) {
	h.downFor = ""
	h.start()
	s.must(h.name+" serves", 30*time.Second, func() bool { return h.life.serves() })
}

// handTo has the leader hand over to a host, until it does.
func (s *story) handTo(h *host) {
	s.must(h.name+" leads", 20*time.Second, func() bool {
		l := s.leader()
		if l == h || l == nil || !l.life.serves() {
			return l == h
		}
		_ = s.call(l, func(ctx context.Context, conn grpc.ClientConnInterface) error {
			_, err := pb.NewMaintenanceClient(conn).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: uint64(h.id)})
			return err // It is tried again until it leads.
		})
		return s.leader() == h
	})
}

// repair has a member fetch its state anew.
func (s *story) repair(h *host) (err error) {
	l := h.life
	done := make(chan struct{})
	finished := false
	l.work(func(ctx context.Context) {
		defer close(done)
		_, err = l.handler().Repair(ctx)
	})
	s.await(done, func() { finished = true })
	s.must("the repair comes to an end", time.Minute, func() bool { return finished })
	return err
}
