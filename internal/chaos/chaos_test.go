package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// fromEnv is a number from the environment, or what it is without.
func fromEnv(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// began is when the tests of this process began.
var began = time.Now()

// over reports whether that part of HOLDFAST_CHAOS_MINUTES has passed since the tests began.
func over(t testing.TB, part float64) bool {
	t.Helper()
	return time.Since(began).Minutes() > part*float64(fromEnv(t, "HOLDFAST_CHAOS_MINUTES", 60))
}

func seedOf(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(fromEnv(t, "HOLDFAST_CHAOS_SEED", int(time.Now().UnixNano()&0xffffff)))
	t.Logf("HOLDFAST_CHAOS_SEED=%d (the load is drawn from it; what the system does with it is not)", seed)
	return seed
}

// killLeader ends the leader without warning, measures until the others write again, and starts it anew.
func (l *load) killLeader() (first time.Duration) {
	f := l.f
	f.t.Helper()
	leader := f.leader()
	p := l.probe(f.others(leader), 20*time.Millisecond)
	defer p.end()
	f.kill(leader)
	killed := p.now()
	first, ok := p.first(killed)
	if !ok {
		f.t.Fatalf("no write after the leader %s was killed", leader.name)
	}
	f.restart(leader)
	return first
}

// stopLeader asks the leader to end, measures the longest time without an answer to a write, and starts it anew.
func (l *load) stopLeader() (gap time.Duration) {
	f := l.f
	f.t.Helper()
	leader := f.leader()
	p := l.probe(f.others(leader), 5*time.Millisecond)
	defer p.end()
	if _, ok := p.first(p.now()); !ok {
		f.t.Fatal("no write while nothing is wrong")
	}
	asked := p.now()
	f.stop(leader)
	if _, ok := p.first(p.now()); !ok {
		f.t.Fatalf("no write after the leader %s has stopped", leader.name)
	}
	f.pass(100 * time.Millisecond)
	gap = p.gap(asked)
	f.restart(leader)
	return gap
}

func (f *fleet) others(b *box) (others []*box) {
	for _, other := range f.live() {
		if other != b {
			others = append(others, other)
		}
	}
	return others
}

// writes waits until a write is answered that is asked for from now on, by any of the given members.
func (l *load) writes(through []*box, what string) {
	l.f.t.Helper()
	p := l.probe(through, 20*time.Millisecond)
	defer p.end()
	if took, ok := p.first(p.now()); !ok {
		l.f.t.Fatalf("no write while %s", what)
	} else {
		l.f.t.Logf("writes went on %s election timeouts after: %s", l.f.elections(took), what)
	}
}

// TestThree holds, with three members and everything that happens to processes and links, that no acknowledged write is
// lost or put in another order, and that each guarantee of reads, watches and leases holds.
func TestThree(t *testing.T) {
	seed := seedOf(t)
	f := newFleet(t, 3, 500*time.Millisecond)
	l := f.work(seed, 9, 15)
	f.pass(f.election)

	for i := range fromEnv(t, "HOLDFAST_CHAOS_ROUNDS", 1) {
		if i > 0 && over(t, 0.1) {
			break
		}
		t.Logf("first write after kill -9 of the leader: %s election timeouts", f.elections(l.killLeader()))
	}
	t.Logf("longest gap around a graceful stop of the leader: %v", l.stopLeader())

	leader := f.leader()
	f.pause(leader)
	l.writes(f.others(leader), "the leader stands still")
	f.pass(f.election)
	f.resume(leader)
	f.pass(f.election)

	leader = f.leader()
	f.isolate(leader, true, true)
	l.writes(f.others(leader), "the leader is cut off")
	f.heal()
	f.pass(f.election)

	leader = f.leader()
	f.isolate(leader, true, false)
	l.writes(f.others(leader), "nothing that the leader sends arrives")
	f.heal()
	f.pass(f.election)

	leader = f.leader()
	f.isolate(leader, false, true)
	l.writes(f.others(leader), "nothing that is sent to the leader arrives")
	f.heal()
	f.pass(f.election)

	follower := f.others(f.leader())[0]
	f.isolate(follower, true, true)
	f.pass(3 * f.election)
	before := f.leader()
	f.heal()
	f.pass(2 * f.election)
	if after := f.leader(); after != before {
		t.Errorf("a follower that came back took the lead from %s: pre-vote should prevent it (now %s leads)", before.name, after.name)
	}

	for _, b := range f.members { // a rolling restart
		f.stop(b)
		f.restart(b)
	}
	for _, b := range f.members { // all at once, as when the power fails
		f.kill(b)
	}
	for _, b := range f.members {
		f.launch(b)
	}
	for _, b := range f.members {
		f.ready(b)
	}
	l.finish()
}

// TestFive holds the same with five members of which two are lost at any time, in random order.
func TestFive(t *testing.T) {
	seed := seedOf(t)
	rng := rand.New(rand.NewPCG(seed, 5))
	f := newFleet(t, 5, 500*time.Millisecond)
	l := f.work(seed, 10, 12)
	rounds := fromEnv(t, "HOLDFAST_CHAOS_ROUNDS", 2)
	var kinds []int // each kind comes before one comes again
	for len(kinds) < rounds {
		kinds = append(kinds, rng.Perm(3)...)
	}
	for i, kind := range kinds[:rounds] {
		if i > 0 && over(t, 0.3) {
			t.Logf("the time is over after %d of %d rounds", i, rounds)
			break
		}
		f.pass(f.election / 2)
		leader := f.leader()
		other := f.others(leader)[rng.IntN(4)]
		switch kind {
		case 0:
			f.kill(leader)
			f.kill(other)
			l.writes(f.live(), "two of five are dead, the leader among them")
			f.restart(leader)
			f.restart(other)
		case 1:
			f.split([]*box{leader, other})
			var rest []*box
			for _, b := range f.others(leader) {
				if b != other {
					rest = append(rest, b)
				}
			}
			l.writes(rest, "the leader and another are cut off")
			f.heal()
		case 2:
			f.pause(leader)
			f.kill(other)
			var rest []*box
			for _, b := range f.live() {
				if b != leader {
					rest = append(rest, b)
				}
			}
			l.writes(rest, "the leader stands still and another is dead")
			f.resume(leader)
			f.restart(other)
		}
	}
	l.finish()
}

// TestKillLeaders kills leaders until HOLDFAST_CHAOS_KILLS are dead, and stops as many of them gracefully as a fifth of
// that. Each ten have a cluster of their own, whose history is judged.
func TestKillLeaders(t *testing.T) {
	kills := fromEnv(t, "HOLDFAST_CHAOS_KILLS", 0)
	if kills == 0 {
		t.Skip("HOLDFAST_CHAOS_KILLS says how many leaders to kill; make chaos sets it")
	}
	seed := seedOf(t)
	election := time.Duration(fromEnv(t, "HOLDFAST_CHAOS_ELECTION", 1000)) * time.Millisecond
	var killed, stopped spread
	for round := 0; len(killed) < kills && (round == 0 || !over(t, 1)); round++ {
		t.Run(fmt.Sprint("cluster-", round), func(t *testing.T) {
			f := newFleet(t, 3, election)
			l := f.work(seed+uint64(round), 9, 10)
			f.pass(f.election / 2)
			for i := range min(10, kills-len(killed)) {
				if i > 0 && over(t, 1) {
					break
				}
				killed = append(killed, l.killLeader())
				if i%5 == 4 {
					stopped = append(stopped, l.stopLeader())
				}
			}
			l.finish()
		})
		if t.Failed() {
			break
		}
	}
	in := func(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(election)) }
	t.Logf("%d leaders killed: the first write after it came after a median of %s and a p99 of %s election timeouts of %v (the longest: %s)",
		len(killed), in(killed.at(0.5)), in(killed.at(0.99)), election, in(killed.at(1)))
	t.Logf("%d leaders stopped: the longest gap between two answers had a median of %v and was at most %v", len(stopped), stopped.at(0.5), stopped.at(1))
	if len(killed) < kills {
		t.Logf("the time was over after %d of %d kills", len(killed), kills)
	}
	if killed.at(0.5) > election*3/2 || killed.at(0.99) > 3*election {
		t.Errorf("writes came back too late: the mark is a median of 1.5 and a p99 of 3 election timeouts")
	}
	if stopped.at(1) > 200*time.Millisecond {
		t.Errorf("a graceful stop left a gap of %v: the mark is 200 ms", stopped.at(1))
	}
}
