package watch

import "holdfast/internal/kind"

const (
	// takeBytes is how many bytes of events are taken out of a queue at once: what a client that does not read may
	// hold back beside the queue, a single larger response apart.
	takeBytes = 128 << 10
	// mergeItems is from how many waiting items on the revisions of a watcher share responses. A client that keeps up
	// gets one response for each revision.
	mergeItems = 64
	// mergeBytes is where such a response is large enough.
	mergeBytes = 64 << 10
)

// Take appends what waits for the client to dst, in order and up to some bytes, and returns it; nothing new if nothing
// waits. What an earlier Take has returned must have been sent. Only one goroutine may call it.
func (s *Stream) Take(dst []Response) []Response {
	var behind []*Watcher
	s.mu.Lock()
	s.sent()
	s.mu.taking++
	t := take{s: s, dst: dst, merge: s.mu.items.len() >= mergeItems}
	for s.mu.items.len() > 0 && t.bytes < takeBytes {
		i := s.mu.items.pop()
		if c, ok := i.what.(*Response); ok {
			t.control(c)
		} else if w := t.events(i); w != nil {
			behind = append(behind, w)
		}
	}
	if t.merge {
		t.level(len(dst))
	}
	feed := s.mu.starved && s.hungry()
	if feed {
		s.mu.starved = false
	}
	eased := s.mu.controls < maxControls
	s.mu.Unlock()
	s.hub.counts.sent.Add(t.sent)
	if eased {
		select {
		case s.eased <- struct{}{}:
		default:
		}
	}
	s.hub.leave(behind)
	if feed {
		s.hub.wakeCatcher()
	}
	return t.dst
}

// sent lets go of what the last Take has given out.
func (s *Stream) sent() {
	s.mu.sending = false
	for _, c := range s.mu.unsent {
		c.release()
	}
	clear(s.mu.unsent)
	s.mu.unsent = s.mu.unsent[:0]
}

// take is one Take under way.
type take struct {
	s     *Stream
	dst   []Response
	lists [][]event
	bytes int
	sent  int64
	merge bool
}

func (t *take) control(c *Response) {
	s := t.s
	s.mu.controls--
	if c.isProgress() && c.lapses != s.mu.lapses {
		return // what stood before it is given later, from the history (W4)
	}
	t.dst = append(t.dst, *c)
	t.bytes += controlBytes
	if c.WatchID == AllWatchers {
		s.mu.taking++ // progress stays behind what came before it
	} else if !c.isProgress() {
		s.mu.floor = max(s.mu.floor, c.Revision)
	}
}

// controlBytes is what a response without events counts, so that a list of them has an end too.
const controlBytes = 64

func (r *Response) isProgress() bool { return !r.Created && !r.Canceled && len(r.Events) == 0 }

// events adds a response, or events to one. It returns the watcher if it falls behind, because the ring has dropped
// what waited for it.
func (t *take) events(i item) *Watcher {
	s, w := t.s, i.w
	s.hub.counts.pending.Add(-int64(i.events))
	var single [1]part
	var list [1][]event
	head, parts, lists := kind.Revision(0), single[:], list[:0]
	switch what := i.what.(type) {
	case *revision:
		head, single[0].r = what.number, what
	case *bundle:
		head, parts, lists = what.head, what.parts, t.lists[:0]
		s.mu.batches--
		s.mu.sending = true
		s.mu.unsent = append(s.mu.unsent, what.read)
	}
	if i.epoch != w.epoch || w.state == gone {
		return nil
	}
	for _, p := range parts {
		events := p.r.events()
		if events == nil {
			w.epoch++
			s.mu.lapses++
			w.next = parts[0].r.number
			s.setState(w, lagging)
			return w
		}
		lists = append(lists, events)
	}
	if !t.merge || w.taking != s.mu.taking || t.dst[w.taken].Bytes >= mergeBytes {
		w.taken, w.taking = uint32(len(t.dst)), s.mu.taking
		t.dst = append(t.dst, Response{WatchID: w.id, Fragment: w.fragment})
	}
	r := &t.dst[w.taken]
	bytes, count := r.Bytes, r.Count
	for n, p := range parts {
		r.add(lists[n], p.match, w.before)
	}
	if len(lists) > 1 {
		clear(lists)
		t.lists = lists
	}
	t.bytes += r.Bytes - bytes
	t.sent += int64(r.Count - count)
	s.mu.floor = max(s.mu.floor, head)
	r.Revision = s.mu.floor
	w.idle = false
	return nil
}

// level raises headers where merging has put a later revision before an earlier one.
func (t *take) level(from int) {
	most := kind.Revision(0)
	for i := range t.dst[from:] {
		if r := &t.dst[from+i]; len(r.Events) > 0 {
			r.Revision = max(r.Revision, most)
			most = r.Revision
		}
	}
}

// joined returns a and b as one, if b follows a in the same block.
func joined(a, b []byte) (both []byte, ok bool) {
	end := len(a) + len(b)
	if cap(a) < end || len(b) == 0 || &a[:end][len(a)] != &b[0] {
		return nil, false
	}
	return a[:end], true
}

// add appends events: those that match names, or all for nil.
func (r *Response) add(events []event, match []uint32, before bool) {
	one := func(e *event) {
		b := e.wire(before)
		r.Count++
		r.Bytes += len(b)
		if n := len(r.Events) - 1; n >= 0 && !r.Fragment {
			if both, ok := joined(r.Events[n], b); ok {
				r.Events[n] = both
				return
			}
		}
		r.Events = append(r.Events, b)
	}
	if match == nil {
		for i := range events {
			one(&events[i])
		}
		return
	}
	for _, i := range match {
		one(&events[i])
	}
}
