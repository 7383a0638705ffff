package watch

import (
	"errors"

	"holdfast/internal/kind"
)

// The refusals of NewStream.
var (
	ErrTooManyStreams   = errors.New("too many watch streams are open on this member; close some, or put several watches on one stream")
	ErrTooManyOfClient  = errors.New("too many watch streams are open on this connection; close some, or put several watches on one stream")
	errEmptyRange       = errors.New("mvcc: watcher range is empty")
	errDuplicateID      = errors.New("mvcc: duplicate watch ID provided on the WatchStream")
	errTooManyOfStream  = errors.New("too many watches on this stream; cancel some")
	errTooManyWatchers  = errors.New("too many watches on this member; cancel some, or watch a prefix instead of many keys")
	errTooManyKeysBytes = errors.New("the keys of all watches on this member take too much memory; cancel some, or watch shorter keys")
)

// NewStream opens a stream. client names the connection that it belongs to. The refusals are ErrTooManyStreams and
// ErrTooManyOfClient.
func (h *Hub) NewStream(client string) (*Stream, error) {
	s := &Stream{hub: h, client: client, ready: make(chan struct{}, 1), eased: make(chan struct{}, 1)}
	s.mu.watchers = make(map[int64]*Watcher)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.mu.streams >= h.o.Streams:
		return nil, ErrTooManyStreams
	case h.mu.clients[client] >= h.o.StreamsPerClient:
		return nil, ErrTooManyOfClient
	}
	h.mu.streams++
	h.mu.clients[client]++
	h.counts.streams.Add(1)
	return s, nil
}

// closeStep is how many watchers are closed under one hold of the hub's lock.
const closeStep = 128

// Close ends all watchers of s. Take finds nothing any more. Calls after the first do nothing.
func (s *Stream) Close() {
	h := s.hub
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return
	}
	s.mu.closed = true
	all := make([]*Watcher, 0, len(s.mu.watchers))
	for _, w := range s.mu.watchers {
		all = append(all, w)
	}
	for s.mu.items.len() > 0 {
		i := s.mu.items.pop()
		h.counts.pending.Add(-int64(i.events))
		if b, ok := i.what.(*bundle); ok {
			b.read.release()
		}
	}
	s.sent()
	s.mu.controls, s.mu.batches = 0, 0
	s.mu.Unlock()
	for len(all) > 0 {
		n := min(closeStep, len(all))
		h.mu.Lock()
		for _, w := range all[:n] {
			s.mu.Lock()
			h.forget(w)
			s.mu.Unlock()
		}
		h.mu.Unlock()
		all = all[n:]
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.streams--
	if h.mu.clients[s.client]--; h.mu.clients[s.client] == 0 {
		delete(h.mu.clients, s.client)
	}
	h.counts.streams.Add(-1)
}

// forget ends w, under both locks. Nothing that waits for it is delivered.
func (h *Hub) forget(w *Watcher) {
	s := w.stream
	if w.state == gone {
		return
	}
	if w.live.group != nil {
		h.mu.live.remove(w, liveSlot)
	}
	s.setState(w, gone)
	w.epoch++
	delete(s.mu.watchers, w.id)
	cost := costOf(w.interval)
	s.mu.cost -= cost
	h.mu.cost -= cost
	h.mu.watchers--
	h.counts.watchers.Add(-1)
}

// current returns the revision that a header shows, under the hub's lock. It may be ahead of the hub by a batch that is
// published this moment, so that a header is never behind what the client has read before.
func (h *Hub) current() kind.Revision { return max(h.mu.rev, h.mu.kv.Revision()) }

// Watch makes a watcher, and puts into the queue that it was created or why it was not.
func (s *Stream) Watch(r Request) {
	h := s.hub
	h.mu.Lock()
	s.mu.Lock()
	refusal := s.admit(&r)
	lags := false
	rev := h.current()
	switch {
	case s.mu.closed:
	case refusal != nil:
		s.control(&Response{WatchID: AllWatchers, Revision: rev, Created: true, Canceled: true, Reason: refusal.Error()})
	default:
		w := s.enter(&r)
		s.control(&Response{WatchID: w.id, Revision: rev, Created: true})
		lags = h.begin(w, rev)
	}
	s.mu.Unlock()
	h.mu.Unlock()
	s.wake()
	if lags {
		h.wakeCatcher()
	}
}

