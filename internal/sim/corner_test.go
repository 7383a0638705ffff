package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/assembly"
	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
	"holdfast/internal/store"
)

// year is a jump of a wall clock that nobody could overlook.
const year = 365 * 24 * time.Hour

// TestCorners tells what the issue of replication names: each is a place where systems of this kind have broken.
func TestCorners(t *testing.T) {
	tell(t, []corner{
		{title: "the queue is full for a minute and nobody is elected and leases end in time", options: Options{Sizes: assembly.Sizes{
			SegmentBytes: 1 << 20, MemTableBytes: 1 << 20, FlushLogBytes: 1 << 20, FlushLogEntries: 100_000, MaxPending: 8}}, tell: fullQueue},
		{title: "wall clocks jump by years and leases end when they must", tell: func(s *story) {
			s.load.start(2, 4, 1)
			for i, years := range []int{30, -25, 7, -40} {
				s.hosts[i%3].clock.jump(time.Duration(years) * year)
				s.Sleep(time.Second)
				if l := s.led(); i%2 == 1 {
					l.crash(true, "the power of the leader fails")
					s.begun(l)
				}
			}
			s.Sleep(2 * time.Second)
		}},
		{title: "the disk of the leader stalls and another leads", tell: func(s *story) {
			for range 2 {
				old := s.led()
				s.written(old, "a", "1")
				asked, _ := s.begin(old, put("a", "under way "+s.load.value()))
				old.disk.change(diskFault{hangs: true})
				began := s.now()
				told, _ := s.begin(s.others(old)[0], put("b", s.load.value()))
				s.must("another leads", 3*time.Second, func() bool { l := s.leader(); return l != nil && l != old })
				if took := s.now() - began; took > 1500*time.Millisecond {
					s.wrong("it took %v until another led: half an election timeout is what a sync may take", took)
				}
				s.must("writes go on", 3*time.Second, func() bool { return *told })
				old.disk.change(diskFault{})
				s.must("the write under way has a fate", 2*giveUp, func() bool { return *asked })
				s.Sleep(time.Second)
			}
		}},
		{title: "the leader diverges and hands over and refuses and is repaired", tell: diverge},
		{title: "what the leader sends is lost and what it is sent arrives", tell: func(s *story) {
			oneWay(s, true, false)
		}},
		{title: "what the leader is sent is lost and what it sends arrives", tell: func(s *story) {
			oneWay(s, false, true)
		}},
		{title: "a member that is cut off does not disturb the others when it comes back", tell: func(s *story) {
			l := s.led()
			term := l.seen.term
			h := s.others(l)[0]
			s.load.start(3, 0, 1)
			for range 3 {
				s.cut(h, true, true)
				s.Sleep(4 * time.Second)
				s.mendAll()
				s.Sleep(2 * time.Second)
			}
			if now := s.led(); now != l || now.seen.term != term {
				s.wrong("%s leads in term %d, before it was %s in %d", now.name, now.seen.term, l.name, term)
			}
		}},
		{title: "a snapshot is interrupted at the receiver and at the sender and on the way", options: Options{Sizes: shortLog}, tell: interrupted},
		{title: "a removed member comes back and is told that it was removed", tell: comesBack},
		{title: "old and new clients of one key race for it over elections", tell: func(s *story) {
			for range 4 {
				l := s.led()
				var told []*bool
				won := []*check.Operation{}
				for _, h := range s.hosts {
					for range 3 {
						t, op := s.begin(h, check.Operation{Txn: &check.Txn{Compares: []check.Compare{{Key: "lock", Target: check.CompareCreate, Sign: '=', Number: 0}},
							Then: []check.TxnOp{{Put: &check.Put{Key: "lock", Value: s.load.value()}}}, Else: []check.TxnOp{{Range: &check.Range{Key: "lock"}}}}})
						told, won = append(told, t), append(won, op)
					}
				}
				l.crash(false, "the leader dies in the midst of the race")
				s.must("all know their fate", 2*giveUp, func() bool { return !slices.ContainsFunc(told, func(t *bool) bool { return !*t }) })
				s.begun(l)
				winners := 0
				for _, op := range won {
					if op.Outcome == check.Done && op.Txn.Result.Succeeded {
						winners++
					}
				}
				if winners > 1 {
					s.wrong("%d clients have the lock", winners)
				}
				s.done(s.led(), del("lock"))
			}
		}},
	})
	t.Run("a joint change is interrupted", func(t *testing.T) { tell(t, jointChanges()) })
}

