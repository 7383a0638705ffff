package mvcc

import (
	"context"
	"encoding/binary"
	"unsafe"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/batch"
	"holdfast/internal/command"
	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// Effect is told every change of a key in order: the row that was put, or of a delete a Row with only its key and
// mod revision. The row is valid until Effect returns. The machine folds it into the running digest.
type Effect func(deleted bool, row Row)

// Writer is what the commands of one batch change. It has one caller at a time, the applier. Rows that it returns
// may be kept unless a method says otherwise. A failure of the store panics with a store.Failure.
type Writer struct {
	store  *Store
	batch  *batch.Batch
	effect Effect

	base      kind.Revision // published when the Writer was opened
	revision  kind.Revision // of the last finished command that changed keys
	compacted kind.Revision
	open      bool // a command is under way
	changed   bool // and has changed something
	sub       uint32

	counts Counts

	// rows are the own writes by key. When they are too many the Writer is blind: it asks batch and store instead,
	// and Publish empties the row cache.
	rows  map[string]pending
	blind bool

	events     []Event
	eventBytes int
	first      int // event of the command under way
	unlisted   kind.Revision

	arena   arena
	points  *pebble.Iterator // for reads of single keys below the batch; nil if there was none since a spill
	key     []byte
	record  []byte
	history []byte
}

// pending is the last write of a key. A deleted one has a Row with only key and mod revision.
type pending struct {
	row     Row
	deleted bool
	sub     uint32
}

// Begin returns the Writer of b. There is one at a time, until Publish or Discard; several entries may share it.
// effect may be nil.
func (s *Store) Begin(b *batch.Batch, effect Effect) *Writer {
	invariant.Check(s.writer == nil, "a writer is opened before the last one was published")
	w := &Writer{
		store: s, batch: b, effect: effect,
		base: s.Revision(), revision: s.Revision(), compacted: s.Compacted(),
		counts: Counts{s.counts[0].Load(), s.counts[1].Load(), s.counts[2].Load()},
		rows:   make(map[string]pending),
	}
	s.writer = w
	return w
}

// Discard ends a Writer whose batch is not going to be committed.
func (w *Writer) Discard() {
	w.endReads()
	if w.store.writer == w {
		w.store.writer = nil
	}
}

// Publish makes what w wrote visible. The batch must be in Pebble: first comes the row cache, then the revision, so
// that whoever sees the revision sees no older row, then the compacted revision (V2).
func (s *Store) Publish(w *Writer) {
	invariant.Check(s.writer == w && !w.open, "a writer is published that is not the open one, or in the middle of a command")
	w.endReads()
	if w.blind {
		s.cache.clear(w.revision)
	} else {
		for key, p := range w.rows {
			row := p.row.Encoded
			if p.deleted {
				row = nil
			}
			s.cache.update(unsafe.Slice(unsafe.StringData(key), len(key)), row, p.row.Mod)
		}
	}
	if s.hooks.cached != nil {
		s.hooks.cached()
	}
	s.setCounts(w.counts.LiveKeys, w.counts.LiveBytes, w.counts.Versions)
	s.revision.Store(int64(w.revision))
	s.compacted.Store(int64(w.compacted))
	s.writer = nil
}

// BeginCommand starts a command. What it changes gets the revision after Revision (V1).
func (w *Writer) BeginCommand() {
	invariant.Check(!w.open, "a command begins inside another")
	w.open, w.changed, w.sub, w.first = true, false, 0, len(w.events)
}

// EndCommand ends the command and reports whether it changed anything; if so the revision has moved by one.
func (w *Writer) EndCommand() (changed bool) {
	invariant.Check(w.open, "a command ends that has not begun")
	w.open = false
	if w.changed {
		w.revision++
	}
	return w.changed
}

// Changed reports whether the command under way has changed anything yet.
func (w *Writer) Changed() bool { return w.changed }

// Revision returns the revision that a read of the latest sees: that of the command under way if it has changed
// something, otherwise that of the last command that did.
func (w *Writer) Revision() kind.Revision {
	if w.open && w.changed {
		return w.revision + 1
	}
	return w.revision
}

// Compacted returns the compacted revision, own compactions included.
func (w *Writer) Compacted() kind.Revision { return w.compacted }

// Compact moves the compacted revision to rev. The deleting happens later and locally, see CompactStep. The errors
// are ErrCompacted, if rev is not above the compacted revision, and ErrFutureRevision.
func (w *Writer) Compact(rev kind.Revision) error {
	switch {
	case rev <= w.compacted:
		return ErrCompacted
	case rev > w.Revision():
		return ErrFutureRevision
	}
	w.compacted = rev
	return nil
}

// Changes returns the events of the batch.
func (w *Writer) Changes() Changes {
	return Changes{Events: w.events, Unlisted: w.unlisted, Last: w.revision}
}

// Fill writes into a what the store stands at with this batch: revision, compacted revision and counters. In the
// middle of a command, for a spill, the revision is that before it.
func (w *Writer) Fill(a *store.Applied) {
	a.Revision, a.Compacted = w.revision, w.compacted
	a.LiveKeys, a.LiveBytes, a.Versions = w.counts.LiveKeys, w.counts.LiveBytes, w.counts.Versions
}

// Put writes key and returns the version that it replaced, if there was one.
func (w *Writer) Put(key, value []byte, lease kind.LeaseID) (prev Row) {
	prev, existed := w.Get(key)
	rev := w.revision + 1
	create, version := rev, int64(1)
	if existed {
		create, version = prev.Create, prev.Version+1
	}
	previous, again := w.before(key, prev)
	buffer, row := appendRow(w.arena.take(rowSize(key, value)), key, value, create, rev, version, lease)
	w.arena.keep(len(buffer))

	w.key = appendVersionKey(w.key[:0], key, rev)
	w.batch.Set(w.key, row.Encoded)
	if !existed {
		w.counts.LiveKeys++
	}
	w.counts.LiveBytes += row.size() - prev.size()
	w.note(pending{row: row}, prev, previous, again)
	return prev
}

// delete writes a tombstone over a row that exists.
func (w *Writer) delete(prev Row) {
	rev := w.revision + 1
	key := prev.Key()
	previous, again := w.before(key, prev)
	n := rowSize(key, nil)
	var row Row
	if w.blind && w.unlisted != 0 {
		// Nobody keeps the row, and there may be millions.
		w.record, row = appendRow(w.record[:0], key, nil, 0, rev, 0, 0)
	} else {
		var buffer []byte
		buffer, row = appendRow(w.arena.take(n), key, nil, 0, rev, 0, 0)
		w.arena.keep(len(buffer))
	}
	w.key = appendVersionKey(w.key[:0], key, rev)
	var tombstone [tombstoneLen]byte
	binary.BigEndian.PutUint32(tombstone[:], w.sub)
	w.batch.Set(w.key, tombstone[:])
	w.counts.LiveKeys--
	w.counts.LiveBytes -= prev.size()
	if w.unlisted == 0 && !again && w.eventBytes <= w.store.options.EventBytes {
		// The event may outlive what prev stands in.
		prev.Encoded = append(w.arena.take(len(prev.Encoded)), prev.Encoded...)
		w.arena.keep(len(prev.Encoded))
	}
	w.note(pending{row: row, deleted: true}, prev, previous, again)
}

// note enters a change into history, events, own writes and digest. prev is the version that it replaces, which is the
// one that was live before this revision unless the key changes again.
func (w *Writer) note(p pending, prev Row, previous kind.Revision, again bool) {
	invariant.Check(w.open, "a key changes outside a command")
	invariant.Check(w.sub != lastSub, "a command has too many changes")
	rev := w.revision + 1
	p.sub = w.sub
	key := p.row.Key()
	w.key = appendHistoryKey(w.key[:0], rev, w.sub)
	w.history = appendChange(w.history[:0], change{deleted: p.deleted, previous: previous, key: key})
	w.batch.Set(w.key, w.history)
	if !again {
		w.counts.Versions++
	}
	w.sub++
	w.changed = true
	if !w.blind {
		if len(w.rows) < w.store.options.PendingRows {
			w.rows[unsafe.String(unsafe.SliceData(key), len(key))] = p
		} else {
			w.goBlind()
		}
	}
	if w.unlisted == 0 {
		const eventCost = 128
		if again {
			prev = Row{}
		}
		w.eventBytes += len(p.row.Encoded) + len(prev.Encoded) + eventCost
		if w.eventBytes <= w.store.options.EventBytes {
			w.events = append(w.events, Event{Revision: rev, Sub: p.sub, Deleted: p.deleted, Row: p.row, Previous: previous, Before: prev})
		} else {
			clear(w.events[w.first:])
			w.events, w.unlisted = w.events[:w.first], rev
		}
	}
	if w.effect != nil {
		w.effect(p.deleted, p.row)
	}
}

// goBlind forgets the own writes by key.
func (w *Writer) goBlind() { w.blind, w.rows = true, nil }

// before returns the revision of the version of key that was live before the command, 0 for none. prev is the latest
// version now. If the command has changed key already, again is true and that change is marked as superseded.
func (w *Writer) before(key []byte, prev Row) (previous kind.Revision, again bool) {
	rev := w.revision + 1
	if !w.changed {
		return prev.Mod, false
	}
	p, known := w.rows[string(key)]
	if !w.blind && (!known || p.row.Mod != rev) {
		return prev.Mod, false
	}
	if prev.Exists() && prev.Mod < rev {
		return prev.Mod, false
	}
	// The change is in the batch or, after a spill, in the store.
	w.key = appendVersionKey(w.key[:0], key, rev)
	value, ok := w.batch.Get(w.key)
	if !ok {
		return prev.Mod, false
	}
	sub, row := uint32(0), []byte(nil)
	switch {
	case len(value) == tombstoneLen:
		sub = binary.BigEndian.Uint32(value)
	case known:
		sub, row = p.sub, p.row.Encoded
	default:
		row = append(row, value...)
		sub = w.subOf(key, rev)
	}
	w.key = appendHistoryKey(w.key[:0], rev, sub)
	value, ok = w.batch.Get(w.key)
	c, sound := decodeChange(value)
	if !ok || !sound || string(c.key) != string(key) {
		store.Fail("mark a change as superseded", corrupt("the history has no change %d of %q at revision %d", sub, key, rev))
	}
	previous = c.previous
	c.superseded, c.row = true, row
	w.history = appendChange(w.history[:0], c)
	w.batch.Set(w.key, w.history)
	return previous, true
}

// subOf finds the number of the change that put key at rev. It is for a blind
// Writer, which nobody but a delete of very many keys makes.
func (w *Writer) subOf(key []byte, rev kind.Revision) uint32 {
	it := w.batch.Iter(appendHistoryKey(nil, rev, 0), appendHistoryKey(nil, rev+1, 0))
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		c, sound := decodeChange(it.Value())
		if sound && !c.superseded && !c.deleted && string(c.key) == string(key) {
			_, sub, _ := splitHistoryKey(it.Key())
			return sub
		}
	}
	store.Fail("mark a change as superseded", corrupt("the history does not know who put %q at revision %d", key, rev))
	return 0
}

