package check

import (
	"slices"
	"time"

	"holdfast/internal/kind"
)

// Leases holds the two bounds of a lease's life, and what hangs on it:
//
//   - it never ends before the call of its last answered grant or keep-alive plus its TTL, unless somebody revoked it;
//   - it ends at the latest one second, the time without a leader, and an election timeout after its last extension can
//     have run out: a keep-alive that comes later finds nothing, a read that comes later sees no key of it;
//   - time to live is told truly, and a revoked lease is dead;
//   - no key is attached to a lease that has ended.
//
// That the end of a lease deletes all its keys in one revision is held by Accounts. How long there was no leader is read off
// the answers: whenever longer than an election timeout passes between two answers that only a leader can give, there was
// none.
type Leases struct {
	// Drift is how much faster or slower than the observer's a leader's clock may run; 0 means 0.001.
	Drift float64
}

// Name returns "leases".
func (Leases) Name() string { return "leases" }

// intervalOfTime is within what time leases that are due are ended under any load.
const intervalOfTime = time.Second

// lifeOf is all that is known of one lease.
type lifeOf struct {
	id         kind.LeaseID
	ttl        time.Duration
	grants     int
	extensions []extension
	revoked    []*Operation // asked for, answered or not
	deaths     []death
	alive      []sighting
}

// extension is a grant or keep-alive: if it is answered, the lease has its whole TTL again at some time between call and
// return; if not, perhaps.
type extension struct {
	call, latest Moment
	answered     bool
	by           *Operation
}

type death struct {
	at   Moment // it was dead then at the latest
	what string
}

type sighting struct {
	at   Moment // it was alive at this moment or later
	what string
}

// Judge follows every lease.
func (c Leases) Judge(h *History) Verdict {
	v := Verdict{Checker: c.Name()}
	t := newTimeline(h)
	lives := c.gather(h, t)
	gaps := leaderless(h)
	ids := make([]kind.LeaseID, 0, len(lives))
	for id := range lives {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		l := lives[id]
		if l.grants != 1 || l.ttl == 0 {
			v.Undecided++ // Granted twice, or never for certain: one does not know whose life it is.
			continue
		}
		v.Judged++
		c.early(&v, l)
		c.late(&v, h, l, gaps)
		c.told(&v, h, l)
	}
	return v
}

func (c Leases) drift(d time.Duration) time.Duration {
	if c.Drift == 0 {
		c.Drift = 0.001
	}
	return time.Duration(float64(d) * c.Drift)
}

func (Leases) gather(h *History, t *timeline) map[kind.LeaseID]*lifeOf {
	lives := map[kind.LeaseID]*lifeOf{}
	of := func(id kind.LeaseID) *lifeOf {
		if lives[id] == nil {
			lives[id] = &lifeOf{id: id}
		}
		return lives[id]
	}
	for i := range h.Operations {
		o := &h.Operations[i]
		switch {
		case o.Grant != nil && o.Outcome != Refused:
			l := of(o.Grant.ID)
			l.grants++
			if o.Outcome == Done {
				l.ttl = time.Duration(o.Grant.Result.TTL) * time.Second
				l.extensions = append(l.extensions, extension{o.Call, o.Return, true, o})
			}
		case o.Revoke != nil && o.Outcome != Refused:
			of(o.Revoke.ID).revoked = append(of(o.Revoke.ID).revoked, o)
		case o.KeepAlive != nil && o.Outcome == Done && o.KeepAlive.Result.TTL <= 0:
			of(o.KeepAlive.ID).dead(o.Return, o.String())
		case o.KeepAlive != nil && o.Outcome == Done:
			l := of(o.KeepAlive.ID)
			l.extensions = append(l.extensions, extension{o.Call, o.Return, true, o})
			l.alive = append(l.alive, sighting{o.Call, o.String()})
		case o.KeepAlive != nil && o.Outcome == Unknown:
			// It may still be on its way for as long as a request may take.
			latest := o.Return
			latest.At += h.Cluster.RequestTimeout
			of(o.KeepAlive.ID).extensions = append(of(o.KeepAlive.ID).extensions, extension{o.Call, latest, false, o})
		case o.Remaining != nil && o.Outcome == Done && o.Remaining.Result.TTL < 0:
			of(o.Remaining.ID).dead(o.Return, o.String())
		case o.Range != nil && o.Outcome == Done && !o.local() && o.Range.Revision == 0:
			for j := range o.Range.Result.KVs {
				if id := o.Range.Result.KVs[j].Lease; id != 0 {
					of(id).alive = append(of(id).alive, sighting{o.Call, o.String()})
				}
			}
		}
	}
	for i := range h.Leases {
		of(h.Leases[i].Lease).dead(h.Leases[i].Moment, "member "+h.Leases[i].Member.String()+" has it no more")
	}
	causes := newCauses(h)
	for i := range h.Watchers {
		w := &h.Watchers[i]
		for j := range w.Responses {
			for k := range w.Responses[j].Events {
				e := &w.Responses[j].Events[k]
				c := t.changes[e.KV.ModRevision]
				if !e.Delete || c == nil || !c.whole || c.op != nil {
					continue
				}
				if before, certain := t.get(e.KV.Key, e.KV.ModRevision-1); certain && before != nil && before.Lease != 0 && !causes.byHand(c) {
					of(before.Lease).dead(w.Responses[j].Moment, w.String()+" saw its key "+e.KV.Key+" deleted")
				}
			}
		}
	}
	return lives
}