// oneWay cuts the leader off in one direction, again and again.
func oneWay(s *story, sends, receives bool) {
	s.load.start(3, 1, 1)
	for range 2 {
		old := s.led()
		s.cut(old, sends, receives)
		o := s.others(old)[0]
		told, _ := s.begin(o, put("b", s.load.value()))
		s.must("another leads", 10*time.Second, func() bool { l := s.leader(); return l != nil && l != old })
		s.must("writes go on", 10*time.Second, func() bool { return *told })
		s.Sleep(time.Second)
		s.mendAll()
		s.Sleep(time.Second)
	}
}

// fullQueue asks for more than the members take, for a minute, over a network that is slow.
func fullQueue(s *story) {
	l := s.led()
	term := l.seen.term
	s.net.slow = 40 * time.Millisecond
	answered := map[int]int{}
	refused := 0
	stop := false
	const clients = 36
	for c := range clients {
		src := s.source(fmt.Sprint("pushing ", c))
		var ask func()
		ask = func() {
			if stop {
				return
			}
			s.load.busy++
			s.Ask(s.hosts[c%3], 200_000+c, &check.Operation{Put: &check.Put{Key: fmt.Sprintf("push/%d", c), Value: s.load.value()}}, func(op *check.Operation) {
				s.load.busy--
				switch {
				case op.Outcome == check.Done:
					answered[c]++
				case strings.Contains(op.Error, "too many requests"):
					refused++
				}
				src.after(src.between(20*time.Millisecond, 60*time.Millisecond), nil, "pushes on", ask)
			})
		}
		ask()
	}
	for second := range 20 {
		id := kind.LeaseID(7000 + second)
		s.do(l, check.Operation{Grant: &check.Grant{ID: id, TTL: 2}}) // It may be refused: then no lease lives.
		before := answered
		answered = map[int]int{}
		s.Sleep(3 * time.Second)
		for c := range clients {
			if answered[c] == 0 {
				s.wrong("client %d got no answer within 3 s (%d before)", c, before[c])
			}
		}
		for _, lease := range l.life.handler().Leases().All() {
			if lease.ID < id {
				s.wrong("lease %v of 2 s lives on after more than 3 s", lease.ID)
			}
		}
	}
	stop = true
	s.net.slow = 0
	if refused == 0 {
		s.wrong("the queue was never full")
	}
	if now := s.led(); now != l || now.seen.term != term {
		s.wrong("there was an election: term %d after %d", now.seen.term, term)
	}
}

// diverge has a counter in the leader's store be wrong, as a bug or a bad bit would leave it.
func diverge(s *story) {
	s.skip = []string{"replicas"} // It sees the planted difference, as it should.
	bad := s.led()
	s.written(bad, "a", "1")
	spoil(s, bad)
	s.begun(bad)
	s.handTo(bad)
	s.must("it leads again", 20*time.Second, func() bool { return s.leader() == bad && bad.life.serves() })
	began := s.now()
	s.do(bad, put("b", "2"))
	s.must("it knows that it differs", 2*time.Second, func() bool { return bad.life.handler().Corrupt() })
	s.must("another leads", 5*time.Second, func() bool { l := s.leader(); return l != nil && l != bad })
	if took := s.now() - began; took > 5*time.Second {
		s.wrong("it took %v", took)
	}
	if op := s.do(bad, get("a")); op.Outcome == check.Done {
		s.wrong("the member whose state differs answers: %v", op)
	}
	s.written(s.led(), "c", "3")
	s.Sleep(5 * time.Second)
	if s.leader() == bad {
		s.wrong("it leads again")
	}
	if err := s.repair(bad); err != nil {
		s.wrong("it is not repaired: %v", err)
	}
	s.must("it serves again, by a state fetched anew", 30*time.Second, func() bool { return bad.life.serves() && !bad.life.handler().Corrupt() })
	s.written(bad, "d", "4")
}

// spoil stops a host and changes a counter in its store.
func spoil(s *story, h *host) {
	h.stop()
	s.must(h.name+" has stopped", 20*time.Second, func() bool { return h.life == nil })
	dir := ""
	for _, path := range h.disk.files() {
		if at := strings.Index(path, "/CURRENT"); at >= 0 || strings.Contains(path, "marker.manifest") {
			dir = path[:strings.LastIndex(path, "/")]
		}
	}
	db, err := store.OpenReadOnly(h.disk, dir, store.Options{})
	if err != nil {
		s.wrong("open the store in %q: %v", dir, err)
		return
	}
	id := db.Identity
	if err := db.Close(false); err != nil {
		s.wrong("close it: %v", err)
		return
	}
	db, err = store.Open(h.disk, dir, id, store.Options{})
	if err != nil {
		s.wrong("open the store in %q: %v", dir, err)
		return
	}
	a, err := db.Applied()
	if err == nil {
		a.LiveKeys++
		err = db.Set(store.AppliedKey(), store.EncodeApplied(a), pebble.NoSync)
	}
	if closed := db.Close(true); err == nil {
		err = closed
	}
	if err != nil {
		s.wrong("change the store in %q: %v", dir, err)
	}
}

