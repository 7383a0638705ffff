package digest

import (
	"slices"
	"time"

	"holdfast/internal/kind"
)

// decide counts the digests of an index.
func (r *row) decide() {
	r.decided = false
	if !r.reached {
		return // who votes there is not known yet
	}
	r.majority, r.decided = r.agreed(0)
}

// agreed returns the digest that a majority of the voters of the row has. spare is what each silent voter counts for every
// digest: 0, or 1 to find out whether one can still get its majority.
func (r *row) agreed(spare int) (uint64, bool) {
	for _, id := range slices.Concat(r.voters.Incoming, r.voters.Outgoing) {
		d, spoke := r.digests[id]
		if !spoke {
			continue
		}
		if r.has(r.voters.Incoming, d, spare) && (len(r.voters.Outgoing) == 0 || r.has(r.voters.Outgoing, d, spare)) {
			return d, true
		}
	}
	return 0, false
}

// has reports whether more than half of the voters have the digest d.
func (r *row) has(voters []kind.MemberID, d uint64, spare int) bool {
	count := 0
	for _, id := range voters {
		have, spoke := r.digests[id]
		switch {
		case !spoke:
			count += spare
		case have == d:
			count++
		}
	}
	return count > len(voters)/2
}

// spoken reports whether a majority of the voters has spoken, of both halves.
func (r *row) spoken(ignored func(kind.MemberID) bool) bool {
	enough := func(voters []kind.MemberID) bool {
		count := 0
		for _, id := range voters {
			if _, spoke := r.digests[id]; spoke && !ignored(id) {
				count++
			}
		}
		return count > len(voters)/2
	}
	return enough(r.voters.Incoming) && (len(r.voters.Outgoing) == 0 || enough(r.voters.Outgoing))
}

// Judge says what follows from all that was heard. now is any clock that does not go back; it only has to run on for
// Patience before a doubt is pronounced.
func (t *Table) Judge(now time.Duration) Verdict {
	var v Verdict
	t.compare(&v)
	switch {
	case t.fixed.Standing == Differs:
		v.Standing, v.At, v.Majority = Differs, t.fixed.At, t.fixed.Majority
	default:
		t.stand(now, &v)
		if v.Standing == Differs {
			t.fixed = v
		}
	}
	return v
}

// compare finds the other members that a majority contradicts, and those that it does not contradict any more.
func (t *Table) compare(v *Verdict) {
	latest := map[kind.MemberID]Differing{}
	for _, r := range t.rows {
		if !r.decided {
			continue
		}
		for id, d := range r.digests {
			if id != t.self {
				latest[id] = Differing{id, r.index, d, r.majority}
			}
		}
	}
	for id, d := range latest {
		since, known := t.known[id]
		switch {
		case d.Digest != d.Majority:
			t.known[id] = max(since, d.Index)
			if !known {
				v.Found = append(v.Found, d)
			}
		case known && d.Index >= since:
			delete(t.known, id)
			v.Healed = append(v.Healed, id)
		}
	}
	slices.Sort(v.Healed)
	slices.SortFunc(v.Found, func(a, b Differing) int {
		if a.Member < b.Member {
			return -1
		}
		return 1
	})
}

// stand finds where this member itself stands: by the newest index that says anything.
func (t *Table) stand(now time.Duration, v *Verdict) {
	differs := func(id kind.MemberID) bool { _, known := t.known[id]; return known }
	for i := len(t.rows) - 1; i >= 0; i-- {
		r := t.rows[i]
		if !r.reached {
			continue
		}
		own := r.digests[t.self]
		if r.decided {
			v.Standing, v.At, v.Majority = Agrees, Mark{r.index, own}, r.majority
			if own != r.majority {
				v.Standing = Differs
			}
			return
		}
		if r.doubtful(now, differs) {
			v.Standing, v.At = Doubtful, Mark{r.index, own}
			return
		}
	}
}

// doubtful reports whether a majority has spoken at an index and does not agree, and whether nobody is waited for any
// more (D4).
func (r *row) doubtful(now time.Duration, differs func(kind.MemberID) bool) bool {
	if !r.spoken(differs) {
		r.split = false
		return false
	}
	if !r.split {
		r.split, r.since = true, now
	}
	if _, possible := r.agreed(1); !possible {
		return true
	}
	return now-r.since >= Patience
}
