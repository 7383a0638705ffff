package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// catcher serves the lagging watchers. It sweeps over the revisions from low to high and begins again at the lowest: a
// pass takes one chunk, from the history or from the ring, and serves every lagging watcher whose next lies in it and
// whose stream is hungry.
type catcher struct {
	hub    *Hub
	all    []*Watcher
	index  index
	sweep  kind.Revision // where the next pass looks for a beginning
	groups []*group
	picks  []*Watcher // those that the pass under way serves
	pass   uint64
	before bool   // somebody wants the version before
	next   uint32 // number of the next change that somebody wants
}

// found is what a pass has to do with a group.
type found struct {
	pass    uint64
	from    kind.Revision // the lowest next
	want    [2]bool       // puts, deletes
	before  bool
	numbers []uint32 // of the changes that are wanted
	parts   [skipVariants][]part
	made    [skipVariants]bool
}

// Run serves the lagging watchers until ctx ends. It returns nil then, and otherwise the failure of the store that it
// met. It starts no goroutine.
func (h *Hub) Run(ctx context.Context) error {
	c := &catcher{hub: h}
	for {
		select {
		case <-h.hungry:
		case <-ctx.Done():
			return nil
		}
		for more := true; more; {
			var err error
			if more, err = c.step(ctx); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("read the history for watchers: %w", err)
			}
		}
		// Whoever is hungry now shares the next pass; a herd comes back one by one.
		if pause := time.Duration(len(c.all)) * gatherPerWatcher; pause > time.Millisecond {
			select {
			case <-time.After(min(pause, gatherMost)):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// How long passes are held back for others to join, by the number of watchers that lag.
const (
	gatherPerWatcher = 2 * time.Microsecond
	gatherMost       = 20 * time.Millisecond
)

// step does one pass, and reports whether there may be another one to do.
func (c *catcher) step(ctx context.Context) (more bool, err error) {
	c.welcome()
	start := c.choose()
	if len(c.picks) == 0 {
		return false, nil
	}
	to, err := c.serve(ctx, start)
	if err != nil {
		return false, err
	}
	c.sweep = to + 1
	c.promote()
	return true, nil
}

// welcome takes over the watchers that have fallen behind.
func (c *catcher) welcome() {
	h := c.hub
	h.mu.Lock()
	fallen := h.mu.fallen
	h.mu.fallen = nil
	h.mu.Unlock()
	for _, w := range fallen {
		if w.lag.group == nil {
			c.index.add(w, &w.lag)
			c.all = append(c.all, w)
		}
	}
}

// choose drops those who do not lag any more, picks those who can be served, and returns the revision at which the
// pass begins.
func (c *catcher) choose() (start kind.Revision) {
	c.pass++
	clear(c.picks)
	c.picks, c.next, c.before = c.picks[:0], 0, false
	lowest, ahead := kind.Revision(0), kind.Revision(0) // 0 for none: no revision is
	keep := c.all[:0]
	for _, w := range c.all {
		s := w.stream
		s.mu.Lock()
		lags := w.state == lagging
		w.selected = lags && s.hungry()
		if lags && !w.selected {
			s.mu.starved = true
		}
		w.from, w.seen = w.next, w.epoch
		s.mu.Unlock()
		if !lags {
			c.index.remove(w, lagSlot)
			continue
		}
		keep = append(keep, w)
		if !w.selected {
			continue
		}
		c.picks = append(c.picks, w)
		if lowest == 0 || w.from < lowest {
			lowest = w.from
		}
		if w.from >= c.sweep && (ahead == 0 || w.from < ahead) {
			ahead = w.from
		}
		c.enroll(w)
	}
	clear(c.all[len(keep):])
	c.all = keep
	if ahead != 0 {
		return ahead
	}
	return lowest
}

// enroll notes what w wants of its group in this pass.
func (c *catcher) enroll(w *Watcher) {
	f := w.lag.group.found
	if f == nil {
		f = new(found)
		w.lag.group.found = f
	}
	if f.pass != c.pass {
		*f = found{pass: c.pass, from: w.from, numbers: f.numbers[:0]}
	}
	f.from = min(f.from, w.from)
	f.want[0] = f.want[0] || !w.skips.skip(false)
	f.want[1] = f.want[1] || !w.skips.skip(true)
	f.before = f.before || w.before
	c.before = c.before || w.before
}

// want notes who wants a change.
func (c *catcher) want(rev kind.Revision, deleted bool, key []byte) (wanted mvcc.Wanted) {
	which := 0
	if deleted {
		which = 1
	}
	c.groups = c.index.match(key, c.groups[:0])
	for _, g := range c.groups {
		f := g.found
		if f == nil || f.pass != c.pass || f.from > rev || !f.want[which] {
			continue
		}
		f.numbers = append(f.numbers, c.next)
		wanted = max(wanted, mvcc.WantRow)
		if f.before {
			wanted = mvcc.WantBefore
		}
	}
	if wanted != mvcc.NotWanted {
		c.next++
	}
	return wanted
}

// place is where a wanted change stands.
type place struct {
	r *revision
	i uint32
}

// ringChunk is how many revisions of the ring one pass takes.
const ringChunk = 1024

// serve gives what happened from start on to those who are picked, and returns the revision up to which it did.
func (c *catcher) serve(ctx context.Context, start kind.Revision) (to kind.Revision, err error) {
	h := c.hub
	h.mu.Lock()
	head := h.current()
	rev := h.mu.rev
	var held []*revision
	if start >= h.mu.ring.first() && start <= rev {
		held = slices.Clone(h.mu.ring.from(start, ringChunk))
	}
	h.mu.Unlock()
	if start > rev {
		return start - 1, nil // nothing has happened since; promote does the rest
	}
	var places []place
	var read *chunk // nil for what the ring holds anyway
	if len(held) > 0 {
		places, to = c.fromRing(held)
	}
	if to == 0 {
		c.enrollAgain()
		read = &chunk{hub: h}
		if places, to, err = c.fromHistory(ctx, start, read); err != nil || to == 0 {
			return start - 1, err
		}
		read.hold()
		defer read.release()
	}
	c.deliver(places, start, to, head, read)
	return to, nil
}

// enrollAgain forgets what was found in a ring that has dropped it meanwhile.
func (c *catcher) enrollAgain() {
	if c.next == 0 {
		return
	}
	c.pass, c.next = c.pass+1, 0
	for _, w := range c.picks {
		c.enroll(w)
	}
}

// fromRing finds what is wanted of revisions that the ring had. to is 0 if it has dropped the first.
func (c *catcher) fromRing(held []*revision) (places []place, to kind.Revision) {
	for _, r := range held {
		events := r.events()
		if events == nil {
			break
		}
		for i := range events {
			e := &events[i].change
			if c.want(r.number, e.Deleted, e.Row.Key()) != mvcc.NotWanted {
				places = append(places, place{r, uint32(i)})
			}
		}
		to = r.number
	}
	return places, to
}

// A pass that serves many reads more at once: then each of them is given several changes together, and what is read of a
// key lies in one place.
const (
	perWatcher  = 5       // changes for each watcher that is served
	mostChanges = 1 << 16 // of a pass
)

// smallChunk is how many bytes a pass takes while clients hold too much of what was read for them.
const smallChunk = 16 << 10

// fromHistory reads what is wanted from start on. to is 0 if that was compacted; then those who wanted it are gone.
func (c *catcher) fromHistory(ctx context.Context, start kind.Revision, read *chunk) (places []place, to kind.Revision, err error) {
	h := c.hub
	h.mu.Lock()
	kv := h.mu.kv
	h.mu.Unlock()
	view, err := kv.View()
	if errors.Is(err, store.ErrReplaced) {
		return nil, 0, nil // Rebase has given the hub another one
	}
	if err != nil {
		return nil, 0, err
	}
	defer view.Close()
	if start > view.Revision() {
		return nil, 0, nil // a store that stands lower has taken the place of the one before
	}
	size := h.o.ChunkBytes
	if h.counts.private.Load() > h.o.HistoryBytes {
		size = min(size, smallChunk)
	}
	changes := max(h.o.ChunkChanges, min(perWatcher*len(c.picks), mostChanges))
	events, to, err := view.History(ctx, mvcc.HistoryQuery{From: start, MaxChanges: changes, MaxBytes: size, Want: c.want})
	if errors.Is(err, mvcc.ErrCompacted) {
		c.compact(view.Compacted())
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	places = make([]place, 0, len(events))
	var revisions []*revision
	for len(events) > 0 {
		n := 1
		for n < len(events) && events[n].Revision == events[0].Revision {
			n++
		}
		r := newRevision(events[:n])
		read.bytes += r.bytes
		for i := range n {
			places = append(places, place{r, uint32(i)})
		}
		revisions = append(revisions, r)
		events = events[n:]
	}
	block(revisions, c.before)
	return places, to, nil
}

// compact cancels every lagging watcher that wants what was compacted.
func (c *catcher) compact(compacted kind.Revision) {
	h := c.hub
	for _, w := range c.all {
		s := w.stream
		h.mu.Lock()
		s.mu.Lock()
		told := w.state == lagging && w.next < compacted
		if told {
			h.compact(w, compacted)
			s.mu.lapses++ // what still waits for w is not given, so progress behind it would claim too much (W4)
		}
		s.mu.Unlock()
		h.mu.Unlock()
		if told {
			s.wake()
		}
	}
}

// deliver gives each of those who are picked its parts of the revisions from start up to to.
func (c *catcher) deliver(places []place, start, to, head kind.Revision, read *chunk) {
	for _, w := range c.picks {
		if w.from < start || w.from > to {
			continue
		}
		parts := c.parts(w, places)
		first, _ := slices.BinarySearchFunc(parts, w.from, func(p part, rev kind.Revision) int { return int(p.r.number - rev) })
		parts = parts[first:]
		b := &bundle{head: max(head, to), parts: parts, read: read}
		for i := range parts {
			b.events += len(parts[i].match)
		}
		s := w.stream
		s.mu.Lock()
		if w.state == lagging && w.epoch == w.seen {
			if len(parts) > 0 {
				s.give(w, b)
			}
			w.next = to + 1
		}
		s.mu.Unlock()
		if len(parts) > 0 {
			s.wake()
		}
	}
}

// parts makes of the numbers of a group what a watcher with the filters of w is given; all such watchers share it.
func (c *catcher) parts(w *Watcher, places []place) []part {
	f := w.lag.group.found
	if f.pass != c.pass || f.made[w.skips] {
		return f.parts[w.skips]
	}
	var parts []part
	for _, n := range f.numbers {
		if int(n) >= len(places) {
			break // the chunk ended before it
		}
		p := places[n]
		if events := p.r.events(); events != nil && w.skips.skip(events[p.i].change.Deleted) {
			continue
		}
		if len(parts) == 0 || parts[len(parts)-1].r != p.r {
			parts = append(parts, part{r: p.r})
		}
		last := &parts[len(parts)-1]
		last.match = append(last.match, p.i)
	}
	f.parts[w.skips], f.made[w.skips] = parts, true
	return parts
}

// promote makes live those who have come near enough to the present.
func (c *catcher) promote() {
	h := c.hub
	for picks := c.picks; len(picks) > 0; {
		n := min(promoteStep, len(picks))
		h.mu.Lock()
		for _, w := range picks[:n] {
			s := w.stream
			s.mu.Lock()
			if w.state == lagging && s.hungryOrDone(w, h.mu.rev) && h.promote(w) {
				w.selected = false
			}
			s.mu.Unlock()
		}
		h.mu.Unlock()
		for _, w := range picks[:n] {
			if !w.selected {
				w.stream.wake()
			}
		}
		picks = picks[n:]
	}
}

// hungryOrDone reports whether w may be promoted as far as its queue is concerned: there is room, or nothing to put
// into it.
func (s *Stream) hungryOrDone(w *Watcher, rev kind.Revision) bool { return w.next > rev || s.hungry() }

// What is done under one hold of the hub's lock.
const (
	promoteStep      = 16
	promoteRevisions = 128
	promoteEvents    = 1024
)

// promote makes a lagging watcher live, under both locks, if the ring has what it has not been given and that is little
// (W3).
func (h *Hub) promote(w *Watcher) bool {
	s := w.stream
	if w.next <= h.mu.rev {
		if w.next < h.mu.ring.first() || h.mu.rev-w.next >= promoteRevisions {
			return false
		}
		b := &bundle{head: h.current()}
		visited := 0
		for _, r := range h.mu.ring.from(w.next, promoteRevisions) {
			events := r.events()
			if visited += len(events); visited > promoteEvents && visited > len(events) {
				return false
			}
			var match []uint32
			for i := range events {
				e := &events[i].change
				if w.interval.Contains(e.Row.Key()) && !w.skips.skip(e.Deleted) {
					match = append(match, uint32(i))
				}
			}
			if len(match) > 0 {
				b.parts = append(b.parts, part{r, match})
				b.events += len(match)
			}
		}
		if len(b.parts) > 0 {
			s.give(w, b)
		}
		w.next = h.mu.rev + 1
	}
	s.setState(w, live)
	if w.live.group == nil { // one that leave has not been told of yet has never left the index
		h.mu.live.add(w, &w.live)
	}
	return true
}
