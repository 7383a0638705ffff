package mvcc

import (
	"context"
	"encoding/binary"
	"errors"
	"math"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// Answer is a RangeResponse without its header. Whoever gets one calls Release when its bytes have been sent.
type Answer struct {
	Body     []byte        // the fields kvs (2), more (3) and count (4) in protobuf encoding
	Revision kind.Revision // the store's revision when it was read, which is what the header says
	Count    int64         // keys in the whole interval, whatever limit and filters say
	Kvs      int           // keys in Body
	More     bool          // keys were left out because of the limit

	held *reservation
}

// Release gives the bytes of a back to the budget. It may be called more than once, also for the zero Answer.
func (a Answer) Release() {
	if a.held != nil {
		a.held.release()
	}
}

// The tags of a RangeResponse's fields.
const (
	tagKvs   = 2<<3 | 2
	tagMore  = 3 << 3
	tagCount = 4 << 3
)

// tailLen is the room that more and count take at most.
const tailLen = 2 + 1 + binary.MaxVarintLen64

// appendKv appends one row, or the front of one, as a kvs field.
func appendKv(dst, row []byte) []byte {
	dst = append(dst, tagKvs)
	dst = binary.AppendUvarint(dst, uint64(len(row)))
	return append(dst, row...)
}

// appendTail appends the fields that follow the rows.
func appendTail(dst []byte, more bool, count int64) []byte {
	if more {
		dst = append(dst, tagMore, 1)
	}
	return appendNumber(dst, tagCount, count)
}

// errLarge says that an answer is too large to be built without a reservation; it never leaves the package.
var errLarge = errors.New("the answer needs a reservation")

// query is one Range on its way: what is asked, at which revision, and where it is read.
type query struct {
	r       command.Range
	limit   int64 // at least 1
	form    form
	filters bool
	scan    *scan
	account account
	memo    *memo // nil in a Writer, which reads what is not published
	ctx     context.Context
	steps   int

	// A piece of a stream ends without a tail at the first row past the limit or past maxBytes, and says which
	// key it gave out last.
	piece    bool
	maxBytes int
	lastKey  []byte

	kvs   int
	count int64
	more  bool
}

// newQuery returns the query for r at scan's revision.
func newQuery(ctx context.Context, r command.Range, s *scan, b *budget) *query {
	q := &query{r: r, limit: r.Limit, scan: s, ctx: ctx, account: account{budget: b}}
	if q.limit <= 0 {
		q.limit = math.MaxInt64
	}
	if r.KeysOnly && r.Target == command.TargetValue {
		q.form = formHead
	} else if r.KeysOnly {
		q.form = formPlain
	}
	q.filters = r.MinMod != 0 || r.MaxMod != 0 || r.MinCreate != 0 || r.MaxCreate != 0
	return q
}

// run answers q. The head of the answer is what the header will say.
func (q *query) run(head kind.Revision) (Answer, error) {
	body, err := q.build(sizes{})
	if errors.Is(err, errLarge) {
		// It waits for the whole and holds nothing until then, so that no two can wait for each other (V6).
		var need sizes
		if need, err = q.measure(); err == nil {
			if err = q.account.await(q.ctx, need.total()); err == nil {
				body, err = q.build(need)
				q.account.shrink(need.total() - cap(body))
			}
		}
	}
	if err == nil {
		err = q.scan.err()
	}
	if err != nil {
		q.account.release()
		return Answer{}, err
	}
	if !q.piece {
		body = appendTail(body, q.more, q.count)
	}
	return Answer{Body: body, Revision: head, Count: q.count, Kvs: q.kvs, More: q.more, held: q.account.held}, nil
}

// collects reports whether the rows must be gathered before the first can be given out.
func (q *query) collects() bool {
	switch {
	case q.r.CountOnly:
		return false
	case q.r.Target != command.TargetKey:
		return true
	default:
		return q.r.Order == command.OrderDescend && q.r.Limit <= 0
	}
}

// build makes the body, without its tail. need is what was measured; zero if nothing was.
func (q *query) build(need sizes) ([]byte, error) {
	q.kvs, q.count, q.more = 0, 0, false
	var dst []byte
	if need.body > 0 {
		dst = make([]byte, 0, need.body)
	}
	switch {
	case q.r.CountOnly:
		return dst, q.countRest(q.scan.first())
	case q.collects():
		return q.sorted(dst, need)
	case q.r.Order == command.OrderDescend:
		return q.backward(dst)
	default:
		return q.forward(dst)
	}
}

// forward takes rows in key order, then counts the others.
func (q *query) forward(dst []byte) ([]byte, error) {
	total, known := int64(0), false
	if q.limit < math.MaxInt64 {
		total, known = q.memo.get(q.r.Interval, q.scan.rev)
	}
	atLast := int64(0) // keys counted when the last row was taken
	var lastKey []byte
	ok := q.scan.first()
	for ; ok && !q.more; ok = q.scan.next() {
		if err := q.step(); err != nil {
			return dst, err
		}
		if q.filters {
			if match, err := q.matches(); err != nil {
				return dst, err
			} else if !match {
				q.count++
				continue
			}
		}
		if int64(q.kvs) == q.limit || q.piece && q.kvs > 0 && len(dst) >= q.maxBytes {
			q.more = true
			break
		}
		q.count++
		var err error
		if dst, err = q.take(dst); err != nil {
			return dst, err
		}
		if int64(q.kvs) == q.limit {
			atLast = q.count
			lastKey = append(lastKey[:0], userKey(q.scan.prefix)...)
		}
	}
	if !ok || q.piece {
		return dst, nil
	}
	if known {
		q.count = total
	} else if err := q.countRest(true); err != nil {
		return dst, err
	}
	if q.scan.err() == nil {
		q.memo.put(q.r.Interval, lastKey, q.scan.rev, q.count, q.count-atLast)
	}
	return dst, nil
}

// backward takes rows from the end until the limit, then counts the others.
func (q *query) backward(dst []byte) ([]byte, error) {
	for ok := q.scan.last(); ok; ok = q.scan.before() {
		if err := q.step(); err != nil {
			return dst, err
		}
		if q.filters {
			if match, err := q.matches(); err != nil {
				return dst, err
			} else if !match {
				q.count++
				continue
			}
		}
		if int64(q.kvs) == q.limit {
			q.more = true
			stop := append([]byte(nil), q.scan.prefix...)
			return dst, q.countUntil(stop)
		}
		q.count++
		var err error
		if dst, err = q.take(dst); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// countRest counts from where the scan stands, without reading values.
func (q *query) countRest(ok bool) error {
	for ; ok; ok = q.scan.next() {
		if err := q.step(); err != nil {
			return err
		}
		q.count++
	}
	return nil
}

// countUntil counts from the start up to and with the key of a prefix.
func (q *query) countUntil(prefix []byte) error {
	for ok := q.scan.first(); ok; ok = q.scan.next() {
		if err := q.step(); err != nil {
			return err
		}
		q.count++
		if string(q.scan.prefix) == string(prefix) {
			return nil
		}
	}
	return nil
}

// step looks now and then whether anybody still waits.
func (q *query) step() error {
	if q.steps++; q.steps%1024 == 0 {
		return q.ctx.Err()
	}
	return nil
}

// matches applies the four filters to the row where the scan stands. They are inclusive.
func (q *query) matches() (bool, error) {
	r := &q.r
	if r.MinMod != 0 && q.scan.mod < r.MinMod || r.MaxMod != 0 && q.scan.mod > r.MaxMod {
		return false, nil
	}
	if r.MinCreate == 0 && r.MaxCreate == 0 {
		return true, nil
	}
	row, err := q.scan.row()
	if err != nil {
		return false, err
	}
	return (r.MinCreate == 0 || row.Create >= r.MinCreate) && (r.MaxCreate == 0 || row.Create <= r.MaxCreate), nil
}

// take appends the row where the scan stands.
func (q *query) take(dst []byte) ([]byte, error) {
	b, err := q.scan.encoded()
	if err != nil {
		return dst, err
	}
	if b, err = q.show(b); err != nil {
		return dst, err
	}
	dst, ok := q.account.grow(dst, len(b)+6+tailLen)
	if !ok {
		return dst, errLarge
	}
	q.kvs++
	if q.piece {
		q.lastKey = append(q.lastKey[:0], userKey(q.scan.prefix)...)
	}
	return appendKv(dst, b), nil
}

// show cuts an encoded row to what is asked for.
func (q *query) show(b []byte) ([]byte, error) {
	if q.form == formWhole {
		return b, nil
	}
	row, err := decodeRow(b)
	if err != nil {
		return nil, corrupt("the row of %q: %w", userKey(q.scan.prefix), err)
	}
	return row.shown(q.form), nil
}
