package wal

import (
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
)

// spareStep is how much MakeSpare writes before each sync.
const spareStep = 1 << 20

// PrepareSpare makes a spare segment if none waits, so that the next roll is a rename. It writes and syncs
// SegmentBytes; call it when nothing else waits. Its failure (a full disk) is not one of the log, which lives on.
func (l *Log) PrepareSpare() error {
	if err := l.usable(); err != nil {
		return err
	}
	if len(l.spares) > 0 {
		return nil
	}
	made, err := l.makeFile(newName, l.opts.SegmentBytes, l.opts.SegmentBytes)
	if err != nil {
		return fmt.Errorf("make a spare log segment of %d bytes: %w", l.opts.SegmentBytes, err)
	}
	return l.AddSpare(made)
}

// WantsSpare reports whether no spare segment waits, so that the next roll would have to make one.
func (l *Log) WantsSpare() bool { return l.failed == nil && !l.closed && len(l.spares) == 0 }

// MakeSpare makes a file for AddSpare, in small steps. It may run beside everything else, one call at a time and
// before Close. Its failure is not one of the log.
func (l *Log) MakeSpare() (path string, err error) {
	path, err = l.makeFile(aheadName, l.opts.SegmentBytes, spareStep)
	if err != nil {
		return "", fmt.Errorf("make a spare log segment of %d bytes: %w", l.opts.SegmentBytes, err)
	}
	return path, nil
}

// AddSpare takes a file that MakeSpare has made. If a spare waits by now, the file is removed.
func (l *Log) AddSpare(made string) error {
	if err := l.usable(); err != nil {
		return err
	}
	if len(l.spares) > 0 {
		return l.fs.Remove(made)
	}
	path := l.fs.PathJoin(l.dir, fmt.Sprintf("%016x%s", l.tail.sequence+1, spareSuffix))
	if err := l.fs.Rename(made, path); err != nil {
		return fmt.Errorf("name a spare log segment: %w", err)
	}
	l.spares = append(l.spares, spare{path: path})
	return nil
}

// takeFile returns a file of full size for a segment with room for a group of the given bytes and a mark.
func (l *Log) takeFile(group int64) (file spare, size int64, err error) {
	need := headerSize + group + recordSize(0)
	if need <= l.opts.SegmentBytes {
		if err := l.PrepareSpare(); err != nil {
			return spare{}, 0, err
		}
		return l.spares[0], l.opts.SegmentBytes, nil
	}
	path, err := l.makeFile(newName, need, need)
	if err != nil {
		return spare{}, 0, fmt.Errorf("make a log segment of %d bytes: %w", need, err)
	}
	return spare{path: path}, need, nil
}

// roll begins the next segment. h says where it starts and whether it begins a log; the rest is filled in here. An
// error from making the file leaves the log as it was; any other kills it.
func (l *Log) roll(h header, group int64) error {
	taken, size, err := l.takeFile(group)
	if err != nil {
		return err
	}
	// Everything before must be durable before the successor can be found (W4).
	if err := l.Sync(); err != nil {
		return err
	}
	h.sequence, h.id, h.size, h.recycled = l.tail.sequence+1, l.id, size, taken.recycled
	if !h.begins {
		h.previous = l.end
	}
	s, err := l.install(taken.path, h)
	if err != nil {
		return l.fail(fmt.Sprintf("begin log segment %016x", h.sequence), err)
	}
	if len(l.spares) > 0 && l.spares[0].path == taken.path {
		l.spares = l.spares[1:]
	}
	s.base = l.tail.base + l.end
	l.tail = s
	l.end, l.synced, l.claimed, l.dataEnd = headerSize, headerSize, headerSize, headerSize
	l.mu.Lock()
	l.mu.segments = append(l.mu.segments, s)
	l.mu.end = s.base + l.end
	l.mu.Unlock()
	return nil
}

