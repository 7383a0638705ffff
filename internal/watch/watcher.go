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

// Watcher is one watcher of a stream.
type Watcher struct {
	id       int64
	stream   *Stream
	interval command.Interval
	start    kind.Revision // as it was asked for
	cost     int64
	before   bool
	fragment bool
	progress bool
	skips    skips

	// Under the hub's lock.
	live slot // its place in the index of live watchers
	mark kind.Revision
	part *part // of revision mark, as far as it has been matched

	// Of the catcher alone.
	lag      slot // its place in the index of lagging watchers
	selected bool // the pass under way serves it
	from     kind.Revision
	seen     uint32 // its epoch when it was selected

	// Under the stream's lock.
	state   state
	next    kind.Revision // not given yet; of a live watcher a lower bound
	epoch   uint32        // items of an older epoch are not delivered
	idle    bool          // no event was handed out since the last tick
	taken   int           // with taking: its response in the list that Take makes
	taking  uint64
	counted bool // among the lagging watchers of its stream
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
	w.interval.Start = append([]byte(nil), r.Interval.Start...)
	w.interval.End = append([]byte(nil), r.Interval.End...)
	w.cost = costOf(r)
	if r.NoPut {
		w.skips |= skipPuts
	}
	if r.NoDelete {
		w.skips |= skipDeletes
	}
	return w
}

func costOf(r *Request) int64 {
	return watcherCost + 2*int64(len(r.Interval.Start)+len(r.Interval.End))
}

func liveSlot(w *Watcher) *slot { return &w.live }
func lagSlot(w *Watcher) *slot  { return &w.lag }
