package mvcc

import (
	"context"
	"math"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// firstChunk is the number of keys in the first chunk of a stream.
const firstChunk = 10

// RangeStream sends the answer to r in chunks, all of one revision. The first has ten keys at most; from then on the
// number doubles while a chunk takes less than half of chunkBytes, and halves when it takes more than twice that; a
// chunk ends early at twice chunkBytes. Only the last chunk has a Revision, More and Count; the others have Revision
// 0, which stands for no header. send takes a chunk over and calls its Release when its bytes are gone, even if it fails: until then they
// count against the budget. A compaction meanwhile changes
// nothing for the stream. The errors are those of Range, before the first chunk, and that of send.
func (s *Store) RangeStream(ctx context.Context, r command.Range, chunkBytes int, send func(Answer) error) error {
	v, err := s.View()
	if err != nil {
		return err
	}
	defer v.Close()
	return v.RangeStream(ctx, r, chunkBytes, send)
}

// RangeStream is Store.RangeStream on a view.
func (v *View) RangeStream(ctx context.Context, r command.Range, chunkBytes int, send func(Answer) error) error {
	if v.closed.Load() {
		return ErrClosed
	}
	rev, err := admit(r.Revision, v.revision, v.compacted)
	if err != nil {
		return err
	}
	if r.CountOnly {
		a, err := v.Range(ctx, r)
		if err != nil {
			return err
		}
		return send(a)
	}
	left := r.Limit
	if left <= 0 {
		left = math.MaxInt64
	}
	sent, keys := int64(0), int64(firstChunk)
	for {
		r.Limit = min(keys, left)
		c, err := v.chunk(ctx, r, rev, 2*chunkBytes)
		if err != nil {
			return err
		}
		left -= int64(c.answer.Kvs)
		sent += int64(c.answer.Kvs)
		rest := command.Interval{Shape: r.Interval.Shape, Start: append(c.lastKey, 0), End: r.Interval.End}
		if !c.answer.More || left == 0 {
			return v.finish(ctx, c.answer, rest, rev, sent, send)
		}
		size := len(c.answer.Body)
		c.answer.More, c.answer.Count = false, 0
		if err := send(c.answer); err != nil {
			return err
		}
		if size < chunkBytes/2 {
			keys = min(2*keys, math.MaxInt32)
		} else if size > 2*chunkBytes {
			keys = max(1, keys/2)
		}
		r.Interval = rest
	}
}

// finish sends the last chunk, with the keys that the stream does not send counted behind those it has sent.
func (v *View) finish(ctx context.Context, a Answer, rest command.Interval, rev kind.Revision, sent int64, send func(Answer) error) error {
	a.Count, a.Revision = sent, v.revision
	if a.More {
		counted, err := v.Range(ctx, command.Range{Interval: rest, Revision: rev, CountOnly: true})
		if err != nil {
			a.Release()
			return err
		}
		a.Count += counted.Count
	}
	a.Body = appendTail(a.Body, a.More, a.Count)
	return send(a)
}

type chunk struct {
	answer  Answer // without tail and revision
	lastKey []byte
}

// chunk reads rows without counting those behind the limit.
func (v *View) chunk(ctx context.Context, r command.Range, rev kind.Revision, maxBytes int) (chunk, error) {
	it, err := v.store.open(v.snapshot, &r)
	if err != nil {
		return chunk{}, err
	}
	defer it.Close()
	q := newQuery(ctx, r, &scan{it: stored{it}, rev: rev}, v.store.budget)
	q.piece, q.maxBytes = true, maxBytes
	a, err := q.run(0)
	return chunk{a, q.lastKey}, err
}
