package watch

import (
	"encoding/binary"
	"sync/atomic"

	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
)

// event is a change with its bytes in a response, which are made when somebody wants them.
type event struct {
	change mvcc.Event
	plain  atomic.Pointer[[]byte]
	full   atomic.Pointer[[]byte] // with the version before
}

// The tags of a WatchResponse's events and of an event's fields.
const (
	tagEvents = 11<<3 | 2
	tagType   = 1 << 3
	tagKv     = 2<<3 | 2
	tagPrevKv = 3<<3 | 2
)

// wire returns e as an events field of a WatchResponse. Two callers may make the same bytes at the same time.
func (e *event) wire(before bool) []byte {
	have := &e.plain
	if before {
		have = &e.full
	}
	if b := have.Load(); b != nil {
		return *b
	}
	b := appendEvent(nil, &e.change, before)
	have.Store(&b)
	return b
}

// appendEvent appends an events field to dst.
func appendEvent(dst []byte, e *mvcc.Event, before bool) []byte {
	size, prev := eventLen(e, before)
	if dst == nil {
		dst = make([]byte, 0, 1+uvarintLen(size)+size)
	}
	dst = binary.AppendUvarint(append(dst, tagEvents), uint64(size))
	if e.Deleted {
		dst = append(dst, tagType, 1)
	}
	dst = binary.AppendUvarint(append(dst, tagKv), uint64(len(e.Row.Encoded)))
	dst = append(dst, e.Row.Encoded...)
	if prev > 0 {
		dst = binary.AppendUvarint(append(dst, tagPrevKv), uint64(prev))
		dst = append(dst, e.Before.Encoded...)
	}
	return dst
}

// block makes the bytes of all events of revisions, one after another in one piece of memory, so that those who are
// given many share them. What the bytes were made of is let go.
func block(revisions []*revision, before bool) {
	each := func(do func(*event)) {
		for _, r := range revisions {
			events := r.events()
			for i := range events {
				do(&events[i])
			}
		}
	}
	run := func(before bool) {
		size := 0
		each(func(e *event) {
			inner, _ := eventLen(&e.change, before)
			size += 1 + uvarintLen(inner) + inner
		})
		b := make([]byte, 0, size)
		each(func(e *event) {
			start := len(b)
			b = appendEvent(b, &e.change, before)
			wire := b[start:]
			if before {
				e.full.Store(&wire)
			} else {
				e.plain.Store(&wire)
			}
		})
	}
	run(false)
	if before {
		run(true)
	}
	each(func(e *event) { e.change.Row, e.change.Before = mvcc.Row{}, mvcc.Row{} })
}

// eventLen returns the length of the encoding of e without its tag and length, and of the version before within it.
func eventLen(e *mvcc.Event, before bool) (size, prev int) {
	row := len(e.Row.Encoded)
	size = 1 + uvarintLen(row) + row
	if e.Deleted {
		size += 2
	}
	if before && e.Before.Exists() && !creates(e) {
		prev = len(e.Before.Encoded)
		size += 1 + uvarintLen(prev) + prev
	}
	return size, prev
}

// creates reports whether e makes its key new. It may have existed before the revision, if the same transaction deleted
// it first; then the delete shows the version before, and the put shows none, as with every key that is new.
func creates(e *mvcc.Event) bool { return !e.Deleted && e.Row.Create == e.Row.Mod }

func uvarintLen(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// revision is all that one command has changed. The ring takes the events away when it drops the revision, although
// queues may still refer to it (W6).
type revision struct {
	number  kind.Revision
	bytes   int64
	content atomic.Pointer[content]
}

// content is the events of a revision. Most have one.
type content struct {
	events []event
	one    [1]event
}

// events returns the events of r, nil if the ring has dropped it.
func (r *revision) events() []event {
	if c := r.content.Load(); c != nil {
		return c.events
	}
	return nil
}

// eventCost is what an event takes beside its rows.
const eventCost = 256

func newRevision(changes []mvcc.Event) *revision {
	r := &revision{number: changes[0].Revision}
	c := new(content)
	if c.events = c.one[:]; len(changes) > 1 {
		c.events = make([]event, len(changes))
	}
	for i := range changes {
		c.events[i].change = changes[i]
		// The rows, and once more for the bytes that are made of them.
		r.bytes += eventCost + 2*int64(len(changes[i].Row.Encoded)+len(changes[i].Before.Encoded))
	}
	r.content.Store(c)
	return r
}

// whole reports whether the version before each change is at hand.
func whole(changes []mvcc.Event) bool {
	for i := range changes {
		if changes[i].Previous > 0 && !changes[i].Before.Exists() {
			return false
		}
	}
	return true
}
