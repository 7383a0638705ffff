package sim

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
)

// drawChanges draws a change of the membership that is carried through, however often it has to be tried: a learner is
// added and promoted, or a member is replaced by another one, or one is removed.
func (p *plan) drawChanges() {
	w := p.w
	kindOf := p.rng.IntN(3)
	old := p.host()
	text := []string{"a member is added as a learner and promoted", "a member takes the place of that of " + old.name + " in one change", "the member of " + old.name + " is removed"}[kindOf]
	o := &operator{w: w, old: old, source: w.source("operator")}
	p.operator = o
	p.add(0, text, func(*fault) {
		switch kindOf {
		case 0:
			o.addLearner(o.promote)
		case 1:
			o.addLearner(o.replace)
		case 2:
			o.remove()
		}
	}, nil)
}

// operator changes the membership, and tries again until it is done.
type operator struct {
	w      *World
	old    *host
	fresh  *host
	source *source
	tries  int
	done   bool // the change is made, or given up
}

// stop has the operator give up.
func (o *operator) stop() { o.done = true }

// again tries once more, unless the run is nearly over.
func (o *operator) again(do func()) {
	o.tries++
	if o.tries < 200 && !o.done {
		o.source.after(o.source.between(50*time.Millisecond, 300*time.Millisecond), nil, "tries again", func() {
			if !o.done {
				do()
			}
		})
	}
}

// serving returns a member to ask: the leader, or anyone who serves.
func (o *operator) serving() *host {
	if l := o.w.leader(); l != nil && l.life.serves() {
		return l
	}
	for _, h := range o.w.hosts {
		if h.life.serves() && h != o.fresh {
			return h
		}
	}
	return o.w.hosts[0]
}

func (o *operator) ask(what string, id kind.MemberID, then func(op *check.Operation)) {
	op := &check.Operation{Change: &check.Change{What: what, Member: id}}
	o.w.Ask(o.serving(), -1, op, then)
}

// addLearner adds a learner on a new host and starts it.
func (o *operator) addLearner(then func()) {
	if o.fresh == nil {
		o.fresh = o.w.addHost()
		o.fresh.joins = true
	}
	u := o.fresh.url()
	o.ask("add learner "+u.String(), 0, func(op *check.Operation) {
		if op.Outcome == check.Done {
			o.started(op.Change.Member, then)
			return
		}
		// It may have been added all the same: then the list says so.
		o.list(func(id kind.MemberID) {
			if id != 0 {
				o.started(id, then)
				return
			}
			o.again(func() { o.addLearner(then) })
		})
	})
}

func (o *operator) started(id kind.MemberID, then func()) {
	o.w.hostsMu.Lock()
	o.fresh.id = id
	o.w.hostsMu.Unlock()
	o.w.event(check.Joined, id, 0, "as a learner")
	o.w.count("added members")
	o.fresh.startIfDown()
	o.again(then)
}

// list looks for the new member's id in what any member knows.
func (o *operator) list(then func(id kind.MemberID)) {
	u := o.fresh.url()
	var id kind.MemberID
	for _, h := range o.w.hosts {
		if h.life.serves() {
			for _, m := range h.life.handler().Replica.Machine().Members() {
				if len(m.PeerURLs) == 1 && m.PeerURLs[0] == u.String() {
					id = m.ID
				}
			}
		}
	}
	then(id)
}

// promote makes the learner a voter.
func (o *operator) promote() {
	o.ask("promote", o.fresh.id, func(op *check.Operation) {
		if op.Outcome == check.Done {
			o.w.count("promoted learners")
			o.done = true
			return
		}
		o.again(o.promote)
	})
}

// replace promotes the learner and removes the old member in one joint change.
func (o *operator) replace() {
	h := o.serving()
	l := h.life
	if !l.serves() {
		o.again(o.replace)
		return
	}
	if o.is(o.old.id, removed) {
		o.left()
		return
	}
	if o.is(o.fresh.id, voter) {
		o.done = true
		return
	}
	change := command.MemberChange{Steps: []command.MemberStep{{Op: command.PromoteMember, ID: o.fresh.id}, {Op: command.RemoveMember, ID: o.old.id}}}
	o.w.record("operator asks %s to put %s in the place of %s", h.name, o.fresh.name, o.old.name)
	o.w.expectRemoval(o.old)
	done := make(chan struct{})
	var err error
	l.work(func(ctx context.Context) {
		defer close(done)
		reply, failed := l.handler().ChangeMembers(ctx, change)
		if err = failed; err == nil {
			err = reply.Err
		}
	})
	o.w.await(done, func() {
		if err != nil {
			o.w.record("operator is told: %v", err)
			o.again(o.replace)
			return
		}
		o.w.count("joint changes")
		o.left()
	})
}

// remove removes a member.
func (o *operator) remove() {
	if o.is(o.old.id, removed) {
		o.left()
		return
	}
	o.w.expectRemoval(o.old)
	o.ask("remove", o.old.id, func(op *check.Operation) {
		if op.Outcome == check.Done || o.is(o.old.id, removed) {
			o.left()
			return
		}
		o.again(o.remove)
	})
}

func (o *operator) left() {
	o.done = true
	if o.old.removed && o.old.gone {
		return
	}
	o.w.event(check.Left, o.old.id, 0, "")
	o.w.count("removed members")
	o.old.removed = true
	if o.old.life == nil {
		o.old.gone = true
	}
}

// expectRemoval says that a member may stop from now on because it was removed.
func (w *World) expectRemoval(h *host) { h.removed = true }

// standing is what a member is in the membership.
type standing int

const (
	unknown standing = iota
	learner
	voter
	removed
)

// is asks every member that serves what another one is; the strongest answer counts.
func (o *operator) is(id kind.MemberID, what standing) bool {
	found := unknown
	for _, h := range o.w.hosts {
		if !h.life.listens() {
			continue
		}
		for _, m := range h.life.handler().Replica.Machine().Everyone() {
			if m.ID != id {
				continue
			}
			switch {
			case m.Removed:
				found = max(found, removed)
			case !m.Learner:
				found = max(found, voter)
			default:
				found = max(found, learner)
			}
		}
	}
	return found == what
}

// String names a standing.
func (s standing) String() string {
	return fmt.Sprint([]string{"unknown", "learner", "voter", "removed"}[s])
}
