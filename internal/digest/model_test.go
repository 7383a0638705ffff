package digest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"holdfast/internal/kind"
)

// world is a cluster whose members apply the same entries at their own pace and report over a network that loses,
// delays, repeats and reorders. A member that has parted has another digest from an entry on.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	now     time.Duration
	members []*actor
	changes []change // of the voters, by index
	flying  []letter
	lossy   bool
	last    kind.Index
}

// change says who votes from an index on.
type change struct {
	index  kind.Index
	voters Voters
}

type actor struct {
	w       *world
	id      kind.MemberID
	table   *Table
	applied kind.Index
	parted  kind.Index // the first entry that came out otherwise; 0 for none
	salt    uint64     // how otherwise
	down    bool
	verdict Verdict
	found   map[kind.MemberID]bool // who differs, as it has learnt
}

type letter struct {
	from, to *actor
	report   []byte
}

// every is the distance of marks.
const every = 4

func (w *world) voters(at kind.Index) Voters {
	v := w.changes[0].voters
	for _, c := range w.changes {
		if c.index <= at {
			v = c.voters
		}
	}
	return v
}

// digest is a chain: from where a member has parted it never comes back.
func (a *actor) digest(at kind.Index) uint64 {
	if a.parted != 0 && at >= a.parted {
		return uint64(at)*1_000_003 + a.salt
	}
	return uint64(at) * 1_000_003
}

func (a *actor) apply() {
	a.applied++
	if a.applied%every == 0 {
		a.table.Reached(Mark{a.applied, a.digest(a.applied)}, a.w.voters(a.applied))
		a.send(0)
	}
}

// send reports to everybody.
func (a *actor) send(asks kind.Index) {
	b := AppendReport(nil, Report{asks, a.table.Recent(2)})
	for _, to := range a.w.members {
		if to != a {
			a.w.flying = append(a.w.flying, letter{a, to, b})
		}
	}
}

// deliver lets one of the letters arrive, be lost or arrive twice.
func (w *world) deliver() {
	if len(w.flying) == 0 {
		return
	}
	i := w.rng.IntN(min(len(w.flying), 40))
	l := w.flying[i]
	if !w.lossy || w.rng.IntN(8) > 0 {
		w.flying = slices.Delete(w.flying, i, i+1)
	}
	if w.lossy && w.rng.IntN(4) == 0 {
		return
	}
	w.arrive(l)
}

func (w *world) arrive(l letter) {
	if l.to.down {
		return
	}
	r, err := DecodeReport(l.report)
	if err != nil {
		w.t.Fatal(err)
	}
	l.to.table.Heard(l.from.id, r.Marks)
	if m, ok := l.to.table.At(r.Asks); ok {
		w.flying = append(w.flying, letter{l.to, l.from, AppendReport(nil, Report{Marks: []Mark{m}})})
	}
}

func (a *actor) judge() {
	v := a.table.Judge(a.w.now)
	for _, d := range v.Found {
		a.found[d.Member] = true
	}
	for _, id := range v.Healed {
		delete(a.found, id)
	}
	a.verdict = v
	if len(a.table.rows) > Rows {
		a.w.t.Fatalf("the table of %v has %d rows (D5)", a.id, len(a.table.rows))
	}
}

// right reports whether a majority of the voters at an index is right there.
func (w *world) right(at kind.Index) bool {
	half := func(voters []kind.MemberID) bool {
		n := 0
		for _, id := range voters {
			if a := w.actor(id); a.parted == 0 || a.parted > at {
				n++
			}
		}
		return n > len(voters)/2
	}
	v := w.voters(at)
	return half(v.Incoming) && (len(v.Outgoing) == 0 || half(v.Outgoing))
}

func (w *world) actor(id kind.MemberID) *actor { return w.members[id-1] }

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 9)), lossy: true, last: kind.Index(40 + rand.New(rand.NewPCG(seed, 1)).IntN(400))}
	n := 1 + w.rng.IntN(7)
	var ids []kind.MemberID
	for i := range n + w.rng.IntN(2) { // the last may be a learner for ever
		id := kind.MemberID(i + 1)
		w.members = append(w.members, &actor{w: w, id: id, table: New(id), found: map[kind.MemberID]bool{}})
		ids = append(ids, id)
	}
	voters := Voters{Incoming: ids[:n]}
	w.changes = []change{{0, voters}}
	for at := kind.Index(0); w.rng.IntN(3) == 0; {
		at += kind.Index(1 + w.rng.IntN(60))
		pick := func() (list []kind.MemberID) {
			for len(list) == 0 {
				for _, id := range ids {
					if w.rng.IntN(3) > 0 {
						list = append(list, id)
					}
				}
			}
			return list
		}
		v := Voters{Incoming: pick()}
		if w.rng.IntN(2) == 0 {
			v.Outgoing = pick()
		}
		w.changes = append(w.changes, change{at, v})
	}
	return w
}

// part lets members part. None of the marks may lose its right majority if right is set.
func (w *world) part(right bool) {
	for range 1 + w.rng.IntN(len(w.members)) {
		a := w.members[w.rng.IntN(len(w.members))]
		if a.parted != 0 {
			continue
		}
		a.parted, a.salt = kind.Index(1+w.rng.IntN(int(w.last))), 1+uint64(w.rng.IntN(2))
		if !right {
			continue
		}
		for at := kind.Index(every); at <= w.last; at += every {
			if !w.right(at) {
				a.parted = 0
				break
			}
		}
	}
}

