package mvcc

import (
	"bytes"
	"math"
	"sort"

	"holdfast/internal/command"
)

// item is a row in the list that is sorted: what it is sorted by, and where in the scratch buffer it lies. Sorted
// by value, the value lies valueAt bytes into it.
type item struct {
	number  int64
	at      int
	length  uint32
	valueAt uint32
}

const itemBytes = 24

// light reports whether the list holds only keys and numbers: with a limit most rows will not be shown.
func (q *query) light() bool { return q.r.Limit > 0 && q.r.Target != command.TargetValue }

// stop is the number of rows, after the filters, that are collected. etcd takes an order of none for the
// default order when it applies the limit, and sorts by the target all the same.
func (q *query) stop() int64 {
	if q.r.Order == command.OrderNone && !q.filters && q.limit < math.MaxInt64 {
		return q.limit + 1
	}
	return math.MaxInt64
}

// sorted collects all rows in key order, sorts them and takes them up to the limit. The list and the sort are those
// of etcd, so that rows that compare equal come in the same order.
func (q *query) sorted(dst []byte, need sizes) ([]byte, error) {
	items := make([]item, 0, need.rows)
	scratch := make([]byte, 0, need.scratch)
	reserved := 0
	stop := q.stop()
	ok := q.scan.first()
	for ; ok && int64(len(items)) < stop; ok = q.scan.next() {
		if err := q.step(); err != nil {
			return dst, err
		}
		q.count++
		if q.filters {
			if match, err := q.matches(); err != nil {
				return dst, err
			} else if !match {
				continue
			}
		}
		if len(items) == cap(items) {
			size := max(64, 2*cap(items))
			if !q.account.take(size * itemBytes) {
				return dst, errLarge
			}
			items = append(make([]item, 0, size), items...)
			q.account.give(reserved)
			reserved = size * itemBytes
		}
		var err error
		if items, scratch, err = q.collect(items, scratch); err != nil {
			return dst, err
		}
	}
	if !q.piece {
		if err := q.countRest(ok); err != nil {
			return dst, err
		}
	}
	if err := q.scan.err(); err != nil {
		return dst, err
	}
	q.order(items, scratch)
	if int64(len(items)) > q.limit {
		items, q.more = items[:q.limit], true
	}
	for _, it := range items {
		var err error
		if dst, err = q.emit(dst, it, scratch); err != nil {
			return dst, err
		}
	}
	q.account.give(cap(scratch))
	q.account.give(reserved)
	return dst, nil
}

// collect adds the row where the scan stands to the list.
func (q *query) collect(items []item, scratch []byte) ([]item, []byte, error) {
	it := item{at: len(scratch), number: int64(q.scan.mod)}
	part := q.scan.prefix
	if !q.light() || q.r.Target != command.TargetMod {
		row, err := q.scan.row()
		if err != nil {
			return items, scratch, err
		}
		switch q.r.Target {
		case command.TargetVersion:
			it.number = row.Version
		case command.TargetCreate:
			it.number = int64(row.Create)
		case command.TargetValue:
			it.valueAt = row.valueAt
		}
		if !q.light() {
			part = row.Encoded
			if q.r.Target != command.TargetValue {
				part = row.shown(q.form)
			}
		}
	}
	it.length = uint32(len(part))
	scratch, ok := q.account.grow(scratch, len(part))
	if !ok {
		return items, scratch, errLarge
	}
	return append(items, it), append(scratch, part...), nil
}

// order sorts items as the request says.
func (q *query) order(items []item, scratch []byte) {
	by := &byTarget{items: items, scratch: scratch, value: q.r.Target == command.TargetValue}
	switch {
	case q.r.Target == command.TargetKey:
		// Only a descending answer without a limit comes here, and keys are never equal.
		for i, j := 0, len(items)-1; i < j; i, j = i+1, j-1 {
			items[i], items[j] = items[j], items[i]
		}
	case q.r.Order == command.OrderDescend:
		sort.Sort(sort.Reverse(by))
	default:
		sort.Sort(by)
	}
}

// emit appends one row of the sorted list to the body.
func (q *query) emit(dst []byte, it item, scratch []byte) ([]byte, error) {
	part := scratch[it.at : it.at+int(it.length)]
	if q.light() {
		if !q.scan.find(part) {
			if err := q.scan.err(); err != nil {
				return dst, err
			}
			return dst, corrupt("the key %q was there and is gone during a read", userKey(part))
		}
		return q.take(dst)
	}
	if q.form == formHead || q.piece {
		row, err := decodeRow(part)
		if err != nil {
			return dst, corrupt("a row of the store: %w", err)
		}
		part = row.shown(q.form)
		q.lastKey = append(q.lastKey[:0], row.Key()...)
	}
	dst, ok := q.account.grow(dst, len(part)+6+tailLen)
	if !ok {
		return dst, errLarge
	}
	q.kvs++
	return appendKv(dst, part), nil
}

type byTarget struct {
	items   []item
	scratch []byte
	value   bool
}

func (b *byTarget) Len() int      { return len(b.items) }
func (b *byTarget) Swap(i, j int) { b.items[i], b.items[j] = b.items[j], b.items[i] }
func (b *byTarget) Less(i, j int) bool {
	x, y := &b.items[i], &b.items[j]
	if b.value {
		return bytes.Compare(b.at(x), b.at(y)) < 0
	}
	return x.number < y.number
}

func (b *byTarget) at(it *item) []byte {
	return b.scratch[it.at+int(it.valueAt) : it.at+int(it.length)]
}
