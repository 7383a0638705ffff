package mvcc

import (
	"context"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// Reader is what a transaction reads from: the Writer of its batch, or a View if it only reads. A failure of the
// store in Get and Each panics with a store.Failure.
type Reader interface {
	Revision() kind.Revision
	Compacted() kind.Revision
	Get(key []byte) (Row, bool)
	Each(iv command.Interval, visit func(Row) bool)
	Range(r command.Range) (Answer, error)
}

var (
	_ Reader = (*Writer)(nil)
	_ Reader = viewReader{}
)

// View is the store pinned at a revision. It keeps old versions on disk alive, so its owner closes it soon: whoever
// holds one for as long as a client pleases puts a bound to that, since this package knows no clock. Any number of
// goroutines may read from it; Close comes after all of them.
type View struct {
	store     *Store
	snapshot  *pebble.Snapshot
	revision  kind.Revision
	compacted kind.Revision
	closed    atomic.Bool
}

// View pins the store at the published revision. The error is a failure of the store.
func (s *Store) View() (*View, error) {
	if err := s.db.Enter(); err != nil {
		return nil, err
	}
	for {
		v := &View{store: s, revision: s.Revision()}
		if s.hooks.aimed != nil {
			s.hooks.aimed()
		}
		v.snapshot = s.db.NewSnapshot()
		// The order matters (V4): what was deleted before the snapshot belongs to a compaction that is seen here.
		if v.compacted = s.Compacted(); v.compacted <= v.revision {
			return v, nil
		}
		if err := v.snapshot.Close(); err != nil {
			s.db.Leave()
			return nil, store.WrapRead("close a view of the store", err)
		}
	}
}

// Close lets go of what v pins. Calls after the first do nothing.
func (v *View) Close() error {
	if v.closed.Swap(true) {
		return nil
	}
	defer v.store.db.Leave()
	return store.WrapRead("close a view of the store", v.snapshot.Close())
}

// Revision returns the revision at which v was made.
func (v *View) Revision() kind.Revision { return v.revision }

// Compacted returns the revision below which v refuses to read.
func (v *View) Compacted() kind.Revision { return v.compacted }

// Applied reads the applied record of the moment when v was made. It may be ahead of the revision of v by batches
// that were written and not yet published.
func (v *View) Applied() (store.Applied, error) {
	if v.closed.Load() {
		return store.Applied{}, ErrClosed
	}
	return store.ReadApplied(v.snapshot)
}

// Snapshot returns the Pebble snapshot that v stands on, for readers of other families. It lives as long as v.
func (v *View) Snapshot() *pebble.Snapshot { return v.snapshot }

// Range reads from v. The errors are those of Store.Range, and ErrClosed.
func (v *View) Range(ctx context.Context, r command.Range) (Answer, error) {
	if v.closed.Load() {
		return Answer{}, ErrClosed
	}
	rev, err := admit(r.Revision, v.revision, v.compacted)
	if err != nil {
		return Answer{}, err
	}
	s := v.store
	// The revision of v is published, so the cache may be believed (V3).
	if pointRead(&r) {
		if a, ok := s.cachedAnswer(&r, rev, v.revision); ok {
			return a, nil
		}
	}
	it, err := s.open(v.snapshot, &r)
	if err != nil {
		return Answer{}, err
	}
	return s.read(ctx, r, it, rev, v.revision)
}

// get returns the latest version of key in v.
func (v *View) get(key []byte) (Row, bool, error) {
	if v.closed.Load() {
		return Row{}, false, ErrClosed
	}
	if b, _, known := v.store.cache.get(key, v.revision, false); known {
		if b == nil {
			return Row{}, false, nil
		}
		row, err := decodeRow(b)
		if err != nil {
			return Row{}, false, corrupt("the cached row of %q: %w", key, err)
		}
		return row, true, nil
	}
	var found Row
	err := v.each(context.Background(), command.Interval{Shape: command.Point, Start: key}, func(r Row) bool {
		found = r
		return false
	})
	if err == nil {
		v.store.cache.fill(key, found.Encoded, found.Mod, v.revision)
	}
	return found, found.Exists(), err
}

// each visits the keys of iv in v. The rows are copies.
func (v *View) each(ctx context.Context, iv command.Interval, visit func(Row) bool) error {
	if v.closed.Load() {
		return ErrClosed
	}
	it, err := v.store.open(v.snapshot, &command.Range{Interval: iv})
	if err != nil {
		return err
	}
	defer it.Close()
	return visitRows(ctx, &scan{it: stored{it}, rev: v.revision}, visit)
}

// visitRows visits the rows of a scan until visit returns false.
func visitRows(ctx context.Context, s *scan, visit func(Row) bool) error {
	steps := 0
	for ok := s.first(); ok; ok = s.next() {
		if steps++; steps%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		row, err := s.row()
		if err != nil {
			return err
		}
		row.Encoded = append([]byte(nil), row.Encoded...)
		if !visit(row) {
			return nil
		}
	}
	return s.err()
}

// Reader returns v as a Reader. Ranges end with ctx; so do Get and Each, as a store.Failure that wraps its error.
// Whoever runs a transaction on it recovers with store.Recovered.
func (v *View) Reader(ctx context.Context) Reader { return viewReader{v, ctx} }

type viewReader struct {
	view *View
	ctx  context.Context
}

func (r viewReader) Revision() kind.Revision  { return r.view.revision }
func (r viewReader) Compacted() kind.Revision { return r.view.compacted }

func (r viewReader) Get(key []byte) (Row, bool) {
	row, ok, err := r.view.get(key)
	store.Must("read a key", err)
	return row, ok
}

func (r viewReader) Each(iv command.Interval, visit func(Row) bool) {
	store.Must("read an interval of keys", r.view.each(r.ctx, iv, visit))
}

func (r viewReader) Range(q command.Range) (Answer, error) { return r.view.Range(r.ctx, q) }

// Pinned returns what v pins of the whole store, so that other families can be read out of the same moment. It is the
// View's to close.
func (v *View) Pinned() pebble.Reader { return v.snapshot }