// run lets everything happen, check after each step, and then lets the network heal and everybody catch up.
func (w *world) run(check func()) {
	for range 30 * len(w.members) * int(w.last) / 10 {
		a := w.members[w.rng.IntN(len(w.members))]
		w.now += time.Duration(w.rng.IntN(20)) * time.Millisecond
		switch w.rng.IntN(14) {
		case 0, 1, 2, 3:
			if !a.down && a.applied < w.last {
				a.apply()
			}
		case 4, 5, 6, 7, 8, 9, 10:
			w.deliver()
		case 11:
			if wants := a.table.Wants(); wants != 0 && !a.down {
				a.send(wants)
			}
		case 12:
			if w.rng.IntN(20) == 0 {
				a.down = !a.down
				if a.down { // its table is gone, and it applies a part of the log once more
					a.table, a.found = New(a.id), map[kind.MemberID]bool{}
					a.applied -= min(a.applied, kind.Index(w.rng.IntN(20)))
				}
			}
		}
		if !a.down {
			a.judge()
			check()
		}
	}
	w.lossy = false
	for _, a := range w.members {
		a.down = false
	}
	for _, a := range w.members {
		for a.applied < w.last {
			a.apply()
		}
	}
	for round := range 4 {
		for _, a := range w.members {
			if wants := a.table.Wants(); wants != 0 && round > 0 {
				a.send(wants)
			} else if round == 3 {
				a.send(0) // what was lost of others, who ask no more, comes with their next report
			}
		}
		for len(w.flying) > 0 {
			w.deliver()
		}
		w.now += Patience
		for _, a := range w.members {
			a.judge()
			a.judge()
		}
		check()
	}
}

func (w *world) describe(a *actor) string {
	text := fmt.Sprintf("member %v (parted %d salt %d, applied %d of %d) %v at %+v, majority %x, found %v\nchanges %+v\n",
		a.id, a.parted, a.salt, a.applied, w.last, a.verdict.Standing, a.verdict.At, a.verdict.Majority, a.found, w.changes)
	for _, m := range w.members {
		text += fmt.Sprintf("member %v parted %d salt %d\n", m.id, m.parted, m.salt)
	}
	return text
}

// schedules is how many random histories each test goes through.
func schedules() uint64 {
	if testing.Short() {
		return 150
	}
	return 1200
}

// While the majority is right, nobody who is right is ever found to differ, by itself or by others, whatever the network
// does; in the end everybody who has parted knows it, everybody else agrees and knows who has parted (D2).
func TestRightMajority(t *testing.T) {
	for seed := range schedules() {
		w := newWorld(t, seed)
		w.part(true)
		lastMark := w.last - w.last%every
		w.run(func() {
			for _, a := range w.members {
				if a.parted == 0 && a.verdict.Standing == Differs {
					t.Fatalf("seed %d: one that is right is accused: %s", seed, w.describe(a))
				}
				if a.verdict.Standing == Differs && a.verdict.At.Index < a.parted {
					t.Fatalf("seed %d: it is accused of an index before it parted: %s", seed, w.describe(a))
				}
				for id := range a.found {
					if w.actor(id).parted == 0 {
						t.Fatalf("seed %d: %v is said to differ: %s", seed, id, w.describe(a))
					}
				}
			}
		})
		for _, a := range w.members {
			want := Agrees
			if a.parted != 0 && a.parted <= lastMark {
				want = Differs
			}
			if a.verdict.Standing != want {
				t.Fatalf("seed %d: at the end, want %v: %s", seed, want, w.describe(a))
			}
			if a.table.Wants() != 0 {
				t.Fatalf("seed %d: at the end it asks at %d: %s", seed, a.table.Wants(), w.describe(a))
			}
			for _, other := range w.members {
				if other != a && a.found[other.id] != (other.parted != 0 && other.parted <= lastMark) {
					t.Fatalf("seed %d: at the end %v is or is not known to differ: %s", seed, other.id, w.describe(a))
				}
			}
		}
	}
}

// Without a majority that agrees everybody is in doubt, and nobody is found to differ (D4).
func TestNoMajority(t *testing.T) {
	for seed := range schedules() {
		w := newWorld(t, seed)
		w.changes = w.changes[:1]
		n := len(w.changes[0].voters.Incoming)
		if n < 2 {
			continue
		}
		// Equal shares that nobody leads: each voter alone, or two halves.
		at := kind.Index(1 + w.rng.IntN(int(w.last-every)))
		for i, id := range w.changes[0].voters.Incoming {
			a := w.actor(id)
			a.parted, a.salt = at, uint64(i+1)
			if n%2 == 0 && seed%2 == 0 {
				a.salt = uint64(i % 2)
			}
		}
		w.run(func() {
			for _, a := range w.members {
				if a.verdict.Standing == Differs || len(a.found) > 0 {
					t.Fatalf("seed %d: somebody is found to differ: %s", seed, w.describe(a))
				}
			}
		})
		for _, a := range w.members {
			if a.verdict.Standing != Doubtful {
				t.Fatalf("seed %d: at the end: %s", seed, w.describe(a))
			}
		}
	}
}
