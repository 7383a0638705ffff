package sim

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
)

// fifthOf is of how many seeds one begins with five members instead of three: such a world costs twice as much.
const fifthOf = 12

// Seed runs the world of a seed: a cluster, clients of all kinds, and the faults that the seed has planned; then all
// faults are healed, progress is waited for, and everything is read. The plan is returned as text.
func Seed(t *testing.T, seed uint64, o Options) (Result, string) {
	cryptotest.SetGlobalRandom(t, seed)
	var text string
	if o.Members == 0 && seed%fifthOf == 5 {
		o.Members = 5
	}
	r := Run(t, seed, o, func(w *World) {
		dice := w.rng("shape")
		w.startAll()
		if !w.Until(20*time.Second, w.allServe) {
			w.wrong("the new cluster does not become ready: %s", w.standing())
			return
		}
		if w.rng("rights").IntN(3) == 0 && !w.protect(w.hosts[0]) {
			return
		}
		if o.Members == 5 {
			w.count("worlds of five members")
		}
		span := time.Duration(3+dice.IntN(4)) * time.Second
		p := newPlan(w, span)
		text = p.String()
		w.plan = p
		load := newWorkload(w, 3+dice.IntN(4), time.Duration(20+dice.IntN(80))*time.Millisecond)
		load.start(3+dice.IntN(3), 1+dice.IntN(2), 3)
		p.run()
		w.Sleep(span)
		w.finish(p, load)
	})
	return r, text
}

// startAll starts the members of all hosts.
func (w *World) startAll() {
	for _, h := range w.hosts {
		h.start()
	}
	w.mergeTables()
}

// mergeTables has the engines merge their tables now and then. Nobody else does, and an engine whose tables are never
// merged lets writes wait for it in the end.
func (w *World) mergeTables() {
	s := w.source("engines")
	s.after(s.between(1500*time.Millisecond, 4*time.Second), nil, "tables are merged", func() {
		for _, h := range w.hosts {
			h.compactEngine()
		}
		w.mergeTables()
	})
}

// present returns the hosts whose members are to live at the end.
func (w *World) present() []*host {
	return slices.DeleteFunc(slices.Clone(w.hosts), func(h *host) bool { return h.gone || h.removed || h.id == 0 })
}

func (w *World) allServe() bool {
	for _, h := range w.present() {
		if !h.life.serves() || h.life.busy {
			return false
		}
	}
	return true
}

// standing says where everybody stands, for a message.
func (w *World) standing() string {
	text := ""
	for _, h := range w.hosts {
		state := "down"
		if h.life != nil {
			state = []string{"opening", "not ready", "serving", "stopping", "over"}[h.life.state.Load()]
		}
		text += fmt.Sprintf("%s %s (applied %d/%d of %d, term %d, leads %v) ", h.name, state, h.seen.applied.Position.Term, h.seen.applied.Position.Index,
			h.seen.applied.Commit, h.seen.applied.Term, h.seen.leads)
	}
	return text
}

// heal ends all faults, for good.
func (w *World) heal(p *plan) {
	if p != nil {
		p.heal()
	}
	w.net.lossPercent, w.net.duplicatePercent, w.net.slow = 0, 0, 0
	w.mendAll()
	for _, h := range w.hosts {
		h.resume()
		h.clock.set(1, false)
		h.disk.change(diskFault{})
		h.disk.bound(-1)
		h.diskWell()
	}
	w.event(check.Healed, 0, 0, "")
	w.record("healed")
}

// patience is how long the cluster may take, once everything is well, until every member serves and has applied all.
const patience = 40 * time.Second

