package mvcc

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// NeverCompacted is the compacted revision of a store that was never compacted: etcd counts so, and a compaction to
// revision 0 is possible once. FirstRevision is the revision of a new store, which holds nothing. The genesis of a
// store writes both into its applied record.
const (
	NeverCompacted kind.Revision = -1
	FirstRevision  kind.Revision = 1
)

// The defaults of Options.
const (
	DefaultRowCacheBytes     = 32 << 20
	DefaultAnswerBudgetBytes = 512 << 20
	DefaultEventBytes        = 16 << 20
	DefaultPendingRows       = 1 << 16
	DefaultSpillBytes        = 16 << 20
	DefaultStepChanges       = 1000
)

// Options of a Store. A zero value means the default.
type Options struct {
	RowCacheBytes     int64 // bound of the row cache; negative for none
	AnswerBudgetBytes int64 // bound of all large answers in flight together
	EventBytes        int   // bound of the events of one batch that a Writer keeps
	PendingRows       int   // rows of one batch that a Writer knows by key
	SpillBytes        int   // the size at which a batch is spilled in the middle of a DeleteRange
	StepChanges       int   // changes of the history that one CompactStep works off
}

// Store is the versions of all keys of a member. Reading methods may be called from any goroutine; Begin and Publish
// belong to the applier, CompactStep to one goroutine beside it.
type Store struct {
	db      *store.DB
	options Options
	cache   *cache
	budget  *budget
	memo    *memo
	hooks   hooks

	revision  atomic.Int64 // published (V2)
	compacted atomic.Int64 // published after the revision
	counts    [3]atomic.Int64
	writer    *Writer // the one that is open, nil for none
	deleting  deleting
}

// hooks hold a goroutine at a place that a test chose. They are nil outside tests.
type hooks struct {
	aimed  func() // a reader has chosen its revision and not yet pinned the store
	found  func() // a reader has read and not yet filled the cache
	cached func() // the applier has updated the cache and not yet published the revision
}

// Counts say how much a Store holds.
type Counts struct {
	LiveKeys  int64 // keys that are not deleted
	LiveBytes int64 // bytes of their latest versions as they are stored
	Versions  int64 // versions that are still there, tombstones included
}

// Open reads where db stands and returns its Store, with an empty row cache and at the place where local deleting
// stopped.
func Open(db *store.DB, o Options) (*Store, error) {
	fill := func(have *int, otherwise int) {
		if *have == 0 {
			*have = otherwise
		}
	}
	if o.RowCacheBytes == 0 {
		o.RowCacheBytes = DefaultRowCacheBytes
	}
	if o.AnswerBudgetBytes == 0 {
		o.AnswerBudgetBytes = DefaultAnswerBudgetBytes
	}
	fill(&o.EventBytes, DefaultEventBytes)
	fill(&o.PendingRows, DefaultPendingRows)
	fill(&o.SpillBytes, DefaultSpillBytes)
	fill(&o.StepChanges, DefaultStepChanges)
	a, err := db.Applied()
	if err != nil {
		return nil, fmt.Errorf("open the versions of keys: %w", err)
	}
	s := &Store{db: db, options: o, cache: newCache(o.RowCacheBytes), budget: newBudget(o.AnswerBudgetBytes), memo: newMemo()}
	if err := s.deleting.open(db); err != nil {
		return nil, fmt.Errorf("open the versions of keys: %w", err)
	}
	s.revision.Store(int64(a.Revision))
	s.compacted.Store(int64(a.Compacted))
	s.setCounts(a.LiveKeys, a.LiveBytes, a.Versions)
	return s, nil
}

// Revision returns the published revision: that of the last command that changed keys and may be shown.
func (s *Store) Revision() kind.Revision { return kind.Revision(s.revision.Load()) }

// Compacted returns the published compacted revision, NeverCompacted if there is none. Reads below it are refused.
func (s *Store) Compacted() kind.Revision { return kind.Revision(s.compacted.Load()) }

// Counts returns how much the store holds at the published revision.
func (s *Store) Counts() Counts {
	return Counts{s.counts[0].Load(), s.counts[1].Load(), s.counts[2].Load() - s.deleting.removed.Load()}
}

func (s *Store) setCounts(keys, bytes, versions int64) {
	s.counts[0].Store(keys)
	s.counts[1].Store(bytes)
	s.counts[2].Store(versions)
}

// admit returns the revision at which r reads, given where the store stands.
func admit(r kind.Revision, current, compacted kind.Revision) (kind.Revision, error) {
	switch {
	case r <= 0:
		return current, nil
	case r > current:
		return 0, ErrFutureRevision
	case r < compacted:
		return 0, ErrCompacted
	}
	return r, nil
}

