package wal

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
)

// entryOverhead is what an entry in the cache takes beside its data, roughly.
const entryOverhead = 96

// last is the position of the last entry. Log.mu is held.
func (l *Log) last() kind.Position {
	n := len(l.mu.slots)
	if n == 0 {
		return l.mu.start
	}
	return kind.Position{Index: l.mu.start.Index + kind.Index(n), Term: kind.Term(l.mu.slots[n-1].term)}
}

// position is the position of the entry at i, which is at least start.Index and at most the last. Log.mu is held.
func (l *Log) position(i kind.Index) kind.Position {
	if i == l.mu.start.Index {
		return l.mu.start
	}
	return kind.Position{Index: i, Term: kind.Term(l.mu.slots[i-l.mu.start.Index-1].term)}
}

// FirstIndex is the index of the first entry that Entries returns: one above LastIndex if the log holds none.
func (l *Log) FirstIndex() kind.Index {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.start.Index + 1
}

// LastIndex is the index of the last entry, or of the entry before the first if the log holds none.
func (l *Log) LastIndex() kind.Index {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last().Index
}

// Term is the term of the entry at i, from FirstIndex-1 to LastIndex; raft.ErrCompacted below, raft.ErrUnavailable above.
func (l *Log) Term(i kind.Index) (kind.Term, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case i < l.mu.start.Index:
		return 0, raft.ErrCompacted
	case i > l.last().Index:
		return 0, raft.ErrUnavailable
	}
	return l.position(i).Term, nil
}