// Get returns the latest version of key, own writes included.
func (w *Writer) Get(key []byte) (Row, bool) {
	if p, ok := w.rows[string(key)]; ok {
		if p.deleted {
			return Row{}, false
		}
		return p.row, true
	}
	if w.blind {
		return w.search(key)
	}
	var b []byte
	b, _, known := w.store.cache.get(key, w.base, false)
	if !known {
		b = w.point(key)
	}
	if b == nil {
		return Row{}, false
	}
	row, err := decodeRow(b)
	if err != nil || string(row.Key()) != string(key) {
		store.Fail("read a key", corrupt("the row of %q is not that of its key", key))
	}
	return row, true
}

// point reads a key below the batch. Nothing that this Writer wrote is there.
func (w *Writer) point(key []byte) []byte {
	if w.points == nil {
		var err error
		lower, upper := store.FamilyBounds(store.FamilyVersion)
		w.points, err = w.store.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper, UseL6Filters: true})
		store.Must("open an iterator over versions of keys", err)
	}
	w.key = appendVersionKey(w.key[:0], key, latest)
	if !w.points.SeekPrefixGE(w.key) {
		store.Must("read a key", w.points.Error())
		return nil
	}
	value, err := w.points.ValueAndErr()
	store.Must("read a key", err)
	if len(value) == tombstoneLen {
		return nil
	}
	b := append(w.arena.take(len(value)), value...)
	w.arena.keep(len(b))
	return b
}

