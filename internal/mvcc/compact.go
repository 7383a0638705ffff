package mvcc

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// position is a place in the history: everything before it is meant.
type position struct {
	revision kind.Revision
	sub      uint32
}

func (p position) before(q position) bool {
	return p.revision < q.revision || p.revision == q.revision && p.sub < q.sub
}

func (p position) key() []byte { return appendHistoryKey(nil, p.revision, p.sub) }

// progress is the cursor of the local deleting. Its record changes in the batches that delete (V5):
//
//	version (1) | walked revision (8), sub (4) | dropped revision (8), sub (4) | done (8) | removed (8) | crc32c (4)
//
// all numbers big endian.
type progress struct {
	walked  position      // what earlier changes replaced is deleted
	dropped position      // earlier changes are gone from the history
	done    kind.Revision // the last compaction whose deleting is finished
	removed int64         // versions deleted so far
}

const (
	progressVersion = 1
	progressLen     = 1 + 2*(8+4) + 8 + 8 + 4
)

var (
	progressKey = store.AppendKey(nil, store.FamilyMeta, "mvcc/deleting")
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

func appendProgress(dst []byte, p progress) []byte {
	start := len(dst)
	dst = append(dst, progressVersion)
	for _, at := range []position{p.walked, p.dropped} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(at.revision))
		dst = binary.BigEndian.AppendUint32(dst, at.sub)
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.done))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.removed))
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func decodeProgress(b []byte) (progress, error) {
	if len(b) > 0 && b[0] > progressVersion {
		return progress{}, store.ErrNewer
	}
	if len(b) != progressLen || b[0] != progressVersion ||
		crc32.Checksum(b[:progressLen-4], castagnoli) != binary.BigEndian.Uint32(b[progressLen-4:]) {
		return progress{}, corrupt("the cursor of the compaction is not what was written")
	}
	at := func(i int) position {
		return position{kind.Revision(binary.BigEndian.Uint64(b[i:])), binary.BigEndian.Uint32(b[i+8:])}
	}
	return progress{at(1), at(13), kind.Revision(binary.BigEndian.Uint64(b[25:])), int64(binary.BigEndian.Uint64(b[33:]))}, nil
}

// readProgress reads the cursor; a store in which nothing was ever deleted has none.
func readProgress(r pebble.Reader) (progress, error) {
	value, closer, err := r.Get(progressKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return progress{done: NeverCompacted}, nil
	}
	if err != nil {
		return progress{}, store.WrapRead("read the cursor of the compaction", err)
	}
	defer closer.Close()
	return decodeProgress(value)
}

// deleting is where the local deleting stands. progress belongs to the caller of CompactStep.
type deleting struct {
	progress progress
	done     atomic.Int64
	removed  atomic.Int64
}

func (d *deleting) open(db *store.DB) (err error) {
	d.progress, err = readProgress(db.DB)
	d.publish()
	return err
}

func (d *deleting) publish() {
	d.done.Store(int64(d.progress.done))
	d.removed.Store(d.progress.removed)
}

// Deleted returns the compacted revision up to which the local deleting is finished: a compaction to it or below it
// has given its space back to the store.
func (s *Store) Deleted() kind.Revision { return kind.Revision(s.deleting.done.Load()) }

// CompactStep works off at most Options.StepChanges changes of the history below the published compacted revision,
// and reports whether nothing is left to do. It walks the history rather than the keys, so that the work is
// proportional to what was changed. Of each change at or below the compacted revision C it deletes the version that
// the change has replaced, and a tombstone; then it drops the history below C. The changes of C itself stay until
// the next compaction, because a watch may start at C. Readers and the applier do not wait for it. The error is a
// failure of the store. One caller at a time.
func (s *Store) CompactStep() (done bool, err error) {
	target := s.Compacted()
	p := s.deleting.progress
	if p.done >= target {
		return true, nil
	}
	if err := s.db.Enter(); err != nil {
		return false, err
	}
	defer s.db.Leave()
	b := s.db.NewBatch()
	defer b.Close()
	if err := s.walk(b, &p, target); err != nil {
		return false, store.WrapRead("compact the versions of keys", err)
	}
	drop := p.walked
	if limit := (position{revision: max(target, 0)}); limit.before(drop) {
		drop = limit
	}
	if p.dropped.before(drop) {
		if err := b.DeleteRange(p.dropped.key(), drop.key(), nil); err != nil {
			return false, store.WrapRead("drop the history below a compaction", err)
		}
		p.dropped = drop
	}
	if err := b.Set(progressKey, appendProgress(nil, p), nil); err != nil {
		return false, store.WrapRead("move the cursor of the compaction", err)
	}
	if err := commit(b); err != nil {
		return false, store.WrapRead("commit a step of the compaction", err)
	}
	s.deleting.progress = p
	s.deleting.publish()
	return p.done >= s.Compacted(), nil
}

// walk puts the deletions of one step into b and moves p.
func (s *Store) walk(b *pebble.Batch, p *progress, target kind.Revision) error {
	end := position{revision: max(target, 0) + 1}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: p.walked.key(), UpperBound: end.key()})
	if err != nil {
		return err
	}
	defer it.Close()
	var key []byte
	remove := func(c change, rev kind.Revision) error {
		p.removed++
		key = appendVersionKey(key[:0], c.key, rev)
		return b.Delete(key, nil)
	}
	ok := it.First()
	for n := 0; ok; ok, n = it.Next(), n+1 {
		rev, sub, sound := splitHistoryKey(it.Key())
		if n == s.options.StepChanges {
			p.walked = position{rev, sub}
			return nil
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		c, known := decodeChange(value)
		if !sound || !known {
			return corrupt("a record of the history at %x is not what was written", it.Key())
		}
		// A superseded change has replaced the same version as the last change of its key in its revision.
		if c.superseded {
			continue
		}
		if c.previous > 0 {
			if err := remove(c, c.previous); err != nil {
				return err
			}
		}
		if c.deleted {
			if err := remove(c, rev); err != nil {
				return err
			}
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	p.walked, p.done = end, target
	return nil
}

// commit turns the panic that Pebble's end of the world is on this goroutine into an error.
func commit(b *pebble.Batch) (err error) {
	defer func() {
		if e := store.Recovered(recover()); e != nil {
			err = e
		}
	}()
	return b.Commit(pebble.NoSync)
}