// admit says why r cannot be had, and chooses its id.
func (s *Stream) admit(r *Request) error {
	h := s.hub
	if r.Interval.Empty() {
		return errEmptyRange
	}
	if r.ID == 0 {
		for s.mu.watchers[s.mu.nextID] != nil {
			s.mu.nextID++
		}
	} else if s.mu.watchers[r.ID] != nil {
		return errDuplicateID
	}
	switch {
	case len(s.mu.watchers) >= h.o.WatchersPerStream:
		return errTooManyOfStream
	case h.mu.watchers >= h.o.Watchers:
		return errTooManyWatchers
	case h.mu.cost+costOf(r.Interval) > h.o.WatcherBytes:
		return errTooManyKeysBytes
	}
	if r.ID == 0 {
		r.ID = s.mu.nextID
		s.mu.nextID++
	}
	return nil
}

func (s *Stream) enter(r *Request) *Watcher {
	w := newWatcher(s, r)
	w.id = r.ID
	s.mu.watchers[w.id] = w
	s.mu.latest = max(s.mu.latest, w.start)
	cost := costOf(w.interval)
	s.mu.cost += cost
	s.hub.mu.cost += cost
	s.hub.mu.watchers++
	s.hub.counts.watchers.Add(1)
	return w
}

// begin puts a new watcher where it belongs, and reports whether the catcher has to do with it.
func (h *Hub) begin(w *Watcher, rev kind.Revision) (lags bool) {
	s := w.stream
	switch compacted := h.mu.kv.Compacted(); {
	case w.start == 0:
		w.next = rev + 1
	case w.start > h.mu.rev:
		w.next = w.start
	case w.start < compacted:
		s.setState(w, lagging)
		h.compact(w, compacted)
		return false
	default:
		w.next = w.start
		s.setState(w, lagging)
		if !h.promote(w) {
			h.mu.fallen = append(h.mu.fallen, w)
			return true
		}
		return false
	}
	s.setState(w, live)
	h.mu.live.add(w, &w.live)
	return false
}

// compact cancels a watcher that wants what was compacted, under both locks (W7).
func (h *Hub) compact(w *Watcher, compacted kind.Revision) {
	h.forget(w)
	w.stream.control(&Response{WatchID: w.id, Canceled: true, CompactRevision: compacted})
}

// Refuse answers a request for a watcher without making one.
func (s *Stream) Refuse(reason string) {
	s.hub.mu.Lock()
	rev := s.hub.current()
	s.hub.mu.Unlock()
	s.mu.Lock()
	s.control(&Response{WatchID: AllWatchers, Revision: rev, Created: true, Canceled: true, Reason: reason})
	s.mu.Unlock()
	s.wake()
}

// Cancel ends the watcher with an id and puts into the queue that it has; nothing of it comes after that. An id that
// the stream does not have is not answered.
func (s *Stream) Cancel(id int64) {
	h := s.hub
	h.mu.Lock()
	s.mu.Lock()
	if w := s.mu.watchers[id]; w != nil && !s.mu.closed {
		h.forget(w)
		s.control(&Response{WatchID: id, Revision: h.current(), Canceled: true})
	}
	s.mu.Unlock()
	h.mu.Unlock()
	s.wake()
}

// Progress answers a request for the progress of all watchers of the stream: with the hub's revision, if every one of
// them is live and has begun. Otherwise, and without watchers, there is no answer (W4).
func (s *Stream) Progress() {
	h := s.hub
	h.mu.Lock()
	s.mu.Lock()
	if len(s.mu.watchers) > 0 && s.mu.lagging == 0 && s.begun(h.mu.rev) {
		s.control(&Response{WatchID: AllWatchers, Revision: h.mu.rev, lapses: s.mu.lapses})
	}
	s.mu.Unlock()
	h.mu.Unlock()
	s.wake()
}

// begun reports whether every watcher has a start revision up to rev.
func (s *Stream) begun(rev kind.Revision) bool {
	if s.mu.latest <= rev {
		return true
	}
	s.mu.latest = 0
	for _, w := range s.mu.watchers {
		s.mu.latest = max(s.mu.latest, w.start)
	}
	return s.mu.latest <= rev
}

// Tick tells the progress of each watcher that asked for it and was given no event since the last tick.
func (s *Stream) Tick() {
	h := s.hub
	h.mu.Lock()
	s.mu.Lock()
	for _, w := range s.mu.watchers {
		if !w.progress {
			continue
		}
		if w.idle && w.state == live && w.start <= h.mu.rev && s.mu.controls < maxControls {
			s.control(&Response{WatchID: w.id, Revision: h.mu.rev, lapses: s.mu.lapses})
		}
		w.idle = true
	}
	s.mu.Unlock()
	h.mu.Unlock()
	s.wake()
}
