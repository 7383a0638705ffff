package watch

import (
	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// Request asks for a watcher.
type Request struct {
	ID       int64 // 0 lets the stream choose the lowest number that it has not used yet
	Interval command.Interval
	Start    kind.Revision // the first revision of interest, 0 for the next one; not negative

	Before   bool // events carry the version that they replace
	Fragment bool // responses may be split; handed through to Response
	Progress bool // tell progress when nothing has happened for an interval
	NoPut    bool // no events of puts
	NoDelete bool // no events of deletes
}

// Watcher is one watcher of a stream. There may be millions, so its fields are laid out to leave no gaps.
type Watcher struct {
	id       int64
	stream   *Stream
	interval command.Interval
	start    kind.Revision // as it was asked for

	before   bool
	fragment bool
	progress bool
	skips    skips

	// Under the stream's lock.
	state   state
	idle    bool // no event was handed out since the last tick
	counted bool // among the lagging watchers of its stream

	selected bool          // the pass under way serves it; of the catcher alone
	next     kind.Revision // not given yet; of a live watcher a lower bound; under the stream's lock
	taking   uint64        // with taken, under the stream's lock
	taken    uint32        // with taking: its response in the list that Take makes
	epoch    uint32        // items of an older epoch are not delivered; under the stream's lock

	// Under the hub's lock.
	live slot  // its place in the index of live watchers
	part *part // of the revision that is being matched

	// Of the catcher alone.
	lag  slot // its place in the index of lagging watchers
	from kind.Revision
	seen uint32 // its epoch when it was selected
}

type state uint8

const (
	lagging state = iota
	live
	gone
)

// skips tells which events a watcher does not want.
type skips uint8

const (
	skipPuts skips = 1 << iota
	skipDeletes
	skipVariants = 4
)

func (s skips) skip(deleted bool) bool {
	if deleted {
		return s&skipDeletes != 0
	}
	return s&skipPuts != 0
}

// watcherCost is the memory that a watcher takes beside its interval, queue places included, rounded up.
const watcherCost = 768

func newWatcher(s *Stream, r *Request) *Watcher {
	w := &Watcher{stream: s, start: r.Start, before: r.Before, fragment: r.Fragment, progress: r.Progress, idle: true}
	w.interval.Shape = r.Interval.Shape
	n := len(r.Interval.Start)
	keys := append(append(make([]byte, 0, n+len(r.Interval.End)), r.Interval.Start...), r.Interval.End...)
	w.interval.Start = keys[:n:n]
	if len(keys) > n {
		w.interval.End = keys[n:]
	}
	if r.NoPut {
		w.skips |= skipPuts
	}
	if r.NoDelete {
		w.skips |= skipDeletes
	}
	return w
}

func costOf(iv command.Interval) int64 { return watcherCost + 2*int64(len(iv.Start)+len(iv.End)) }

func liveSlot(w *Watcher) *slot { return &w.live }
func lagSlot(w *Watcher) *slot  { return &w.lag }
