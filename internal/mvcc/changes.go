package mvcc

import (
	"bytes"
	"context"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// Wanted says what a reader of the history wants of a change.
type Wanted uint8

const (
	NotWanted  Wanted = iota // nothing: its row is not even read
	WantRow                  // what the key holds after the change
	WantBefore               // that, and the version before it
)

// HistoryQuery asks for a chunk of the history.
type HistoryQuery struct {
	From kind.Revision // the first revision; at least the compacted one, at most the view's
	// MaxChanges and MaxBytes bound the chunk: it ends with the revision that reaches MaxChanges, and before the
	// first whose rows would make more than MaxBytes of those that are wanted. It always has one whole revision,
	// however large.
	MaxChanges int
	MaxBytes   int
	// Want is asked for each change in the order of (revision, sub). The key is valid until it returns. Changes
	// that MaxBytes cuts off have been asked for too.
	Want func(rev kind.Revision, deleted bool, key []byte) Wanted
}

// History returns the changes that q wants, in order, and the last revision of the chunk: of the revisions from
// q.From up to it nothing else is wanted. Before is filled only where a read at the revision before the change is not
// refused as compacted. Rows are read in the order of their keys through one iterator, and only those that are
// wanted. The errors are ErrCompacted, ErrFutureRevision, ErrClosed, that of ctx, or a failure of the store.
func (v *View) History(ctx context.Context, q HistoryQuery) (events []Event, to kind.Revision, err error) {
	switch {
	case v.closed.Load():
		return nil, 0, ErrClosed
	case q.From < v.compacted:
		return nil, 0, ErrCompacted
	case q.From > v.revision:
		return nil, 0, ErrFutureRevision
	}
	h := historyRead{view: v, ctx: ctx, maxBytes: q.MaxBytes}
	if to, err = h.walk(&q); err != nil {
		return nil, 0, err
	}
	if to, err = h.fetch(to); err != nil {
		return nil, 0, err
	}
	return h.events, to, nil
}

// historyRead is one History on its way.
type historyRead struct {
	view     *View
	ctx      context.Context
	maxBytes int
	events   []Event
	reads    []rowRead
	arena    arena
}

// rowRead is a version to be read, and the event that it belongs to.
type rowRead struct {
	key    []byte
	rev    kind.Revision
	event  int
	before bool
	length int
	unread bool // put off because the chunk was full
}

// walk goes through the records of the history and notes which versions have to be read.
func (h *historyRead) walk(q *HistoryQuery) (to kind.Revision, err error) {
	v := h.view
	it, err := v.snapshot.NewIter(&pebble.IterOptions{
		LowerBound: appendHistoryKey(nil, max(q.From, 0), 0),
		UpperBound: appendHistoryKey(nil, v.revision+1, 0),
	})
	if err != nil {
		return 0, store.WrapRead("open an iterator over the history", err)
	}
	defer it.Close()
	to = v.revision
	last := kind.Revision(-1)
	for n, ok := 0, it.First(); ok; ok, n = it.Next(), n+1 {
		rev, sub, sound := splitHistoryKey(it.Key())
		if n >= q.MaxChanges && rev != last && last >= 0 {
			to = last
			break
		}
		if n%1024 == 1023 {
			if err := h.ctx.Err(); err != nil {
				return 0, err
			}
		}
		last = rev
		value, err := it.ValueAndErr()
		if err != nil {
			return 0, store.WrapRead("read the history", err)
		}
		c, known := decodeChange(value)
		if !sound || !known {
			return 0, corrupt("a record of the history at %x is not what was written", it.Key())
		}
		if w := q.Want(rev, c.deleted, c.key); w != NotWanted {
			if err := h.note(c, rev, sub, w == WantBefore); err != nil {
				return 0, err
			}
		}
	}
	return to, store.WrapRead("walk the history", it.Error())
}

// note makes an event of a change, as far as the record of the history has it.
func (h *historyRead) note(c change, rev kind.Revision, sub uint32, before bool) error {
	e := Event{Revision: rev, Sub: sub, Deleted: c.deleted, Previous: c.previous}
	key := h.keep(c.key)
	switch {
	case c.deleted:
		var buffer []byte
		buffer, e.Row = appendRow(h.arena.take(rowSize(key, nil)), key, nil, 0, rev, 0, 0)
		h.arena.keep(len(buffer))
	case c.superseded:
		row, err := decodeRow(h.keep(c.row))
		if err != nil || row.Mod != rev || !bytes.Equal(row.Key(), key) {
			return corrupt("the history's row of %q at revision %d is not that of its key", key, rev)
		}
		e.Row = row
	default:
		h.reads = append(h.reads, rowRead{key: key, rev: rev, event: len(h.events)})
	}
	// What a read at the revision before would be refused may be deleted already, or not: it is never shown.
	if before && c.previous > 0 && rev-1 >= h.view.compacted {
		h.reads = append(h.reads, rowRead{key: key, rev: c.previous, event: len(h.events), before: true})
	}
	h.events = append(h.events, e)
	return nil
}

// keep copies b.
func (h *historyRead) keep(b []byte) []byte {
	out := append(h.arena.take(len(b)), b...)
	h.arena.keep(len(out))
	return out
}

// fetch reads the versions that walk has noted, and cuts the chunk where they are too many bytes.
func (h *historyRead) fetch(to kind.Revision) (kind.Revision, error) {
	if len(h.reads) == 0 {
		return to, nil
	}
	lower, upper := store.FamilyBounds(store.FamilyVersion)
	it, err := h.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return 0, store.WrapRead("open an iterator over versions of keys", err)
	}
	defer it.Close()
	slices.SortFunc(h.reads, func(a, b rowRead) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return int(b.rev - a.rev)
	})
	full, err := h.read(it, h.maxBytes, len(h.events))
	if err != nil || !full {
		return to, err
	}
	end := h.cut()
	if end < len(h.events) {
		to = h.events[end].Revision - 1
		clear(h.events[end:])
		h.events = h.events[:end]
	}
	_, err = h.read(it, -1, end)
	return to, err
}

