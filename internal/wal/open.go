package wal

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

// Create makes a new, empty log in dir, which it makes if need be. The log begins after start. All of it is durable
// when it returns, dir and the directories that it had to make for it included. If dir holds a log already: ErrExists.
func Create(fs vfs.FS, dir string, id kind.Identity, start kind.Position, o Options) error {
	o = o.withDefaults()
	if err := makeDir(fs, dir, o.NoSync); err != nil {
		return fmt.Errorf("make the log directory %s: %w", dir, err)
	}
	have, err := listFiles(fs, dir)
	if err != nil {
		return err
	}
	if len(have.segments) > 0 {
		return fmt.Errorf("%w in %s; it is not overwritten", ErrExists, dir)
	}
	l := &Log{fs: fs, dir: dir, id: id, opts: o}
	// Spares of an earlier log would hold its records; they are made anew (W5).
	for _, name := range have.spares {
		if err := fs.Remove(fs.PathJoin(dir, name)); err != nil {
			return fmt.Errorf("remove an old spare log segment: %w", err)
		}
	}
	path, err := l.makeFile(newName, o.SegmentBytes, o.SegmentBytes)
	if err != nil {
		return fmt.Errorf("make a log segment of %d bytes: %w", o.SegmentBytes, err)
	}
	s, err := l.install(path, header{begins: true, sequence: 1, id: id, start: start, size: o.SegmentBytes})
	if err != nil {
		return fmt.Errorf("begin the log in %s: %w", dir, err)
	}
	return s.file.Close()
}

// makeDir makes dir and what is missing above it, durably.
func makeDir(fs vfs.FS, dir string, noSync bool) error {
	// The parent is synced in any case: dir may be there and not be durable.
	parents := []string{fs.PathDir(dir)}
	for {
		top := parents[len(parents)-1]
		if _, err := fs.Stat(top); err == nil || fs.PathDir(top) == top {
			break
		} else if !oserror.IsNotExist(err) {
			return err
		}
		parents = append(parents, fs.PathDir(top))
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := syncDir(fs, parent, noSync); err != nil {
			return err
		}
	}
	return nil
}

// Witness is what others know about the log.
type Witness struct {
	// Applied is the position of the last entry in the store, as flushed. The log must hold it or begin exactly after it.
	Applied kind.Position
	// Adopted says that the store came as a snapshot and that nobody knows whether the log was Reset after it. If the
	// log neither holds Applied nor begins after it, Open resets it.
	Adopted bool
}

// Open recovers the log in dir. Errors: ErrNoLog, ErrIdentity, ErrNewerFormat, *Corruption, or a failure to read or
// write. It changes files only after everything was read and found good. When it returns, all that the log holds
// is durable. It may be called again after any error.
func Open(fs vfs.FS, dir string, id kind.Identity, w Witness, o Options) (_ *Log, err error) {
	l := &Log{fs: fs, dir: dir, id: id, opts: o.withDefaults()}
	have, err := listFiles(fs, dir)
	if err != nil {
		return nil, err
	}
	if len(have.segments) == 0 {
		return nil, fmt.Errorf("%w in %s", ErrNoLog, dir)
	}
	defer func() {
		if err != nil {
			for _, s := range l.mu.segments {
				s.file.Close()
			}
		}
	}()
	older, err := l.openSegments(have.segments)
	if err != nil {
		return nil, err
	}
	behind, err := l.recover(w)
	if err != nil {
		return nil, err
	}
	if err := l.tidy(have, older); err != nil {
		return nil, fmt.Errorf("tidy the log directory %s: %w", dir, err)
	}
	if err := l.settle(behind); err != nil {
		return nil, fmt.Errorf("make the recovered log in %s durable: %w", dir, err)
	}
	if w.Adopted && !l.joins(w.Applied) {
		if err := l.Reset(w.Applied); err != nil {
			return nil, fmt.Errorf("begin the log after the adopted snapshot: %w", err)
		}
	}
	if err := l.Mark(); err != nil {
		return nil, err
	}
	return l, nil
}

// openSegments opens the segments that count, newest first, down to one that begins the log or to the oldest. It
// returns the sequence numbers of those below, which are left over from a Reset or Truncate that a crash cut short.
func (l *Log) openSegments(sequences []uint64) (older []uint64, err error) {
	for i, seq := range slices.Backward(sequences) {
		if i+1 < len(sequences) && sequences[i+1] != seq+1 {
			return nil, &Corruption{l.fs.PathJoin(l.dir, segmentName(sequences[i+1]-1)), 0, "the file is missing"}
		}
		s, err := openSegment(l.fs, l.dir, seq, i == len(sequences)-1)
		if err != nil {
			return nil, err
		}
		l.mu.segments = append([]*segment{s}, l.mu.segments...)
		if s.id != l.id {
			return nil, fmt.Errorf("%w: %s is of %v, and the store is of %v; put the directories back as they belong "+
				"together, or restore both", ErrIdentity, s.path, s.id, l.id)
		}
		if s.begins {
			older = sequences[:i:i]
			break
		}
	}
	for range leftover(l.mu.segments) {
		s := l.mu.segments[0]
		older = append(older, s.sequence)
		l.mu.segments = l.mu.segments[1:]
		if err := s.file.Close(); err != nil {
			return nil, fmt.Errorf("close the log segment %s: %w", s.path, err)
		}
	}
	return older, nil
}

