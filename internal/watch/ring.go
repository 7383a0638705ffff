package watch

import "holdfast/internal/kind"

// ring holds the last revisions without a gap, bounded in bytes.
type ring struct {
	revisions []*revision // revisions[head:] are held
	head      int
	next      kind.Revision // the one after the last
	bytes     int64
	limit     int64
}

// first returns the lowest revision from which on the ring holds everything.
func (r *ring) first() kind.Revision { return r.next - kind.Revision(len(r.revisions)-r.head) }

// push adds the next revision and drops old ones until the ring is within its bound; the last stays in any case.
func (r *ring) push(v *revision) {
	r.revisions = append(r.revisions, v)
	r.next = v.number + 1
	r.bytes += v.bytes
	for r.bytes > r.limit && r.head < len(r.revisions)-1 {
		r.drop()
	}
	// The front is given back once it is half of the slice, so that a push costs the same on average.
	if r.head > 1024 && r.head > len(r.revisions)/2 {
		n := copy(r.revisions, r.revisions[r.head:])
		clear(r.revisions[n:])
		r.revisions, r.head = r.revisions[:n], 0
	}
}

func (r *ring) drop() {
	v := r.revisions[r.head]
	v.content.Store(nil)
	r.bytes -= v.bytes
	r.revisions[r.head] = nil
	r.head++
}

// reset drops everything; next is the revision that will be pushed next.
func (r *ring) reset(next kind.Revision) {
	for r.head < len(r.revisions) {
		r.drop()
	}
	r.revisions, r.head, r.next = nil, 0, next
}

// from returns at most n revisions from number on, which the ring must hold.
func (r *ring) from(number kind.Revision, n int) []*revision {
	held := r.revisions[r.head+int(number-r.first()):]
	return held[:min(n, len(held))]
}
