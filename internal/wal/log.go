package wal

import (
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
)

const (
	defaultSegmentBytes = 16 << 20
	defaultCacheBytes   = 64 << 20
	minSegmentBytes     = headerSize + 1024
	writeChunkBytes     = 1 << 20
)

// Options are the settings of a log. None is part of the format: a log written under one setting opens under another.
type Options struct {
	// SegmentBytes is the size of a segment, 16 MiB if 0; at least 5 KiB, rounded up to a multiple of 8.
	SegmentBytes int64
	// CacheBytes bounds the memory for the newest entries, 64 MiB if 0. Older entries are read from the files.
	CacheBytes int64
	// NoSync leaves out every sync (--unsafe-no-fsync). A power cut may then lose what was acknowledged; the log says
	// so at the next start where it can tell.
	NoSync bool
	// Logf takes warnings for people; it may be nil.
	Logf func(format string, args ...any)
}

func (o Options) withDefaults() Options {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	o.SegmentBytes = (max(o.SegmentBytes, minSegmentBytes) + recordAlign - 1) &^ (recordAlign - 1)
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	return o
}

// slot says where an entry stands in the files.
type slot struct {
	term     uint64
	offset   int64 // of the record
	length   int   // of its payload
	position int64 // segment.base + offset
	segment  *segment
}

// Log is an open log. The first group of fields belongs to the goroutine that writes.
type Log struct {
	fs   vfs.FS
	dir  string
	id   kind.Identity
	opts Options

	failed   error // the first failure; nothing is written after it
	closed   bool
	tail     *segment
	end      int64 // offset in tail at which the next record goes
	synced   int64 // offset in tail up to which everything is synced
	claimed  int64 // the greatest synced offset that a record in tail names
	dataEnd  int64 // end of the last record in tail that is not a mark
	spares   []spare
	chunk    []byte // encoded records that are not written yet
	chunkEnd int64  // where chunk goes

	mu struct {
		sync.Mutex
		segments []*segment    // oldest first; the last is tail
		start    kind.Position // of the entry before the first; what Truncate or Reset set last
		slots    []slot        // of the entries from start.Index+1 on
		cache    []*pb.Entry   // the newest entries, ending with the last
		cached   int64         // bytes in cache
		state    state
		end      int64 // position of the end of the log
	}
}

// HardState is the hard state that was recovered or appended last, nil if there is none. Its commit is never below the
// applied index that Open was told, its term never below that of the last entry.
func (l *Log) HardState() *pb.HardState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.state.hardState()
}

// fail remembers the first failure, after which the log is dead (W3).
func (l *Log) fail(doing string, err error) error {
	if l.failed == nil {
		l.failed = fmt.Errorf("%s: %w", doing, err)
		l.chunk = nil
	}
	return l.failed
}

// usable is nil if the log may be written.
func (l *Log) usable() error {
	if l.failed != nil {
		return l.failed
	}
	if l.closed {
		return ErrClosed
	}
	return nil
}