// leftover is the number of the oldest segments that a Truncate was about to remove: those that start above a later
// one. The later one was begun by entries that replaced all of theirs, and the entries they followed are gone.
func leftover(segments []*segment) int {
	first := 0
	for i, s := range segments {
		if s.start.Index < segments[first].start.Index {
			first = i
		}
	}
	return first
}

// recover reads all records and decides where the log ends. It changes nothing.
func (l *Log) recover(w Witness) (behind rest, err error) {
	l.mu.start = l.mu.segments[0].start
	for i, s := range l.mu.segments {
		l.tail = s
		if l.end, behind, err = l.readSegment(i, func(found) {}); err != nil {
			return rest{}, err
		}
	}
	l.mu.end = l.tail.base + l.end
	return behind, l.judge(w)
}

// readSegment reads the i-th segment, behind those before it, into the log's memory and tells visit of each record. It
// returns where the valid records end. The error is a *Corruption if that is not where they may end.
func (l *Log) readSegment(i int, visit func(found)) (end int64, behind rest, err error) {
	s, limit, last := l.mu.segments[i], l.mu.segments[i].size, i == len(l.mu.segments)-1
	if !last {
		next := l.mu.segments[i+1]
		if limit = next.previous; limit < headerSize || limit > s.size {
			return 0, behind, &Corruption{next.path, 0, "the header names an impossible end of the segment before"}
		}
	}
	if i > 0 {
		s.base = l.mu.segments[i-1].base + s.previous
	}
	if err := l.enter(s); err != nil {
		return 0, behind, err
	}
	l.claimed, l.dataEnd = headerSize, headerSize
	sc := newScan(s, limit)
	end, reason, err := sc.all(func(r found) error {
		err := l.replay(s, r)
		if err == nil {
			visit(r)
		}
		return err
	})
	if err != nil {
		return end, behind, explain(s, err)
	}
	if !last {
		if end != limit {
			err = &Corruption{s.path, end, reason + fmt.Sprintf(", and the next segment says that the records go on to %d", limit)}
		}
		return end, behind, err
	}
	if behind, err = sc.behind(end, nil); err != nil {
		return end, behind, explain(s, err)
	}
	if behind.refused || behind.synced > end {
		err = &Corruption{s.path, end, reason + ", and a later record says that this was synced"}
	}
	return end, behind, err
}

// explain adds the segment to a failure to read it. A Corruption names it already.
func explain(s *segment, err error) error {
	if _, ok := err.(*Corruption); ok {
		return err
	}
	return fmt.Errorf("log segment %s: %w", s.path, err)
}

// enter checks a segment's header against the segments before it and takes over its hard state.
func (l *Log) enter(s *segment) error {
	if s.start.Index < l.mu.start.Index || s.start.Index > l.last().Index || l.position(s.start.Index) != s.start {
		return &Corruption{s.path, 0, fmt.Sprintf("the segment starts after entry %d of term %d, which is not in the log before it",
			s.start.Index, s.start.Term)}
	}
	if !s.state.set {
		return nil
	}
	if s.state.commit > uint64(l.last().Index) {
		return &Corruption{s.path, 0, fmt.Sprintf("entries up to %d were committed when the segment began, and the log before it ends with %d",
			s.state.commit, l.last().Index)}
	}
	l.mu.state = s.state
	return nil
}

// replay takes one valid record into the log's memory.
func (l *Log) replay(s *segment, r found) error {
	l.claimed = max(l.claimed, r.synced)
	if r.kind != kindMark {
		l.dataEnd = r.end()
	}
	switch r.kind {
	case kindEntry:
		term, index := binary.LittleEndian.Uint64(r.head), binary.LittleEndian.Uint64(r.head[8:])
		last := l.last()
		if index <= uint64(s.start.Index) || index-1 > uint64(last.Index) {
			return &Corruption{s.path, r.offset, fmt.Sprintf("entry %d cannot follow entry %d", index, last.Index)}
		}
		if before := l.position(kind.Index(index - 1)); term < uint64(before.Term) {
			return &Corruption{s.path, r.offset, fmt.Sprintf("entry %d of term %d follows term %d", index, term, before.Term)}
		}
		l.mu.slots = append(l.mu.slots[:index-uint64(l.mu.start.Index)-1], slot{
			term: term, offset: r.offset, length: r.length, position: s.base + r.offset, segment: s,
		})
	case kindState:
		st := decodeState(r.head)
		if st.commit > uint64(l.last().Index) {
			return &Corruption{s.path, r.offset, fmt.Sprintf("entries up to %d are committed, and the log ends with %d",
				st.commit, l.last().Index)}
		}
		l.mu.state = st
	}
	return nil
}

