package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// fault is one thing that goes wrong in a run, or that an operator does.
type fault struct {
	at    time.Duration // after the cluster has become ready
	lasts time.Duration
	text  string
	begin func(f *fault)
	end   func(f *fault) // nil if it is over at once
	under bool           // it has begun and not ended
}

// plan is all of them, drawn from the seed before anything happens, so that a failure can print it.
type plan struct {
	w      *World
	rng    *rand.Rand
	faults []*fault
	span   time.Duration

	operator *operator // who changes the membership; nil if nobody does
}

func newPlan(w *World, span time.Duration) *plan {
	p := &plan{w: w, rng: w.rng("plan"), span: span}
	for range 3 + p.rng.IntN(6) {
		p.draw()
	}
	if len(w.hosts) >= 3 && p.rng.IntN(2) == 0 {
		p.drawChanges()
	}
	if len(w.hosts) >= 3 && p.operator == nil && p.rng.IntN(4) == 0 {
		p.flip()
	}
	slices.SortStableFunc(p.faults, func(a, b *fault) int { return cmp.Compare(a.at, b.at) })
	return p
}

// String is the plan, a line for each fault.
func (p *plan) String() string {
	var b strings.Builder
	for _, f := range p.faults {
		fmt.Fprintf(&b, "  %8v for %8v: %s\n", f.at.Round(time.Millisecond), f.lasts.Round(time.Millisecond), f.text)
	}
	return b.String()
}

func (p *plan) add(lasts time.Duration, text string, begin, end func(f *fault)) {
	at := time.Duration(p.rng.Int64N(int64(p.span)))
	p.faults = append(p.faults, &fault{at: at, lasts: lasts, text: text, begin: begin, end: end})
}

func (p *plan) host() *host { return p.w.hosts[p.rng.IntN(len(p.w.hosts))] }

func (p *plan) between(low, high time.Duration) time.Duration {
	return low + time.Duration(p.rng.Int64N(int64(high-low)))
}

// draw draws one fault.
func (p *plan) draw() {
	w := p.w
	switch p.rng.IntN(20) {
	case 0, 1:
		p.crash(p.host(), false)
	case 2, 3:
		p.crash(p.host(), true)
	case 4:
		text := "the power of all hosts fails"
		p.add(p.between(10*time.Millisecond, time.Second), text, func(*fault) {
			for _, h := range w.hosts {
				h.crash(true, text)
			}
		}, func(*fault) {
			for _, h := range w.hosts {
				h.startIfDown()
			}
		})
	case 5:
		h := p.host()
		p.add(p.between(50*time.Millisecond, time.Second), h.name+" is stopped and started", func(*fault) { h.stop() }, func(*fault) { h.startIfDown() })
	case 6, 7:
		p.pause()
	case 8, 9, 10, 11:
		p.cut()
	case 12, 13:
		p.noise()
	case 14:
		p.slowDisk()
	case 15:
		p.fullDisk()
	case 16:
		p.badDisk()
	case 17:
		p.clock()
	case 18:
		h := p.host()
		p.add(0, "the engine of "+h.name+" flushes and compacts", func(*fault) { h.compactEngine() }, nil)
	case 19:
		p.add(0, "the leader hands over", func(*fault) { w.handOver(p.rng) }, nil)
	}
}

// leaderOr returns the leader at the moment, in half of the cases, and otherwise h: the leader is where it hurts.
func (p *plan) leaderOr(h *host, leader bool) *host {
	if leader {
		if l := p.w.leader(); l != nil {
			return l
		}
	}
	return h
}

func (p *plan) crash(h *host, cut bool) {
	leader := p.rng.IntN(2) == 0
	what := "the process of " + name(h, leader) + " is killed"
	if cut {
		what = "the power of " + name(h, leader) + " fails"
	}
	var hit *host
	p.add(p.between(10*time.Millisecond, 2*time.Second), what, func(*fault) {
		hit = p.leaderOr(h, leader)
		hit.crash(cut, what)
	}, func(*fault) { hit.startIfDown() })
}

func name(h *host, leader bool) string {
	if leader {
		return "the leader (or " + h.name + ")"
	}
	return h.name
}

func (p *plan) pause() {
	h, leader, machine := p.host(), p.rng.IntN(2) == 0, p.rng.IntN(2) == 0
	what := "the process of "
	if machine {
		what = "the virtual machine of "
	}
	var hit *host
	p.add(p.between(100*time.Millisecond, 4*time.Second), what+name(h, leader)+" stands still", func(*fault) {
		hit = p.leaderOr(h, leader)
		hit.pause(machine)
	}, func(*fault) { hit.resume() })
}

// cut draws a partition.
func (p *plan) cut() {
	w := p.w
	reset := p.rng.IntN(2) == 0
	h, leader := p.host(), p.rng.IntN(2) == 0
	way := p.rng.IntN(4)
	text := []string{"nothing reaches ", "nothing comes from ", "nobody talks to ", "one other does not talk to "}[way] + name(h, leader)
	if reset {
		text += ", connections break"
	}
	p.add(p.between(50*time.Millisecond, 4*time.Second), text, func(*fault) {
		hit := p.leaderOr(h, leader)
		w.event(faultBegins, hit.id, 0, text)
		for i, o := range w.hosts {
			if o == hit || way == 3 && i != (hit.number+1)%len(w.hosts) {
				continue
			}
			if way != 0 {
				w.net.cutLink(hit, o, reset)
			}
			if way != 1 {
				w.net.cutLink(o, hit, reset)
			}
		}
	}, func(*fault) {
		w.event(faultEnds, 0, 0, text)
		w.mendAll()
	})
}