// read reads, in the order of keys, what is unread of the first events, until maxBytes are read; then only lengths.
// A negative maxBytes reads all that an earlier call has put off.
func (h *historyRead) read(it *pebble.Iterator, maxBytes, events int) (full bool, err error) {
	var seek []byte
	var same Row // the row read last: the version before one change is often that of another
	total := 0
	c := climber{it: it}
	for i := range h.reads {
		r := &h.reads[i]
		if r.event >= events || maxBytes < 0 && !r.unread {
			continue
		}
		if i%1024 == 1023 {
			if err := h.ctx.Err(); err != nil {
				return false, err
			}
		}
		if same.Mod == r.rev && same.Exists() && bytes.Equal(same.Key(), r.key) {
			r.length = len(same.Encoded)
			h.fill(r, same)
			continue
		}
		seek = appendVersionKey(seek[:0], r.key, r.rev)
		if !c.reach(seek) {
			if err := it.Error(); err != nil {
				return false, store.WrapRead("read versions of keys", err)
			}
			return false, corrupt("the history knows a version of %q at revision %d that is not there", r.key, r.rev)
		}
		r.length = stored{it}.ValueLen()
		total += r.length
		if maxBytes >= 0 && total > maxBytes {
			r.unread, full = true, true
			continue
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return false, store.WrapRead("read the value of a key", err)
		}
		row, err := decodeRow(h.keep(value))
		if err != nil || row.Mod != r.rev || !bytes.Equal(row.Key(), r.key) {
			return false, corrupt("the row of %q at revision %d is not that of its key", r.key, r.rev)
		}
		h.fill(r, row)
		same = row
	}
	return full, nil
}

// climber reaches keys in order, of which many are neighbours when most of a stretch of the history is wanted: then a
// step is a fraction of a seek. Where steps do not lead there, it tries one only now and then.
type climber struct {
	it     *pebble.Iterator
	begun  bool
	misses int // steps in vain since the last that was not
}

const (
	climbMisses = 4  // until steps are the exception
	climbAgain  = 16 // and then one is tried every so many keys
)

// reach puts the iterator on key and reports whether it is there. Keys rise, but one that was only measured may be asked
// for again, so a step that leads beyond it says nothing.
func (c *climber) reach(key []byte) bool {
	if c.begun && c.it.Valid() && (c.misses < climbMisses || c.misses%climbAgain == 0) &&
		c.it.Next() && bytes.Equal(c.it.Key(), key) {
		c.misses = 0
		return true
	}
	c.begun = true
	c.misses++
	return c.it.SeekGE(key) && bytes.Equal(c.it.Key(), key)
}

func (h *historyRead) fill(r *rowRead, row Row) {
	r.unread = false
	if r.before {
		h.events[r.event].Before = row
	} else {
		h.events[r.event].Row = row
	}
}

// cut returns how many events make at most maxBytes, in whole revisions, and one revision at least.
func (h *historyRead) cut() int {
	lengths := make([]int, len(h.events))
	for i := range h.reads {
		lengths[h.reads[i].event] += h.reads[i].length
	}
	total, start := 0, 0 // start of the revision of event i
	for i := range h.events {
		if i > 0 && h.events[i].Revision != h.events[i-1].Revision {
			start = i
		}
		if total += lengths[i]; total > h.maxBytes && start > 0 {
			return start
		}
	}
	return len(h.events)
}