// judge holds the log against the store's applied position (I6) and brings the hard state up to what is certain.
func (l *Log) judge(w Witness) error {
	last, st := l.last(), &l.mu.state
	switch a := w.Applied; {
	case w.Adopted && !l.joins(a):
		return nil // Open replaces it all
	case a.Index > last.Index:
		return &Corruption{l.tail.path, l.end, fmt.Sprintf("the log ends here with entry %d, and the store has applied "+
			"entry %d: entries that were synced are lost", last.Index, a.Index)}
	case a.Index < l.mu.start.Index:
		return &Corruption{l.mu.segments[0].path, 0, fmt.Sprintf("the log begins after entry %d, and the store has applied "+
			"only up to %d: the entries between are missing", l.mu.start.Index, a.Index)}
	case l.position(a.Index).Term != a.Term:
		return &Corruption{l.tail.path, l.end, fmt.Sprintf("entry %d has term %d in the log and term %d in the store: they "+
			"do not belong together", a.Index, l.position(a.Index).Term, a.Term)}
	}
	// The commit of the last hard state may lag behind the store; raft refuses to start below it.
	if commit := uint64(max(w.Applied.Index, l.mu.start.Index)); commit > st.commit {
		st.commit, st.set = commit, true
	}
	// The last group may have lost its hard state behind its entries. No vote was given in that term, else it had been
	// synced; to know the term as begun is safe.
	if term := uint64(last.Term); term > st.term {
		st.term, st.vote, st.set = term, 0, true
	}
	return nil
}

// joins says whether the log holds the entry at p or begins after it.
func (l *Log) joins(p kind.Position) bool {
	return p.Index >= l.mu.start.Index && p.Index <= l.last().Index && l.position(p.Index) == p
}

// settle makes what was recovered durable. If there is something behind the end that might become valid behind new
// records, the next segment begins: its header says where this one ends. (Zeros in its place would not be as safe: a
// sync that fails may leave them in the page cache only, and the next start would not know.)
func (l *Log) settle(behind rest) error {
	l.synced = l.claimed
	if l.claimed < l.dataEnd {
		if err := l.rewrite(l.claimed, l.end); err != nil {
			return err
		}
	}
	if err := l.syncFile(l.tail.file); err != nil {
		return err
	}
	l.synced = l.end
	if !behind.ours && (behind.zero || l.tail.recycled) {
		return nil
	}
	l.opts.Logf("the log segment %s ends at offset %d with entry %d; behind it lies what is left of a write that was never "+
		"acknowledged, or a damaged mark, and is dropped; the log goes on in a new segment", l.tail.path, l.end, l.last().Index)
	return l.roll(header{start: l.last(), state: l.mu.state}, 0)
}

// rewrite writes what stands between two offsets of the tail once more.
func (l *Log) rewrite(from, to int64) error {
	b := make([]byte, min(to-from, windowBytes))
	for from < to {
		b = b[:min(to-from, windowBytes)]
		if err := readFull(l.tail.file, b, from); err != nil {
			return err
		}
		if _, err := l.tail.file.WriteAt(b, from); err != nil {
			return err
		}
		from += int64(len(b))
	}
	return nil
}

// tidy removes what a crash left over, and takes spares into use.
func (l *Log) tidy(have files, older []uint64) error {
	var remove []string
	for _, seq := range older {
		if err := l.fs.Remove(l.fs.PathJoin(l.dir, segmentName(seq))); err != nil {
			return err
		}
		if err := l.syncDir(); err != nil { // each before the next, as in discard
			return err
		}
	}
	remove = append(remove, have.unfinish...)
	for _, name := range have.spares {
		path := l.fs.PathJoin(l.dir, name)
		info, err := l.fs.Stat(path)
		if err != nil {
			return err
		}
		if info.Size() == l.opts.SegmentBytes && len(l.spares) < maxSpares {
			l.spares = append(l.spares, spare{path: path, recycled: true})
		} else {
			remove = append(remove, name)
		}
	}
	for _, name := range remove {
		if err := l.fs.Remove(l.fs.PathJoin(l.dir, name)); err != nil {
			return err
		}
	}
	// Also the name of the last segment may not be durable yet.
	return l.syncDir()
}
