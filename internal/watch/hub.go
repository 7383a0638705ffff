package watch

import (
	"sync"
	"sync/atomic"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
)

// The defaults of Options.
const (
	DefaultRingBytes    = 16 << 20
	DefaultChunkChanges = 4096
	DefaultChunkBytes   = 16 << 20
	DefaultHistoryBytes = 64 << 20

	DefaultStreams           = 100_000
	DefaultStreamsPerClient  = 20_000
	DefaultWatchers          = 2_000_000
	DefaultWatchersPerStream = 500_000
	DefaultWatcherBytes      = 2 << 30
)

// Options of a Hub. A zero value means the default.
type Options struct {
	RingBytes    int64 // of recent events that are kept in memory for watchers that fall behind a little
	ChunkChanges int   // of the history that one pass reads for a few watchers; for many it reads more
	ChunkBytes   int   // and of rows that it takes out of it
	HistoryBytes int64 // of what passes have read and clients have not yet taken; beyond it chunks are small

	Streams           int   // at a time
	StreamsPerClient  int   // of one connection
	Watchers          int   // of all streams together
	WatchersPerStream int   // of one stream
	WatcherBytes      int64 // of what all watchers together take in memory
}

func (o *Options) setDefaults() {
	setDefault(&o.RingBytes, DefaultRingBytes)
	setDefault(&o.ChunkChanges, DefaultChunkChanges)
	setDefault(&o.ChunkBytes, DefaultChunkBytes)
	setDefault(&o.HistoryBytes, DefaultHistoryBytes)
	setDefault(&o.Streams, DefaultStreams)
	setDefault(&o.StreamsPerClient, DefaultStreamsPerClient)
	setDefault(&o.Watchers, DefaultWatchers)
	setDefault(&o.WatchersPerStream, DefaultWatchersPerStream)
	setDefault(&o.WatcherBytes, DefaultWatcherBytes)
}

func setDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// Hub hands the changes of a store to all who watch. Its methods may be called from any goroutine; Publish belongs to
// the applier, Run to one goroutine.
type Hub struct {
	o Options

	counts counts
	hungry chan struct{} // the catcher has something to do

	mu struct {
		sync.Mutex
		kv       *mvcc.Store   // the current store of the keys
		rev      kind.Revision // of the last published batch
		ring     ring
		live     index
		fallen   []*Watcher // lagging watchers that the catcher does not know yet
		streams  int
		clients  map[string]int // streams by connection
		watchers int
		cost     int64
	}

	// Of the applier alone.
	wakes   []*Stream // to be woken when the lock is free
	touched []*Watcher
	groups  []*group
}

// counts are figures that are read without a lock.
type counts struct {
	streams  atomic.Int64
	watchers atomic.Int64
	lagging  atomic.Int64
	pending  atomic.Int64 // events in queues
	sent     atomic.Int64
	private  atomic.Int64 // bytes of chunks that passes have read and clients have not taken
}

// Counts are figures of a Hub.
type Counts struct {
	Streams  int64
	Watchers int64
	Lagging  int64 // watchers that have not been given everything yet
	Pending  int64 // events that wait in queues
	Sent     int64 // events handed out since the start
}

// New returns the hub of a store, at its published revision. Nothing may be published before Publish is told of it.
func New(kv *mvcc.Store, o Options) *Hub {
	o.setDefaults()
	h := &Hub{o: o, hungry: make(chan struct{}, 1)}
	h.mu.kv = kv
	h.mu.rev = kv.Revision()
	h.mu.ring.limit = o.RingBytes
	h.mu.ring.reset(h.mu.rev + 1)
	h.mu.clients = make(map[string]int)
	return h
}

// Counts returns the figures of the moment.
func (h *Hub) Counts() Counts {
	c := &h.counts
	return Counts{c.streams.Load(), c.watchers.Load(), c.lagging.Load(), c.pending.Load(), c.sent.Load()}
}

// Publish takes over the changes of a batch that the store has published. It comes before the callers of the commands
// are woken, so that whoever has written and then asks for progress hears of the write.
func (h *Hub) Publish(c mvcc.Changes) {
	h.mu.Lock()
	if c.Last <= h.mu.rev {
		h.mu.Unlock()
		return
	}
	if h.mu.watchers == 0 {
		h.mu.rev = c.Last
		h.mu.ring.reset(c.Last + 1)
		h.mu.Unlock()
		return
	}
	for events := c.Events; len(events) > 0; {
		n := 1
		for n < len(events) && events[n].Revision == events[0].Revision {
			n++
		}
		invariant.Check(events[0].Revision == h.mu.rev+1, "revision %d is published after %d", events[0].Revision, h.mu.rev)
		if whole(events[:n]) {
			h.publish(newRevision(events[:n]))
		} else {
			h.skip(h.mu.rev+1, h.mu.rev+1)
		}
		events = events[n:]
	}
	if c.Unlisted != 0 {
		h.skip(c.Unlisted, c.Last)
	}
	invariant.Check(h.mu.rev == c.Last, "a batch ends at revision %d, its changes at %d", c.Last, h.mu.rev)
	fallen := len(h.mu.fallen) > 0
	h.mu.Unlock()
	for _, s := range h.wakes {
		s.wake()
	}
	clear(h.wakes)
	h.wakes = h.wakes[:0]
	if fallen {
		h.wakeCatcher()
	}
}

