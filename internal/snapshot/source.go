package snapshot

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/invariant"
	"holdfast/internal/member"
	"holdfast/internal/store"
)

const (
	// chunkBytes is where a chunk is full enough; a single record may be larger.
	chunkBytes = 1 << 20
	// maxStarts bounds how many beginnings of chunks a Source remembers; beyond, it remembers every second one of them.
	maxStarts = 1024
)

// ErrClosed means that a Source is closed: its transfer is over, or has taken longer than its view may live.
var ErrClosed = errors.New("the snapshot is closed")

// start is where a chunk begins.
type start struct {
	number uint64
	after  []byte // the key before it; nil before the first
	totals totals // of what stands before it
}

// Source is a consistent view of a store as a sequence of chunks (Z1, Z2).
type Source struct {
	header    Header
	confState *raftpb.ConfState
	chunk     int // bytes of a chunk, about

	mu struct {
		sync.Mutex
		db     *store.DB
		view   *pebble.Snapshot // nil when closed
		next   start            // where the chunk after the last begins
		starts []start          // some of those before, the first chunk of records being the first
		stride uint64           // how far they are from each other, in chunks
		end    uint64           // the number of the last chunk, 0 while it is not known
		buffer []byte
	}
}

// Open takes a view of a store, under the id that tells it from the other snapshots of this member. It does not wait for
// writers, nor do they for it. Until Close the space of what is deleted does not come back.
func Open(db *store.DB, id uint64) (*Source, error) {
	if err := db.Enter(); err != nil {
		return nil, err
	}
	view := db.NewSnapshot()
	s, err := open(db, view, id)
	if err != nil {
		err = errors.Join(fmt.Errorf("open a snapshot of the store: %w", err), view.Close())
		db.Leave()
		return nil, err
	}
	return s, nil
}

func open(db *store.DB, view *pebble.Snapshot, id uint64) (*Source, error) {
	a, err := store.ReadApplied(view)
	if err != nil {
		return nil, err
	}
	_, confState, err := member.Load(view)
	if err != nil {
		return nil, err
	}
	s := &Source{
		header: Header{
			ID:             id,
			Cluster:        db.Identity.Cluster,
			Position:       a.Position,
			Revision:       a.Revision,
			Bytes:          max(db.Usage(), uint64(a.LiveBytes)),
			StoreFormat:    store.FormatVersion,
			MachineVersion: a.MachineVersion,
		},
		confState: confState,
		chunk:     chunkBytes,
	}
	s.mu.db, s.mu.view = db, view
	s.mu.stride = 1
	first := start{number: 1}
	first.totals.chain(appendHeader(nil, s.header))
	s.mu.next, s.mu.starts = first, []start{first}
	return s, nil
}

// ID is the id that Open was given.
func (s *Source) ID() uint64 { return s.header.ID }

// Header is what the snapshot says of itself.
func (s *Source) Header() Header { return s.header }

// ConfState is raft's configuration in the view. The caller must not change it.
func (s *Source) ConfState() *raftpb.ConfState { return s.confState }

// Size is about how many bytes the snapshot takes.
func (s *Source) Size() int64 { return int64(s.header.Bytes) }

// Close lets go of the view. It may be called at any moment and more than once; Chunk says ErrClosed afterwards.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.view == nil {
		return nil
	}
	err := s.mu.view.Close()
	s.mu.db.Leave()
	s.mu.view, s.mu.db, s.mu.starts, s.mu.buffer = nil, nil, nil, nil
	return store.WrapRead("close a snapshot of the store", err)
}

// Chunk returns the chunk of this number, and io.EOF behind the last. The bytes are valid until the next call. Chunks are
// cheapest in order; one that was given before is found from the nearest beginning that is remembered.
func (s *Source) Chunk(number uint64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.view == nil {
		return nil, ErrClosed
	}
	if number == 0 {
		s.mu.buffer = appendHeader(beginChunk(s.mu.buffer), s.header)
		return sealChunk(s.mu.buffer, kindHead, 0), nil
	}
	if s.mu.end != 0 && number > s.mu.end {
		return nil, io.EOF
	}
	if number < s.mu.next.number {
		s.mu.next = s.nearest(number)
	}
	for {
		at := s.mu.next.number
		what, err := s.make()
		if err != nil {
			return nil, fmt.Errorf("read chunk %d of a snapshot: %w", at, err)
		}
		if at == number {
			return sealChunk(s.mu.buffer, what, number), nil
		}
		if what == kindEnd {
			return nil, io.EOF
		}
	}
}

// nearest returns the last beginning that is remembered, of a chunk at or before number.
func (s *Source) nearest(number uint64) start {
	for i := len(s.mu.starts) - 1; ; i-- {
		if s.mu.starts[i].number <= number {
			return s.mu.starts[i]
		}
	}
}

// make puts the next chunk into the buffer and moves on. Each chunk has an iterator of its own, so that the memtables and
// files that one pins are let go of soon.
func (s *Source) make() (what byte, err error) {
	at := s.mu.next
	b := beginChunk(s.mu.buffer)
	it, err := s.mu.view.NewIter(nil)
	if err != nil {
		return 0, store.WrapRead("open an iterator", err)
	}
	defer it.Close()
	ok := false
	if at.after == nil {
		ok = it.First()
	} else if ok = it.SeekGE(at.after); ok && store.Compare(it.Key(), at.after) == 0 {
		ok = it.Next()
	}
	var last []byte
	for ; ok && len(b)-headLen < s.chunk; ok = it.Next() {
		if store.IsLocal(it.Key()) {
			continue
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return 0, store.WrapRead("read a record", err)
		}
		b = appendRecord(b, last, it.Key(), value)
		last = append(last[:0], it.Key()...)
		at.totals.records++
		at.totals.bytes += uint64(len(it.Key()) + len(value))
	}
	if err := it.Error(); err != nil {
		return 0, store.WrapRead("read records", err)
	}
	if last == nil {
		s.mu.buffer = appendEnd(b, at.totals)
		s.mu.end = at.number
		return kindEnd, nil // next stays: behind the end there is nothing
	}
	at.totals.chain(b[headLen:])
	at.after = last
	at.number++
	s.mu.buffer, s.mu.next = b, at
	s.remember(at)
	return kindRecords, nil
}

// remember keeps the beginning of a chunk, if it is its turn.
func (s *Source) remember(at start) {
	last := s.mu.starts[len(s.mu.starts)-1]
	if at.number < last.number+s.mu.stride {
		return
	}
	s.mu.starts = append(s.mu.starts, at)
	if len(s.mu.starts) < maxStarts {
		return
	}
	for i := range maxStarts / 2 {
		s.mu.starts[i] = s.mu.starts[2*i]
	}
	clear(s.mu.starts[maxStarts/2:])
	s.mu.starts = s.mu.starts[:maxStarts/2]
	s.mu.stride *= 2
	invariant.Check(s.mu.starts[0].number == 1, "the first beginning of a snapshot was forgotten")
}