// install writes the header into the file at path and gives it its final name, each durable before the next.
func (l *Log) install(path string, h header) (*segment, error) {
	f, err := l.fs.OpenReadWrite(path, category)
	if err != nil {
		return nil, err
	}
	s := &segment{
		header: h, path: l.fs.PathJoin(l.dir, segmentName(h.sequence)), file: f,
		seed: placeSeed(h.id.Incarnation, h.sequence),
	}
	if err := l.name(f, path, s); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (l *Log) name(f vfs.File, path string, s *segment) error {
	if _, err := f.WriteAt(s.header.encode(), 0); err != nil {
		return fmt.Errorf("write the header: %w", err)
	}
	if err := l.syncFile(f); err != nil {
		return fmt.Errorf("sync the header: %w", err)
	}
	if err := l.fs.Rename(path, s.path); err != nil {
		return err
	}
	return l.syncDir()
}

// Truncate lets the entries up to through go. The log then begins after through, whose term stays known. Whole segments
// below become spares or are removed, so the files may hold more, and the next Open begins earlier. It does
// nothing if the log begins there or later. The caller has made sure that the store has flushed through (I3).
func (l *Log) Truncate(through kind.Index) error {
	if err := l.usable(); err != nil {
		return err
	}
	l.mu.Lock()
	if through <= l.mu.start.Index {
		l.mu.Unlock()
		return nil
	}
	if last := l.last().Index; through > last {
		l.mu.Unlock() // readers go on whatever becomes of the caller
		invariant.Check(false, "truncate through %d, and the last entry is %d", through, last)
	}
	start := l.position(through)
	keep := l.mu.slots[through-l.mu.start.Index:]
	if cap(keep) > 2*len(keep)+64 {
		keep = append(make([]slot, 0, len(keep)+64), keep...) // lets the memory of the old ones go
	}
	l.mu.slots, l.mu.start = keep, start
	for len(l.mu.cache) > len(keep) {
		l.evictOne()
	}
	// A segment holds no entry at or below its start, and everything above it is there or later.
	first := 0
	for i, s := range l.mu.segments {
		if s.start.Index <= through {
			first = i
		}
	}
	old := slices.Clone(l.mu.segments[:first])
	l.mu.segments = slices.Clone(l.mu.segments[first:])
	l.mu.Unlock()
	for _, s := range old {
		if err := l.discard(s); err != nil {
			return l.fail("give up the log segment "+s.path, err)
		}
	}
	return nil
}

// discard turns an old segment into a spare or removes it. The directory is synced each time: the name must be gone
// before the file is written again, and older segments before newer ones, so that a gap is always damage (W4).
func (l *Log) discard(s *segment) error {
	l.mu.Lock()
	free := s.pins == 0
	err := s.retire()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if free && s.size == l.opts.SegmentBytes && len(l.spares) < maxSpares {
		path := l.fs.PathJoin(l.dir, fmt.Sprintf("%016x%s", s.sequence, spareSuffix))
		if err := l.fs.Rename(s.path, path); err != nil {
			return err
		}
		l.spares = append(l.spares, spare{path: path, recycled: true})
	} else if err := l.fs.Remove(s.path); err != nil {
		return err
	}
	return l.syncDir()
}

// Reset makes the log begin after start, empty, as it must when a snapshot has been adopted. Term and vote stay, the
// commit becomes start's index, and the term is at least start's. Everything is durable when it returns.
func (l *Log) Reset(start kind.Position) error {
	if err := l.usable(); err != nil {
		return err
	}
	l.mu.Lock()
	st := l.mu.state
	l.mu.Unlock()
	st.set, st.commit = true, uint64(start.Index)
	if term := uint64(start.Term); term > st.term {
		st.term, st.vote = term, 0
	}
	if err := l.roll(header{begins: true, start: start, state: st}, 0); err != nil {
		return err
	}
	l.mu.Lock()
	n := len(l.mu.segments) - 1
	old := slices.Clone(l.mu.segments[:n])
	l.mu.segments = slices.Clone(l.mu.segments[n:])
	l.mu.start, l.mu.state = start, st
	l.mu.slots, l.mu.cache, l.mu.cached = nil, []*pb.Entry(nil), 0
	l.mu.Unlock()
	for _, s := range old {
		if err := l.discard(s); err != nil {
			return l.fail("give up the log segment "+s.path, err)
		}
	}
	return nil
}