// Entries returns the entries from lo up to but not including hi, at least one and otherwise no more than maxBytes as
// raft counts them. The slice is the caller's; the entries must not be changed. raft.ErrCompacted if lo is below
// FirstIndex, raft.ErrUnavailable if hi is above LastIndex+1. An entry that is not in the cache is read from its file;
// a *Corruption says that it is no longer there as it was written.
func (l *Log) Entries(lo, hi kind.Index, maxBytes uint64) ([]*pb.Entry, error) {
	l.mu.Lock()
	first, last := l.mu.start.Index+1, l.last().Index
	switch {
	case lo < first:
		l.mu.Unlock()
		return nil, raft.ErrCompacted
	case hi > last+1 || lo > hi:
		l.mu.Unlock()
		return nil, raft.ErrUnavailable
	case lo == hi:
		l.mu.Unlock()
		return nil, nil
	}
	slots := l.mu.slots[lo-first : hi-first]
	n, size := 0, uint64(0)
	for ; n < len(slots); n++ {
		size += entryBytes(slots[n].term, uint64(lo)+uint64(n), slots[n].length-entryHead)
		if size > maxBytes && n > 0 {
			break
		}
	}
	out := make([]*pb.Entry, n)
	fromFile := n
	if cacheFirst := last + 1 - kind.Index(len(l.mu.cache)); lo+kind.Index(n) > cacheFirst {
		fromFile = 0
		if lo < cacheFirst {
			fromFile = int(cacheFirst - lo)
		}
		copy(out[fromFile:], l.mu.cache[lo+kind.Index(fromFile)-cacheFirst:])
	}
	if fromFile == 0 {
		l.mu.Unlock()
		return out, nil
	}
	slots = append([]slot(nil), slots[:fromFile]...)
	for i := range slots {
		slots[i].segment.pins++
	}
	l.mu.Unlock()

	err := readBack(slots, uint64(lo), out)

	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range slots {
		s := slots[i].segment
		if s.pins--; s.pins == 0 && s.gone {
			s.file.Close() // Only ever read through; there is nothing that a failure could lose.
		}
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// readBack reads the entries from index lo on that stand at slots. Their segments are pinned.
func readBack(slots []slot, lo uint64, out []*pb.Entry) error {
	for i := 0; i < len(slots); {
		// One window serves all the entries that follow each other in one segment.
		j := i + 1
		for j < len(slots) && slots[j].segment == slots[i].segment {
			j++
		}
		sc := newScan(slots[i].segment, slots[j-1].offset+recordSize(slots[j-1].length))
		for ; i < j; i++ {
			e, err := sc.entry(slots[i], lo+uint64(i))
			if err != nil {
				return fmt.Errorf("read entry %d back: %w", lo+uint64(i), err)
			}
			out[i] = e
		}
	}
	return nil
}

// entry reads the entry at s and checks that it is what the log knows it to be.
func (sc *scan) entry(s slot, index uint64) (*pb.Entry, error) {
	r, reason, err := sc.at(s.offset)
	if err != nil {
		return nil, fmt.Errorf("log segment %s: %w", s.segment.path, err)
	}
	if reason == "" {
		payload, err := sc.bytes(s.offset+recordHead, r.length)
		if err != nil {
			return nil, fmt.Errorf("log segment %s: %w", s.segment.path, err)
		}
		le := binary.LittleEndian
		if r.kind == kindEntry && r.length == s.length && le.Uint64(payload) == s.term && le.Uint64(payload[8:]) == index {
			return newEntry(payload[:entryHead], append([]byte(nil), payload[entryHead:]...)), nil
		}
		reason = "another record stands where the entry was written"
	}
	return nil, &Corruption{s.segment.path, s.offset, reason}
}

// replace puts entries, written at offsets in the tail, in place of all at or above the first. Log.mu is held.
func (l *Log) replace(entries []*pb.Entry, offsets []int64) {
	keep := entries[0].GetIndex() - uint64(l.mu.start.Index) - 1
	if drop := uint64(len(l.mu.slots)) - keep; drop > 0 {
		// Readers copy what they need under the lock, so both slices may be overwritten in place.
		l.mu.slots = l.mu.slots[:keep]
		stay := max(0, len(l.mu.cache)-int(drop))
		for i, e := range l.mu.cache[stay:] {
			l.mu.cached -= cacheCost(e)
			l.mu.cache[stay+i] = nil
		}
		l.mu.cache = l.mu.cache[:stay]
	}
	for i, e := range entries {
		l.mu.slots = append(l.mu.slots, slot{
			term: e.GetTerm(), offset: offsets[i], length: entryHead + len(e.GetData()),
			position: l.tail.base + offsets[i], segment: l.tail,
		})
		l.mu.cache = append(l.mu.cache, e)
		l.mu.cached += cacheCost(e)
	}
	for l.mu.cached > l.opts.CacheBytes && len(l.mu.cache) > 0 {
		l.evictOne()
	}
}

func cacheCost(e *pb.Entry) int64 { return int64(len(e.GetData())) + entryOverhead }

// evictOne drops the oldest entry of the cache. Log.mu is held.
func (l *Log) evictOne() {
	l.mu.cached -= cacheCost(l.mu.cache[0])
	l.mu.cache[0] = nil
	l.mu.cache = l.mu.cache[1:]
	if len(l.mu.cache) == 0 {
		l.mu.cache = nil
		invariant.Check(l.mu.cached == 0, "an empty cache counts %d bytes", l.mu.cached)
	}
}

// Evict lets the cache drop the entries up to through, because they are applied and sent. They stay in the log.
func (l *Log) Evict(through kind.Index) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.last().Index
	for len(l.mu.cache) > 0 && last+1-kind.Index(len(l.mu.cache)) <= through {
		l.evictOne()
	}
}

// SizeSince is how many bytes of the log lie above the entry at i, its record excluded: what a start would have to read
// and apply if i were the applied index of the store.
func (l *Log) SizeSince(i kind.Index) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	i = max(i, l.mu.start.Index)
	if i >= l.last().Index {
		return 0
	}
	return l.mu.end - l.mu.slots[i-l.mu.start.Index].position
}

// Bytes is the size of the segments on disk, spares not counted.
func (l *Log) Bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, s := range l.mu.segments {
		n += s.size
	}
	return n
}
