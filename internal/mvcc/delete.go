package mvcc

import (
	"bytes"

	"holdfast/internal/command"
	"holdfast/internal/invariant"
	"holdfast/internal/store"
)

// DeleteOptions of a DeleteRange.
type DeleteOptions struct {
	// Prev is told every deleted row, in key order. The row is valid until Prev returns. It may be nil.
	Prev func(Row)
	// Full is told that the batch has grown past Options.SpillBytes, with the key from which on nothing is deleted
	// yet. The machine writes a cursor that names the command, and spills the batch; then DeleteRange goes on.
	// After a crash the machine takes back with Undo what was spilled, and executes the command anew. If Full is
	// nil the batch grows without bound.
	Full func(next []byte)
}

// A DeleteRange reads so much before it writes, because writing moves what is being read.
const (
	gatherRows  = 512
	gatherBytes = 1 << 20
)

// DeleteRange deletes the keys of iv and returns how many there were. Memory stays bounded if Full is given,
// whatever the number of keys.
func (w *Writer) DeleteRange(iv command.Interval, o DeleteOptions) (deleted int64) {
	if iv.Empty() {
		return 0
	}
	if iv.Shape == command.Point {
		row, ok := w.Get(iv.Start)
		if !ok {
			return 0
		}
		w.delete(row)
		if o.Prev != nil {
			o.Prev(row)
		}
		return 1
	}
	lower, upper := bounds(iv)
	var rows []Row
	var buffer []byte
	for store.Compare(lower, upper) < 0 {
		var more bool
		rows, buffer, more = w.gather(lower, upper, rows[:0], buffer[:0])
		for _, row := range rows {
			w.delete(row)
			if o.Prev != nil {
				o.Prev(row)
			}
		}
		deleted += int64(len(rows))
		if !more {
			break
		}
		next := append(bytes.Clone(rows[len(rows)-1].Key()), 0)
		lower = appendPrefix(lower[:0], next)
		w.SpillIfFull(o.Full, next)
	}
	return deleted
}

// gather copies rows from lower on into buffer and reports whether there may be more.
func (w *Writer) gather(lower, upper []byte, rows []Row, buffer []byte) ([]Row, []byte, bool) {
	s := w.scan(lower, upper, latest)
	defer s.it.Close()
	for ok := s.first(); ok; ok = s.next() {
		row, err := s.row()
		store.Must("read a key to be deleted", err)
		if cap(buffer)-len(buffer) < len(row.Encoded) {
			if len(rows) > 0 {
				if cap(buffer) < gatherBytes {
					// The rows gathered so far keep the old buffer.
					buffer = make([]byte, 0, 2*cap(buffer))
				}
				if cap(buffer)-len(buffer) < len(row.Encoded) {
					return rows, buffer, true
				}
			} else {
				buffer = make([]byte, 0, max(4<<10, len(row.Encoded)))
			}
		}
		at := len(buffer)
		buffer = append(buffer, row.Encoded...)
		row.Encoded = buffer[at:len(buffer):len(buffer)]
		rows = append(rows, row)
		if len(rows) >= gatherRows {
			return rows, buffer, true
		}
	}
	store.Must("read keys to be deleted", s.err())
	return rows, buffer, false
}

// SpillIfFull calls full if the batch has grown past Options.SpillBytes. It is for a command that deletes very many
// keys one by one; what is said of DeleteOptions.Full holds for full.
func (w *Writer) SpillIfFull(full func(next []byte), next []byte) {
	if full == nil || w.batch.Size() <= w.store.options.SpillBytes {
		return
	}
	full(next)
	invariant.Check(w.batch.Size() <= w.store.options.SpillBytes, "a full batch was not spilled")
	w.endReads()
}
