package mvcc

import (
	"context"

	"holdfast/internal/batch"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// NeverCompacted is the compacted revision of a store whose history is whole; FirstRevision is the revision of a
// new store, at which it holds nothing. The genesis of a store must write both into its Applied record.
const (
	NeverCompacted kind.Revision = -1
	FirstRevision  kind.Revision = 1
)

// Row is one version of a key. The zero Row means that the key is absent.
type Row struct {
	Encoded []byte // the KeyValue in protobuf encoding; never to be changed
	Create  kind.Revision
	Mod     kind.Revision
	Version int64
	Lease   kind.LeaseID

	keyAt, keyLen, valueAt uint32
}

// Key returns the key of r, a part of Encoded.
func (r Row) Key() []byte { return r.Encoded[r.keyAt : r.keyAt+r.keyLen] }

// Value returns the value of r, a part of Encoded.
func (r Row) Value() []byte { return r.Encoded[r.valueAt:] }

// Exists reports whether r is a version of a key rather than its absence.
func (r Row) Exists() bool { return r.Encoded != nil }

// Reader is what a transaction reads from: the Writer of its batch, or a View if it only reads.
type Reader interface {
	Revision() kind.Revision
	Compacted() kind.Revision
	Get(key []byte) (Row, bool)
	Each(iv command.Interval, visit func(Row) bool)
	Range(r command.Range) (Answer, error)
}

// Answer is a RangeResponse without its header.
type Answer struct {
	Body     []byte        // the fields kvs (2), more (3) and count (4) in protobuf encoding
	Revision kind.Revision // the store's revision when it was read; what the header says
	Count    int64
	Kvs      int
	More     bool
	held     *reservation
}

// Release gives the bytes of a back to the budget, after they have been sent. It may be called more than once.
func (a Answer) Release() {}

type reservation struct{}

// Options of a Store. Zero values mean the defaults.
type Options struct {
	RowCacheBytes     int64 // bound of the row cache; default 64 MiB, negative switches the cache off
	AnswerBudgetBytes int64 // bound of all large answers in flight together; default 512 MiB
	EventBytes        int64 // events of one batch that a Writer keeps; default 16 MiB
	PendingRows       int   // rows of one batch that a Writer remembers by key; default 65,536
	SpillBytes        int   // a batch grown past this asks DeleteOptions.Full to spill it; default 16 MiB
}

// Effect is told every change of a key, in order; the machine folds it into the running digest.
type Effect func(deleted bool, row Row)

// Store is the versions of all keys of a member.
type Store struct{}

// Open reads where db stands and returns its Store, with an empty row cache.
func Open(db *store.DB, o Options) (*Store, error) { return nil, nil }

// Begin returns the Writer of b. One Writer at a time; several entries may share it. effect may be nil.
func (s *Store) Begin(b *batch.Batch, effect Effect) *Writer { return nil }

// Publish makes what w wrote visible; the batch must be in Pebble.
func (s *Store) Publish(w *Writer) {}

// Revision returns the published revision.
func (s *Store) Revision() kind.Revision { return 0 }

// Compacted returns the published compacted revision, NeverCompacted if there was no compaction.
func (s *Store) Compacted() kind.Revision { return 0 }

// View pins the store as it is now.
func (s *Store) View() (*View, error) { return nil, nil }

// Range reads once: the latest version of one key from the row cache, otherwise through an iterator of its own.
func (s *Store) Range(ctx context.Context, r command.Range) (Answer, error) { return Answer{}, nil }

// RangeStream sends the answer in chunks of about chunkBytes.
func (s *Store) RangeStream(ctx context.Context, r command.Range, chunkBytes int, send func(Answer) error) error {
	return nil
}

// HashKV hashes the logical content at rev, 0 for the latest.
func (s *Store) HashKV(ctx context.Context, rev kind.Revision) (hash uint32, compacted, hashed kind.Revision, err error) {
	return
}

// Hash hashes the whole logical content.
func (s *Store) Hash(ctx context.Context) (uint32, error) { return 0, nil }

// CompactStep deletes a little of what the published compaction made unneeded. One caller at a time.
func (s *Store) CompactStep() (done bool, err error) { return true, nil }

// Deleted returns the revision up to which the local deleting of compactions is finished.
func (s *Store) Deleted() kind.Revision { return 0 }

// Check reads everything and reports what does not fit together.
func (s *Store) Check(ctx context.Context, report func(problem string)) error { return nil }

// View is the store pinned at a revision.
type View struct{}

// Close ends v.
func (v *View) Close() error { return nil }

// Revision returns the revision of v.
func (v *View) Revision() kind.Revision { return 0 }

// Compacted returns the compacted revision of v.
func (v *View) Compacted() kind.Revision { return 0 }

// Range reads from v.
func (v *View) Range(ctx context.Context, r command.Range) (Answer, error) { return Answer{}, nil }

// Reader returns v as a Reader whose ranges end with ctx. A failure of the store panics with a store.Failure.
func (v *View) Reader(ctx context.Context) Reader { return nil }

// DeleteOptions of a DeleteRange.
type DeleteOptions struct {
	Prev   func(Row)         // told every deleted row, in key order; may be nil
	Resume []byte            // continue at this key after a crash; nil from the start
	Full   func(next []byte) // the batch is large: spill it now, with a cursor at next; nil never spills
}

// Event is one change of a key.
type Event struct {
	Revision kind.Revision
	Sub      uint32
	Deleted  bool
	Row      Row           // of a delete: the key and the mod revision only
	Prev     kind.Revision // of the version that was live before this revision, 0 for none
}

// Changes are the events of a batch.
type Changes struct {
	Events   []Event
	Unlisted kind.Revision // if not 0, revisions from this one on are to be read from history
	Last     kind.Revision // the last revision of the batch
}

// Writer is one batch's worth of changes. One caller at a time.
type Writer struct{}

// BeginCommand starts a command.
func (w *Writer) BeginCommand() {}

// EndCommand ends it; the revision moves by one if anything changed.
func (w *Writer) EndCommand() (changed bool) { return false }

// Changed reports whether the command under way has changed anything yet.
func (w *Writer) Changed() bool { return false }

// Revision returns the revision before the command under way, or after the last one.
func (w *Writer) Revision() kind.Revision { return 0 }

// Compacted returns the compacted revision.
func (w *Writer) Compacted() kind.Revision { return 0 }

// Get returns the latest version of key.
func (w *Writer) Get(key []byte) (Row, bool) { return Row{}, false }

// Put writes key and returns what it replaced.
func (w *Writer) Put(key, value []byte, lease kind.LeaseID) (prev Row) { return }

// DeleteRange deletes the keys of iv and returns how many there were.
func (w *Writer) DeleteRange(iv command.Interval, o DeleteOptions) int64 { return 0 }

// Range reads, own writes included.
func (w *Writer) Range(r command.Range) (Answer, error) { return Answer{}, nil }

// Each visits the latest version of every key in iv in key order until visit returns false.
func (w *Writer) Each(iv command.Interval, visit func(Row) bool) {}

// Compact moves the compacted revision.
func (w *Writer) Compact(rev kind.Revision) error { return nil }

// Changes returns the events of the batch in order.
func (w *Writer) Changes() Changes { return Changes{} }

// Fill writes revision, compacted revision and counters into a.
func (w *Writer) Fill(a *store.Applied) {}
