package mvcc

import (
	"math"

	"holdfast/internal/command"
)

// sizes are the buffers that an answer takes: its body and, if it is sorted, a copy of what is sorted and a list.
type sizes struct {
	body    int
	scratch int
	rows    int
}

func (s sizes) total() int { return s.body + s.scratch + s.rows*itemBytes }

// measure returns upper bounds of what building the answer takes. It reads no values except for the filters.
func (q *query) measure() (sizes, error) {
	need := sizes{body: tailLen}
	sorts, first, move := q.collects(), q.scan.first, q.scan.next
	if !sorts && q.r.Order == command.OrderDescend {
		first, move = q.scan.last, q.scan.before
	}
	stop := q.stop()
	if !sorts {
		stop = q.limit
	}
	rows, largest := int64(0), 0
	for ok := first(); ok && rows < stop; ok = move() {
		if err := q.step(); err != nil {
			return need, err
		}
		if q.filters {
			if match, err := q.matches(); err != nil {
				return need, err
			} else if !match {
				continue
			}
		}
		n := q.scan.it.ValueLen()
		if q.form != formWhole && !(sorts && q.form == formHead) {
			// The front of a row: the key with its tag and length, and at most four numbers.
			n = min(n, len(q.scan.prefix)+6+4*11)
		}
		if sorts {
			need.rows++
			if q.light() {
				need.scratch += len(q.scan.prefix)
			} else {
				need.scratch += n
			}
		}
		rows++
		largest = max(largest, n+6)
		need.body += n + 6
	}
	if rows > q.limit && q.limit < math.MaxInt32 {
		need.body = min(need.body, tailLen+int(q.limit)*largest)
	}
	return need, q.scan.err()
}