// finish heals, waits for progress, and reads everything.
func (w *World) finish(p *plan, load *workload) {
	w.heal(p)
	if !w.Until(patience, func() bool {
		w.revive()
		return w.allServe()
	}) {
		w.wrong("%v after everything was healed not every member serves: %s", patience, w.standing())
		return
	}
	w.Sleep(1500 * time.Millisecond)
	if !w.Until(patience, func() bool {
		w.revive()
		return w.repair() && w.allServe()
	}) {
		w.wrong("a member is still in quarantine after its repair: %s", w.standing())
		return
	}
	load.stopped = true
	if p != nil && p.operator != nil {
		// The operator comes to an end, or gives up.
		w.Until(10*time.Second, func() bool { return p.operator.done })
		p.operator.stop()
		w.Sleep(2 * time.Second)
	}
	if !w.Until(2*giveUp, func() bool { return load.busy == 0 }) {
		w.wrong("%d requests got neither an answer nor an error", load.busy)
	}
	// One more write everywhere shows that everybody can, and its revision is where everybody has to come to.
	last := kind.Revision(0)
	written := 0
	hosts := w.present()
	for i, h := range hosts {
		if w.isLearner(h) {
			written++
			continue
		}
		w.persist(h, i, func() *check.Operation {
			return &check.Operation{Put: &check.Put{Key: "last", Value: load.value()}}
		}, func(op *check.Operation) {
			written++
			last = max(last, op.Put.Result.Revision)
		})
	}
	asked := w.now()
	if !w.Until(patience, func() bool {
		if w.now()-asked > 2*time.Second {
			asked = w.now()
			w.disarm()
		}
		return written == len(hosts)
	}) {
		w.wrong("%v after everything was healed a write is still not done: %s", patience, w.standing())
		return
	}
	// Leases that nobody keeps alive any more end within their time to live.
	if !w.Until(30*time.Second, w.noLeases) {
		w.wrong("leases do not end: %s", w.standing())
	}
	if !w.Until(patience, w.allEqual) {
		w.wrong("the members do not come to the same state: %s", w.standing())
		return
	}
	w.catchUp()
	w.readAll()
}

func (w *World) isLearner(h *host) bool { return h.life.listens() && h.life.handler().Status().Learner }

// persist asks until it is done.
func (w *World) persist(h *host, client int, make func() *check.Operation, then func(*check.Operation)) {
	w.Ask(h, 1_000_000+client+1000*len(w.ops), make(), func(op *check.Operation) {
		if op.Outcome == check.Done {
			then(op)
			return
		}
		w.source("persist "+h.name).after(100*time.Millisecond, nil, "asks again", func() { w.persist(h, client, make, then) })
	})
}

func (w *World) noLeases() bool {
	for _, h := range w.present() {
		if !h.life.listens() || h.life.handler().Leases().Len() > 0 {
			return false
		}
	}
	return true
}

// allEqual reports whether every member has applied the same, and all of it.
func (w *World) allEqual() bool {
	hosts := w.present()
	for _, h := range hosts {
		if !h.life.serves() || h.seen.applied.Position != hosts[0].seen.applied.Position || h.seen.applied.Commit != h.seen.applied.Position.Index {
			return false
		}
	}
	return true
}

// catchUp waits until the open watchers have been given everything.
func (w *World) catchUp() {
	last := w.present()[0].seen.applied.Revision
	w.Until(10*time.Second, func() bool {
		for _, x := range w.openWatchers() {
			if x.heard() < last && x.Start <= last {
				return false
			}
		}
		return true
	})
	for _, x := range w.openWatchers() {
		if len(x.Responses) > 0 && x.Start <= last {
			x.CaughtUpTo = last
		}
	}
}

// heard is the revision up to which a watcher knows that it has been given everything.
func (x *watcher) heard() (revision kind.Revision) {
	for _, r := range x.Responses {
		if !r.Created {
			revision = max(revision, r.Revision)
		}
	}
	return revision
}

// readAll reads every member's state.
func (w *World) readAll() {
	hosts := w.present()
	var finals []*check.Final
	left := 0
	for i, h := range hosts {
		f := &check.Final{Applied: h.seen.applied}
		finals = append(finals, f)
		f.Moment = w.moment()
		n := h.life.handler()
		for _, l := range n.Leases().All() {
			one := check.FinalLease{ID: l.ID, TTL: l.TTL, Deadline: l.Deadline}
			_ = n.Leases().Keys(l.ID, func(key []byte) bool {
				one.Keys = append(one.Keys, string(key))
				return true
			})
			f.Leases = append(f.Leases, one)
		}
		left += 2
		w.persist(h, i, func() *check.Operation {
			return &check.Operation{Range: &check.Range{Key: "\x00", End: allEnd, Serializable: w.isLearner(h)}}
		}, func(op *check.Operation) {
			f.Live = op.Range.Result.KVs
			left--
		})
		if w.isLearner(h) {
			left--
			f.Hash, _, _, _ = n.KV().HashKV(context.Background(), 0)
			continue
		}
		w.persist(h, i+100, func() *check.Operation {
			return &check.Operation{HashKV: &check.HashKV{}}
		}, func(op *check.Operation) {
			f.Hash = op.HashKV.Result.Hash
			left--
		})
	}
	if !w.Until(patience, func() bool { return left == 0 }) {
		w.wrong("the final reads are not answered: %s", w.standing())
	}
	for _, f := range finals {
		w.history.Finals = append(w.history.Finals, *f)
	}
}