// Range reads once. The latest version of one key comes from the row cache if it is there; anything else is read
// through an iterator of its own, without a snapshot. The errors are ErrCompacted, ErrFutureRevision,
// ErrAnswerTooLarge, that of ctx, or a failure of the store.
func (s *Store) Range(ctx context.Context, r command.Range) (Answer, error) {
	for {
		head := s.Revision()
		rev, err := admit(r.Revision, head, s.Compacted())
		if err != nil {
			return Answer{}, err
		}
		if pointRead(&r) {
			if a, ok := s.cachedAnswer(&r, rev, head); ok {
				return a, nil
			}
		}
		if s.hooks.aimed != nil {
			s.hooks.aimed()
		}
		if err := s.db.Enter(); err != nil {
			return Answer{}, err
		}
		it, err := s.open(s.db.DB, &r)
		if err != nil {
			s.db.Leave()
			return Answer{}, err
		}
		// Deleting begins after the compacted revision is published, so an iterator that was made before this
		// look has no holes at or above what it sees (V4).
		if rev < s.Compacted() {
			it.Close()
			s.db.Leave()
			if r.Revision > 0 {
				return Answer{}, ErrCompacted
			}
			continue
		}
		defer s.db.Leave()
		return s.read(ctx, r, it, rev, head)
	}
}

// open returns an iterator over what r asks for.
func (s *Store) open(from pebble.Reader, r *command.Range) (*pebble.Iterator, error) {
	lower, upper := bounds(r.Interval)
	if r.Interval.Empty() {
		upper = lower
	}
	it, err := from.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	return it, store.WrapRead("open an iterator over versions of keys", err)
}

// read answers r from it, at rev, and closes it.
func (s *Store) read(ctx context.Context, r command.Range, it *pebble.Iterator, rev, head kind.Revision) (a Answer, err error) {
	sc := &scan{it: stored{it}, rev: rev}
	large := true
	if pointRead(&r) {
		a, large, err = s.readPoint(&r, sc, rev, head)
	}
	if large && err == nil {
		q := newQuery(ctx, r, sc, s.budget)
		q.memo = s.memo
		a, err = q.run(head)
	}
	if closing := it.Close(); err == nil && closing != nil {
		a.Release()
		return Answer{}, store.WrapRead("close an iterator over versions of keys", closing)
	}
	return a, err
}

// pointRead reports whether r asks for one key without any of the rarer options.
func pointRead(r *command.Range) bool {
	return r.Interval.Shape == command.Point && !r.CountOnly && !r.KeysOnly &&
		r.MinMod == 0 && r.MaxMod == 0 && r.MinCreate == 0 && r.MaxCreate == 0
}

// The answer to a point read is the row between its tag and length before it and the count after it.
func pointAnswer(b []byte, before int, head kind.Revision) Answer {
	row := len(b) - before - 2
	b[0] = tagKvs
	for i, n := 1, row; i < before; i++ {
		b[i] = byte(n) | 0x80
		n >>= 7
	}
	b[before-1] &= 0x7f
	b[len(b)-2], b[len(b)-1] = tagCount, 1
	return Answer{Body: b, Revision: head, Count: 1, Kvs: 1}
}

// beforeLen is the room for the tag and the length of a row.
func beforeLen(row int) int {
	n := 2
	for row >= 0x80 {
		row >>= 7
		n++
	}
	return n
}

// cachedAnswer answers a point read from the row cache.
func (s *Store) cachedAnswer(r *command.Range, rev, head kind.Revision) (Answer, bool) {
	b, before, known := s.cache.get(r.Interval.Start, rev, true)
	switch {
	case !known:
		return Answer{}, false
	case b == nil:
		return Answer{Revision: head}, true
	}
	return pointAnswer(b, before, head), true
}

// readPoint answers a point read from an iterator and fills the cache with what it found. large says that the row
// needs a reservation and nothing was read.
func (s *Store) readPoint(r *command.Range, sc *scan, rev, head kind.Revision) (a Answer, large bool, err error) {
	key := r.Interval.Start
	sc.seek = appendVersionKey(make([]byte, 0, len(key)+2+suffixLen), key, rev)
	found := sc.it.(stored).SeekPrefixGE(sc.seek)
	if !found {
		if err := sc.err(); err != nil {
			return Answer{}, false, err
		}
	}
	var row []byte
	mod := rev
	if found {
		n := sc.it.ValueLen()
		if n > freeBytes {
			return Answer{}, true, nil
		}
		if _, mod, found = splitVersionKey(sc.it.Key()); !found {
			return Answer{}, false, corrupt("a key of the versions has no revision: %x", sc.it.Key())
		}
		if found = n != tombstoneLen; found {
			if row, err = sc.encoded(); err != nil {
				return Answer{}, false, err
			}
		}
	}
	if s.hooks.found != nil {
		s.hooks.found()
	}
	// What is the latest at rev is the latest of all only if rev was the published revision.
	if rev == head {
		s.cache.fill(key, row, mod, rev)
	}
	if !found {
		return Answer{Revision: head}, false, nil
	}
	before := beforeLen(len(row))
	b := make([]byte, before+len(row)+2)
	copy(b[before:], row)
	return pointAnswer(b, before, head), false, nil
}