// Append writes a group: entries, which replace every entry at or above the first one's index, then hs. Either may be
// empty; a hard state equal to the last is not written again. Nothing is durable before Sync returns, except that a
// group for which the segment has no room makes a new one, and everything before it durable. The entries must
// not be changed afterwards, since the cache keeps them.
//
// If no segment can be made (ErrTooLarge aside, the disk is full), nothing was appended and the log lives on: the same
// group may be appended again. After any other error the log is dead.
func (l *Log) Append(entries []*pb.Entry, hs *pb.HardState) error {
	if err := l.usable(); err != nil {
		return err
	}
	l.mu.Lock()
	start, last, old := l.mu.start, l.last(), l.mu.state
	before := last // the position after which the group goes
	if len(entries) > 0 && entries[0].GetIndex() > uint64(start.Index) && entries[0].GetIndex() <= uint64(last.Index) {
		before = l.position(kind.Index(entries[0].GetIndex() - 1))
	}
	l.mu.Unlock()

	size, newLast, err := groupSize(entries, before)
	if err != nil {
		return err
	}
	st := stateOf(hs)
	if !st.set || st == old {
		st = state{}
	} else {
		size += recordSize(stateBytes)
		invariant.Check(st.term >= old.term, "the term goes back from %d to %d", old.term, st.term)
		invariant.Check(st.commit <= uint64(newLast.Index), "commit %d is above the last entry %d", st.commit, newLast.Index)
	}
	if size == 0 {
		return nil
	}
	// A record never goes below its segment's start, so that older segments may be removed by their starts alone.
	if l.end+size+recordSize(0) > l.tail.size || before.Index < l.tail.start.Index {
		if err := l.roll(header{start: before, state: old}, size); err != nil {
			return err
		}
	}
	offsets, err := l.write(entries, st)
	if err != nil {
		return l.fail("write to the log segment "+l.tail.path, err)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if len(entries) > 0 {
		l.replace(entries, offsets)
	}
	if st.set {
		l.mu.state = st
	}
	l.mu.end = l.tail.base + l.end
	return nil
}

// groupSize checks that entries may follow before and returns the bytes that their records take.
func groupSize(entries []*pb.Entry, before kind.Position) (size int64, last kind.Position, err error) {
	last = before
	for _, e := range entries {
		if len(e.GetData()) > MaxEntryBytes {
			return 0, last, fmt.Errorf("%w: entry %d has %d bytes and the limit is %d",
				ErrTooLarge, e.GetIndex(), len(e.GetData()), MaxEntryBytes)
		}
		invariant.Check(e.GetIndex() == uint64(last.Index)+1, "entry %d cannot follow entry %d", e.GetIndex(), last.Index)
		invariant.Check(e.GetTerm() >= uint64(last.Term), "entry %d of term %d follows term %d", e.GetIndex(), e.GetTerm(), last.Term)
		last = kind.Position{Index: kind.Index(e.GetIndex()), Term: kind.Term(e.GetTerm())}
		size += recordSize(entryHead + len(e.GetData()))
	}
	return size, last, nil
}

// write puts the records of a group, for which there is room, at the end of the tail.
func (l *Log) write(entries []*pb.Entry, st state) (offsets []int64, err error) {
	l.chunk, l.chunkEnd = l.chunk[:0], l.end
	if len(entries) > 0 {
		offsets = make([]int64, len(entries))
	}
	var head [entryHead]byte
	for i, e := range entries {
		offsets[i] = l.end
		putEntryHead(&head, e)
		if err := l.record(kindEntry, head[:], e.GetData()); err != nil {
			return nil, err
		}
	}
	if st.set {
		var b [stateBytes]byte
		putState(b[:], st)
		if err := l.record(kindState, b[:], nil); err != nil {
			return nil, err
		}
	}
	l.dataEnd = l.end
	return offsets, l.flushChunk()
}

// record encodes one record at l.end. Its payload is head and data.
func (l *Log) record(kind byte, head, data []byte) error {
	pad := noPadding[:padding(len(head)+len(data))]
	sum := crc32.Update(crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, data), castagnoli, pad)
	f := frame{body: sum, length: len(head) + len(data), kind: kind, synced: l.synced}
	var b [recordHead]byte
	f.encode(b[:], l.tail.seed, l.end)
	for _, part := range [...][]byte{b[:], head, data, pad} {
		if err := l.put(part); err != nil {
			return err
		}
	}
	l.end += recordSize(f.length)
	l.claimed = l.synced
	return nil
}

// put adds bytes to the chunk and writes it out when it is full.
func (l *Log) put(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), writeChunkBytes-len(l.chunk))
		l.chunk = append(l.chunk, b[:n]...)
		b = b[n:]
		if len(l.chunk) == writeChunkBytes {
			if err := l.flushChunk(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Log) flushChunk() error {
	if len(l.chunk) == 0 {
		return nil
	}
	_, err := l.tail.file.WriteAt(l.chunk, l.chunkEnd)
	l.chunkEnd += int64(len(l.chunk))
	l.chunk = l.chunk[:0]
	return err
}

// Sync returns once everything appended before the call will survive a power cut.
func (l *Log) Sync() error {
	if err := l.usable(); err != nil {
		return err
	}
	if l.synced == l.end {
		return nil
	}
	if err := l.syncFile(l.tail.file); err != nil {
		return l.fail("sync the log segment "+l.tail.path, err)
	}
	l.synced = l.end
	return nil
}

// Mark appends, without a sync, the witness of what Sync has covered, so that a flipped bit in the last records of an
// idle log is told from a torn write. Call it when nothing waits to be appended. It does nothing if the log says so
// already. What was appended after the last Sync (a commit) is not covered.
func (l *Log) Mark() error {
	if err := l.usable(); err != nil {
		return err
	}
	if l.claimed >= min(l.synced, l.dataEnd) || l.end+recordSize(0) > l.tail.size {
		return nil
	}
	l.chunk, l.chunkEnd = l.chunk[:0], l.end
	err := l.record(kindMark, nil, nil)
	if err == nil {
		err = l.flushChunk()
	}
	if err != nil {
		return l.fail("write a mark to the log segment "+l.tail.path, err)
	}
	l.mu.Lock()
	l.mu.end = l.tail.base + l.end
	l.mu.Unlock()
	return nil
}

// Close makes durable what was appended, marks it, and closes the files. A dead log is only closed, and its error
// returned.
func (l *Log) Close() error {
	if l.closed {
		return nil
	}
	err := l.failed
	for _, step := range []func() error{l.Sync, l.Mark, l.Sync} {
		if err == nil {
			err = step()
		}
	}
	l.closed = true
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.mu.segments {
		if closeErr := s.retire(); err == nil && closeErr != nil {
			err = fmt.Errorf("close the log segment %s: %w", s.path, closeErr)
		}
	}
	return err
}

// retire takes a segment out of the log; its file is closed now, or by the last reader. Log.mu is held.
func (s *segment) retire() error {
	s.gone = true
	if s.pins == 0 {
		return s.file.Close()
	}
	return nil
}
