package check

import (
	"fmt"
	"maps"
	"slices"

	"holdfast/internal/kind"
)

// Watches holds what a watcher is promised:
//
//   - ordered: events come in the order of revisions, and no response has an event above the revision of its header;
//   - unique: no event comes twice, and none from before the start;
//   - atomic: the events of one revision come in one response, or in the fragments of one, if they were asked for;
//   - gap-free: between the start and the last event, and up to what progress has promised, nothing is missing;
//   - agreeing: what an event says of a key, and of the key before it, is what reads say (with Accounts);
//   - a watcher whose next event has been compacted away is told so, and no other is; nothing comes after the end.
//
// A client that watches on after the end of a stream starts where it stood, so that the same rules hold for each piece of
// the chain, and for the whole of it.
type Watches struct{}

// Name returns "watches".
func (Watches) Name() string { return "watches" }

// Judge follows every watcher.
func (c Watches) Judge(h *History) Verdict {
	v := Verdict{Checker: c.Name()}
	t := newTimeline(h)
	keys := slices.Sorted(maps.Keys(t.keys))
	var compacted kind.Revision
	for i := range h.Operations {
		if o := &h.Operations[i]; o.Compact != nil && o.Outcome != Refused {
			compacted = max(compacted, o.Compact.Revision)
		}
	}
	for i := range h.Applied {
		compacted = max(compacted, h.Applied[i].Compacted)
	}
	last := map[int]kind.Revision{} // of each watcher, to hold those that resume it against
	for i := range h.Watchers {
		w := &h.Watchers[i]
		f := &follower{v: &v, t: t, w: w, compacted: compacted, given: map[given]bool{}}
		f.follow(keys)
		last[w.ID] = f.last
		if before, resumed := last[w.Resumes]; resumed && w.Resumes >= 0 && w.Start > before+1 && before > 0 {
			v.violate("%v resumes watcher %d behind revision %d: the client has left something out", w, w.Resumes, before)
		}
	}
	return v
}

type given struct {
	key      string
	revision kind.Revision
	delete   bool
}

// follower follows one watcher.
type follower struct {
	v         *Verdict
	t         *timeline
	w         *Watcher
	compacted kind.Revision

	first    kind.Revision // the lowest revision that may come; 0: not known yet
	last     kind.Revision // the highest that has come
	promised kind.Revision // by progress: everything up to it has come
	open     bool          // the last response was a fragment
	ended    bool
	lost     bool // it was cancelled by compaction
	given    map[given]bool
}

func (f *follower) violate(format string, args ...any) {
	f.v.violate("%v: %s", f.w, fmt.Sprintf(format, args...))
}

func (f *follower) follow(keys []string) {
	f.first = f.w.Start
	for i := range f.w.Responses {
		r := &f.w.Responses[i]
		if f.ended {
			f.violate("a response of revision %d came after the end", r.Revision)
			return
		}
		if r.Created && f.first == 0 {
			f.first = r.Revision + 1
		}
		if !f.events(r) {
			return
		}
		switch {
		case r.Progress && len(r.Events) == 0:
			if r.Revision < f.last {
				f.violate("progress to %d came after an event of %d", r.Revision, f.last)
			}
			if f.open {
				f.violate("progress to %d came between the fragments of %d", r.Revision, f.last)
			}
			// The promise is for what the watcher wants: nothing from before its start.
			f.promised = max(f.promised, r.Revision)
			if !f.complete(keys, r.Revision, fmt.Sprintf("progress to %d was announced before it had", r.Revision)) {
				return
			}
		case r.Canceled:
			f.ended = true
			f.canceled(r)
		}
	}
	f.v.Judged++
	upTo := f.last
	if f.open {
		upTo--
	}
	if !f.complete(keys, upTo, "it was given later events, but not") {
		return
	}
	if f.w.CaughtUpTo != 0 && !f.lost && !f.ended {
		f.complete(keys, f.w.CaughtUpTo, fmt.Sprintf("at the end it has everything up to %d, but not", f.w.CaughtUpTo))
	}
}