// interrupted breaks the sending of a snapshot off in every way.
func interrupted(s *story) {
	away := func(h *host) {
		h.crash(false, "it is away")
		s.fill(s.led(), 120)
		s.net.slow = 30 * time.Millisecond // A snapshot takes its time.
		h.start()
	}
	for i, strike := range []func(h, l *host){
		func(h, _ *host) { h.crash(true, "the receiver's power fails"); h.start() },
		func(_, l *host) { l.crash(true, "the sender's power fails"); l.start() },
		func(h, l *host) { s.net.cutLink(l, h, true); s.Sleep(time.Second); s.mendAll() },
		func(h, l *host) { s.net.cutLink(h, l, false); s.Sleep(4 * time.Second); s.mendAll() },
		func(h, _ *host) { h.pause(false); s.Sleep(2 * time.Second); h.resume() },
	} {
		h := s.others(s.led())[0]
		hits := 0
		away(h)
		for n := range 3 {
			l := s.led()
			if s.Until(20*time.Second, func() bool { return receives(h) || h.life.serves() }) && receives(h) {
				s.Sleep(time.Duration(5*(i+1)*(n+1)) * time.Millisecond)
				strike(h, l)
				hits++
			}
		}
		s.must("it is back", 60*time.Second, func() bool { return h.life.serves() })
		s.net.slow = 0
		if !s.Until(20*time.Second, s.allServe) || hits == 0 {
			s.wrong("no snapshot was interrupted: %v", s.counts.m)
		}
	}
}

// receives reports whether a host is being sent a snapshot.
func receives(h *host) bool {
	l := h.life
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mu.receiving) > 0
}

// comesBack removes a member that is away, and starts it again.
func comesBack(s *story) {
	h := s.others(s.led())[0]
	h.crash(false, "it is away")
	o := &operator{w: s.World, old: h, source: s.source("operator")}
	o.remove()
	s.must("it is removed", 20*time.Second, func() bool { return o.is(h.id, removed) })
	s.fill(s.led(), 10)
	l := s.led()
	term := l.seen.term
	h.gone = false
	h.start()
	s.must("it has stopped by itself", 30*time.Second, func() bool { return h.life == nil })
	h.gone = true
	if now := s.led(); now != l || now.seen.term != term {
		s.wrong("it has disturbed the others: term %d after %d", now.seen.term, term)
	}
	s.written(s.led(), "a", "1")
}

// jointChanges are stories of a joint change, replacing one voter by a learner, under which somebody crashes at a moment
// that is later from story to story.
func jointChanges() (stories []corner) {
	for i := range 10 {
		after := time.Duration(i) * 4 * time.Millisecond
		victim := []string{"the leader", "a follower", "the new member"}[i%3]
		stories = append(stories, corner{title: fmt.Sprintf("%s dies %v into it", victim, after), tell: func(s *story) {
			s.load.start(2, 0, 1)
			leader := s.led()
			old := s.others(leader)[1]
			o := &operator{w: s.World, old: old, source: s.source("operator")}
			learning := false
			o.addLearner(func() { learning = true })
			s.must("a learner has been added", 20*time.Second, func() bool { return learning })
			s.must("it keeps up", 30*time.Second, func() bool { return o.fresh.life.serves() || o.fresh.life.listens() })
			s.Sleep(time.Second)
			leader = s.led()
			hit := map[string]*host{"the leader": leader, "a follower": s.others(leader)[0], "the new member": o.fresh}[victim]
			o.replace()
			s.Sleep(after)
			hit.crash(i%2 == 0, victim+" dies")
			s.Sleep(200 * time.Millisecond)
			if hit.life == nil && !hit.removed {
				hit.start()
			}
			s.must("the change is made, once", 60*time.Second, func() bool { return o.is(o.fresh.id, voter) && o.is(old.id, removed) })
			s.must("the old member has stopped", 30*time.Second, func() bool { return old.life == nil })
			old.gone = true
			s.written(s.led(), "a", "1")
		}})
	}
	return stories
}