func (p *plan) noise() {
	w := p.w
	loss, double, slow := p.rng.IntN(30), p.rng.IntN(20), time.Duration(0)
	if p.rng.IntN(2) == 0 {
		slow = p.between(5*time.Millisecond, 150*time.Millisecond)
	}
	text := fmt.Sprintf("the network loses %d%%, doubles %d%% and is up to %v slow", loss, double, slow.Round(time.Millisecond))
	p.add(p.between(500*time.Millisecond, 4*time.Second), text, func(*fault) {
		w.event(faultBegins, 0, 0, text)
		w.net.lossPercent, w.net.duplicatePercent, w.net.slow = loss, double, slow
	}, func(*fault) {
		w.event(faultEnds, 0, 0, text)
		w.net.lossPercent, w.net.duplicatePercent, w.net.slow = 0, 0, 0
	})
}

func (p *plan) slowDisk() {
	h, leader := p.host(), p.rng.IntN(2) == 0
	f := diskFault{hangs: p.rng.IntN(2) == 0}
	text := "the disk of " + name(h, leader) + " hangs"
	if !f.hangs {
		f.slow = p.between(20*time.Millisecond, 600*time.Millisecond)
		text = fmt.Sprintf("a sync of %s takes up to %v", name(h, leader), f.slow.Round(time.Millisecond))
	}
	var hit *host
	p.add(p.between(100*time.Millisecond, 3*time.Second), text, func(*fault) {
		hit = p.leaderOr(h, leader)
		p.w.event(faultBegins, hit.id, 0, text)
		hit.disk.change(f)
	}, func(*fault) {
		p.w.event(faultEnds, hit.id, 0, text)
		hit.disk.change(diskFault{})
	})
}

func (p *plan) fullDisk() {
	h, more := p.host(), p.rng.Int64N(80<<10)
	text := fmt.Sprintf("the disk of %s has %d bytes left", h.name, more)
	p.add(p.between(500*time.Millisecond, 3*time.Second), text, func(*fault) {
		p.w.event(faultBegins, h.id, 0, text)
		h.harm()
		h.disk.bound(more)
	}, func(*fault) {
		p.w.event(faultEnds, h.id, 0, text)
		h.disk.bound(-1)
		h.diskWell()
	})
}

func (p *plan) badDisk() {
	h, leader := p.host(), p.rng.IntN(2) == 0
	f := diskFault{failSyncs: p.rng.IntN(2) == 0, only: []string{"", "/log/", "/store"}[p.rng.IntN(3)]}
	what := "syncs"
	if !f.failSyncs {
		f.failWrites, what = true, "writes"
	}
	text := fmt.Sprintf("%s of %q fail on %s", what, f.only, name(h, leader))
	cut := p.rng.IntN(2) == 0
	var hit *host
	p.add(p.between(100*time.Millisecond, 2*time.Second), text, func(*fault) {
		hit = p.leaderOr(h, leader)
		p.w.event(faultBegins, hit.id, 0, text)
		hit.harm()
		hit.disk.change(f)
	}, func(*fault) {
		p.w.event(faultEnds, hit.id, 0, text)
		hit.disk.change(diskFault{})
		if cut {
			hit.crash(true, "after its disk has failed")
		}
		hit.diskWell()
	})
}

// flip turns a bit of what a member has on its disk, in the tables of its store or in its log. It is the one fault by
// which a member's data is lost for good: there is one of it in a run, and then the membership does not change.
func (p *plan) flip() {
	h, part := p.host(), []string{".sst", "/log/"}[p.rng.IntN(2)]
	dice := rand.New(rand.NewPCG(p.rng.Uint64(), p.rng.Uint64()))
	p.add(0, fmt.Sprintf("a bit flips in %q of %s", part, h.name), func(*fault) {
		d := h.disk
		file, at := d.flip(dice, func(path string) bool { return strings.Contains(path, part) })
		if file == "" {
			return
		}
		h.harm()
		h.flipped = true
		p.w.count("flipped bits")
		p.w.event(faultBegins, h.id, 0, fmt.Sprintf("a bit flips in %s at %d", file, at))
	}, nil)
}

func (p *plan) clock() {
	h := p.host()
	if p.rng.IntN(2) == 0 {
		years := p.rng.IntN(60) - 30
		p.add(0, fmt.Sprintf("the time of day of %s jumps by %d years", h.name, years), func(*fault) {
			h.clock.jump(time.Duration(years) * 365 * 24 * time.Hour)
		}, nil)
		return
	}
	// A leader's clock may drift by as much as an oscillator does; see check.Leases.
	rate := 1 + float64(p.rng.IntN(1601)-800)/1e6
	p.add(p.between(time.Second, 6*time.Second), fmt.Sprintf("the clock of %s runs at %.6f", h.name, rate), func(*fault) {
		h.clock.set(rate, h.clock.mu.stands)
	}, func(*fault) { h.clock.set(1, h.clock.mu.stands) })
}

// run begins and ends the faults at their times, in the background.
func (p *plan) run() {
	s := p.w.source("faults")
	for _, f := range p.faults {
		s.after(f.at, nil, "fault begins: "+f.text, func() {
			f.under = true
			p.w.count("faults")
			f.begin(f)
			if f.end == nil {
				f.under = false
				return
			}
			s.after(f.lasts, nil, "fault ends: "+f.text, func() { p.over(f) })
		})
	}
}

func (p *plan) over(f *fault) {
	if f.under {
		f.under = false
		f.end(f)
	}
}

// heal ends all that is under way.
func (p *plan) heal() {
	for _, f := range p.faults {
		if f.end != nil {
			p.over(f)
		}
	}
}