// search reads a key through batch and store.
func (w *Writer) search(key []byte) (found Row, ok bool) {
	w.Each(command.Interval{Shape: command.Point, Start: key}, func(r Row) bool {
		found, ok = r, true
		return false
	})
	return found, ok
}

// scan returns a scan over iv at rev, own writes included, that must be closed.
func (w *Writer) scan(lower, upper []byte, rev kind.Revision) *scan {
	return &scan{it: overlaid{w.batch.Iter(lower, upper)}, rev: rev}
}

// overlaid is the cursor of an iterator of the batch.
type overlaid struct{ *batch.Iter }

func (c overlaid) ValueLen() int                { return len(c.Value()) }
func (c overlaid) ValueAndErr() ([]byte, error) { return c.Value(), nil }
func (c overlaid) Error() error                 { return nil }
func (c overlaid) Close() error                 { c.Iter.Close(); return nil }

// Each visits the latest version of every key in iv, own writes included, in key order until visit returns false.
// visit must not write.
func (w *Writer) Each(iv command.Interval, visit func(Row) bool) {
	if iv.Empty() {
		return
	}
	lower, upper := bounds(iv)
	s := w.scan(lower, upper, latest)
	defer s.it.Close()
	store.Must("read an interval of keys", visitRows(context.Background(), s, visit))
}

// Range reads as the command under way sees the store: own writes, and revisions of earlier commands of the batch,
// included. The errors are ErrCompacted and ErrFutureRevision. The answer takes what it needs from the budget
// without waiting and without being refused, since the same command must have the same effects everywhere.
func (w *Writer) Range(r command.Range) (Answer, error) {
	head := w.Revision()
	rev, err := admit(r.Revision, head, w.compacted)
	if err != nil {
		return Answer{}, err
	}
	if rev == head && pointRead(&r) {
		row, ok := w.Get(r.Interval.Start)
		if !ok {
			return Answer{Revision: head}, nil
		}
		before := beforeLen(len(row.Encoded))
		b := make([]byte, before+len(row.Encoded)+2)
		copy(b[before:], row.Encoded)
		return pointAnswer(b, before, head), nil
	}
	lower, upper := bounds(r.Interval)
	if r.Interval.Empty() {
		return Answer{Revision: head}, nil
	}
	s := w.scan(lower, upper, rev)
	defer s.it.Close()
	q := newQuery(context.Background(), r, s, w.store.budget)
	q.account.mode = forced
	a, err := q.run(head)
	store.Must("read an interval of keys", err)
	return a, nil
}

func (w *Writer) endReads() {
	if w.points != nil {
		w.points.Close()
		w.points = nil
	}
}