// events takes the events of one response.
func (f *follower) events(r *WatchResponse) bool {
	before := f.last
	for i := range r.Events {
		e := &r.Events[i]
		at := e.KV.ModRevision
		g := given{e.KV.Key, at, e.Delete}
		switch {
		case !inside(e.KV.Key, f.w.Key, f.w.End):
			f.violate("it was given an event of key %q", e.KV.Key)
		case e.Delete && f.w.NoDelete || !e.Delete && f.w.NoPut:
			f.violate("it was given an event of key %q at %d that it did not want", e.KV.Key, at)
		case at > r.Revision:
			f.violate("an event of %d came under a header of %d", at, r.Revision)
		case f.given[g]:
			f.violate("the event of key %q at %d came twice", e.KV.Key, at)
		case at < f.first:
			f.violate("an event of %d came, from before its start at %d", at, f.first)
		case at < f.last:
			f.violate("an event of %d came after one of %d", at, f.last)
		case at <= f.promised:
			f.violate("an event of %d came after progress to %d", at, f.promised)
		case at == before && !f.open:
			f.violate("the events of revision %d came in two responses", at)
		default:
			f.given[g] = true
			f.last = at
			if f.previous(e) {
				continue
			}
		}
		return false
	}
	if len(r.Events) > 0 {
		f.open = r.Fragment
		if r.Fragment && !f.w.Fragment {
			f.violate("the events of %d came in fragments, which it did not ask for", f.last)
			return false
		}
	}
	return true
}

// previous holds what an event says of the key before it.
func (f *follower) previous(e *WatchEvent) bool {
	if e.Prev == nil {
		if !f.w.PrevKV || !e.Delete && e.KV.CreateRevision == e.KV.ModRevision {
			return true
		}
		if want, certain := f.t.get(e.KV.Key, e.KV.ModRevision-1); certain && want != nil && e.KV.ModRevision > f.compacted {
			f.violate("the event of key %q at %d lacks what was before it: %v", e.KV.Key, e.KV.ModRevision, want)
			return false
		}
		return true
	}
	if !f.w.PrevKV {
		f.violate("the event of key %q at %d says what was before it, unasked", e.KV.Key, e.KV.ModRevision)
		return false
	}
	if want, certain := f.t.get(e.KV.Key, e.KV.ModRevision-1); certain && (want == nil || *want != *e.Prev) {
		f.violate("the event of key %q at %d says that before it was %v, which was %v", e.KV.Key, e.KV.ModRevision, e.Prev, want)
		return false
	}
	return true
}

// complete holds that everything up to a revision has come.
func (f *follower) complete(keys []string, upTo kind.Revision, what string) bool {
	if f.first == 0 {
		return true
	}
	from, _ := slices.BinarySearch(keys, f.w.Key)
	for _, key := range keys[from:] {
		if !inside(key, f.w.Key, f.w.End) {
			break
		}
		revisions := f.t.keys[key]
		at, _ := slices.BinarySearch(revisions, f.first)
		for _, r := range revisions[at:] {
			if r > upTo {
				break
			}
			fact := f.t.changes[r].rows[key]
			if fact.delete && f.w.NoDelete || !fact.delete && f.w.NoPut || f.given[given{key, r, fact.delete}] {
				continue
			}
			f.violate("%s the event of key %q at %d (%v, as %s tells)", what, key, r, fact, fact.by)
			return false
		}
	}
	return true
}

// canceled judges the end that a server has put to a watcher.
func (f *follower) canceled(r *WatchResponse) {
	if r.CompactRevision == 0 {
		return
	}
	f.lost = true
	next := max(f.first, f.last+1, f.promised+1)
	switch {
	case next >= r.CompactRevision:
		f.violate("it was cancelled as compacted at %d, but it wants nothing from before %d", r.CompactRevision, next)
	case r.CompactRevision > f.compacted:
		f.violate("it was cancelled as compacted at %d, but nobody has compacted beyond %d", r.CompactRevision, f.compacted)
	}
}