// Rebase makes kv the store that the hub belongs to, because a snapshot has taken the place of the one before. It
// belongs to the applier, as Publish does. Whatever lies between the hub's revision and that of kv was not seen here, so
// every live watcher lags, and finds it in the history of kv, or that it was compacted. If kv stands below the hub's
// revision, because what was there before was not the cluster's state, watchers go on at what comes next.
func (h *Hub) Rebase(kv *mvcc.Store) {
	h.mu.Lock()
	h.mu.kv = kv
	switch rev := kv.Revision(); {
	case rev > h.mu.rev:
		h.skip(h.mu.rev+1, rev)
	case rev < h.mu.rev:
		h.mu.rev = rev
		h.mu.ring.reset(rev + 1)
	}
	h.mu.Unlock()
	h.wakeCatcher()
}

func (h *Hub) wakeCatcher() {
	select {
	case h.hungry <- struct{}{}:
	default:
	}
}

// publish puts r into the ring and into the queues of the live watchers that want something of it.
func (h *Hub) publish(r *revision) {
	events := r.events()
	h.mu.rev = r.number
	fallen := len(h.mu.fallen)
	if len(events) == 1 {
		e := &events[0].change
		h.groups = h.mu.live.match(e.Row.Key(), h.groups[:0])
		for _, g := range h.groups {
			for _, w := range g.watchers {
				if !w.skips.skip(e.Deleted) {
					h.offer(w, r.number, r)
				}
			}
		}
	} else {
		h.gather(r, events)
	}
	h.unlink(h.mu.fallen[fallen:])
	h.mu.ring.push(r)
}

// gather finds, for each watcher, which of the events of r it wants, and offers them together (W2).
func (h *Hub) gather(r *revision, events []event) {
	touched := h.touched[:0]
	for i := range events {
		e := &events[i].change
		h.groups = h.mu.live.match(e.Row.Key(), h.groups[:0])
		for _, g := range h.groups {
			for _, w := range g.watchers {
				if w.skips.skip(e.Deleted) {
					continue
				}
				if w.part == nil {
					w.part = &part{r: r}
					touched = append(touched, w)
				}
				w.part.match = append(w.part.match, uint32(i))
			}
		}
	}
	for _, w := range touched {
		if n := len(w.part.match); n == len(events) {
			h.offer(w, r.number, r)
		} else {
			h.offer(w, r.number, &bundle{head: r.number, parts: []part{*w.part}, events: n})
		}
		w.part = nil
	}
	clear(touched)
	h.touched = touched[:0]
}

// offer puts what a live watcher wants of a revision into its stream's queue; without room the watcher lags.
func (h *Hub) offer(w *Watcher, number kind.Revision, what any) {
	s := w.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case w.state != live || number < w.next:
	case s.full():
		s.setState(w, lagging)
		w.next = number
		h.mu.fallen = append(h.mu.fallen, w)
	default:
		if s.mu.items.len() == 0 {
			h.wakes = append(h.wakes, s)
		}
		s.give(w, what)
	}
}

// skip moves the hub over revisions that are not listed: every watcher that may want something of them lags, and finds
// them in the history.
func (h *Hub) skip(first, last kind.Revision) {
	h.mu.rev = last
	h.mu.ring.reset(last + 1)
	fallen := len(h.mu.fallen)
	h.mu.live.each(func(w *Watcher) {
		s := w.stream
		s.mu.Lock()
		defer s.mu.Unlock()
		if w.state == live && w.next <= last {
			s.setState(w, lagging)
			w.next = max(w.next, first)
			h.mu.fallen = append(h.mu.fallen, w)
		}
	})
	h.unlink(h.mu.fallen[fallen:])
}

// unlink takes watchers that lag from now on out of the index of the live ones.
func (h *Hub) unlink(watchers []*Watcher) {
	for _, w := range watchers {
		if w.live.group != nil {
			h.mu.live.remove(w, liveSlot)
		}
	}
}

// leave makes the catcher take care of watchers that have turned lagging in their stream.
func (h *Hub) leave(watchers []*Watcher) {
	if len(watchers) == 0 {
		return
	}
	h.mu.Lock()
	for _, w := range watchers {
		w.stream.mu.Lock()
		lags := w.state == lagging // and was not caught up or cancelled meanwhile
		w.stream.mu.Unlock()
		if lags {
			if w.live.group != nil {
				h.mu.live.remove(w, liveSlot)
			}
			h.mu.fallen = append(h.mu.fallen, w)
		}
	}
	h.mu.Unlock()
	h.wakeCatcher()
}