func (l *lifeOf) dead(at Moment, what string) { l.deaths = append(l.deaths, death{at, what}) }

// early holds the lower bound.
func (c Leases) early(v *Verdict, l *lifeOf) {
	for _, d := range l.deaths {
		if slices.ContainsFunc(l.revoked, func(o *Operation) bool { return o.Call.Before(d.at) }) {
			continue
		}
		for _, e := range l.extensions {
			// The answer must have come before the death was seen: otherwise the one may have happened after the other.
			if !e.answered || !e.by.Return.Before(d.at) {
				continue
			}
			if until := e.call.At + l.ttl - c.drift(l.ttl); d.at.At < until {
				v.violate("lease %v of %v ended by %v (%s), but %v promised it until %v", l.id, l.ttl, d.at.At, d.what, e.by, until)
				return
			}
		}
	}
}

// late holds the upper bound.
func (c Leases) late(v *Verdict, h *History, l *lifeOf, gaps []span) {
	for _, s := range l.alive {
		bound := time.Duration(-1)
		var last Moment
		for _, e := range l.extensions {
			if e.call.Before(s.at) && e.latest.At+l.ttl > bound {
				bound, last = e.latest.At+l.ttl, e.latest
			}
		}
		if bound < 0 {
			continue
		}
		bound += c.drift(l.ttl) + intervalOfTime + 2*h.Cluster.ElectionTimeout + without(gaps, last.At, s.at.At)
		if s.at.At > bound {
			v.violate("lease %v of %v lives on: %s, but it must have ended by %v", l.id, l.ttl, s.what, bound)
			return
		}
	}
	for _, o := range l.revoked {
		for _, s := range l.alive {
			if o.Outcome == Done && o.Return.Before(s.at) {
				v.violate("lease %v lives on after %v: %s", l.id, o, s.what)
				return
			}
		}
	}
}

// told holds what clients were told of the time that is left.
func (c Leases) told(v *Verdict, h *History, l *lifeOf) {
	for i := range h.Operations {
		o := &h.Operations[i]
		if o.Remaining == nil || o.Remaining.ID != l.id || o.Outcome != Done || o.Remaining.Result.TTL < 0 {
			continue
		}
		r := o.Remaining.Result
		left := time.Duration(r.TTL) * time.Second
		if r.TTL > r.Granted || time.Duration(r.Granted)*time.Second != l.ttl {
			v.violate("%v was granted %v", o, l.ttl)
		}
		for _, e := range l.extensions {
			if !e.answered || !e.by.Return.Before(o.Call) {
				continue
			}
			// Whole seconds are told: a second may be missing.
			if least := e.call.At + l.ttl - c.drift(l.ttl) - o.Return.At - time.Second; left < least && o.Member == e.by.Member {
				v.violate("%v tells less than %v, which %v promised", o, least, e.by)
				return
			}
		}
	}
}

// span is a time in which there was no leader, as far as answers show.
type span struct{ from, to time.Duration }

// leaderless returns the times longer than an election timeout in which nothing was answered that needs a leader.
func leaderless(h *History) (gaps []span) {
	var answers []time.Duration
	end := time.Duration(0)
	for i := range h.Operations {
		o := &h.Operations[i]
		end = max(end, o.Return.At, o.Call.At)
		if o.Outcome == Done && !o.local() && (o.Range != nil || o.Put != nil || o.Delete != nil || o.Txn != nil || o.KeepAlive != nil || o.Grant != nil) {
			answers = append(answers, o.Return.At)
		}
	}
	slices.Sort(answers)
	from := time.Duration(0)
	for _, at := range append(answers, end) {
		if at-from > h.Cluster.ElectionTimeout {
			gaps = append(gaps, span{from, at})
		}
		from = at
	}
	return gaps
}

// without is how much of a time there was no leader.
func without(gaps []span, from, to time.Duration) (sum time.Duration) {
	for _, g := range gaps {
		if a, b := max(g.from, from), min(g.to, to); a < b {
			sum += b - a
		}
	}
	return sum
}
