package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
)

// Report is what Inspect found.
type Report struct {
	Identity  kind.Identity
	Start     kind.Position // the log begins after this entry
	Last      kind.Position // the last intact entry, up to the damage if there is any
	HardState *pb.HardState // the last intact one, likewise; nil if none
	Segments  int           // that count; leftovers of an interrupted Reset do not
	Records   int           // intact ones up to the end, or to the damage
	Behind    int           // intact records behind that: lost, or never acknowledged if there is no damage
	End       string        // path of the segment with the end, or the damage; empty if no header could be read
	EndOffset int64         // where in it
	Damage    *Corruption   // nil if Open would find the log good, the store's witness aside
}

// Inspect reads the log in dir without changing anything, whatever state it is in. It prints a line for each record to
// out, unless that is nil. Damage is part of the report, not an error; ErrNoLog, ErrNewerFormat and failures to read
// are errors.
func Inspect(fs vfs.FS, dir string, out io.Writer) (Report, error) {
	if out == nil {
		out = io.Discard
	}
	v := &survey{log: &Log{fs: fs, dir: dir}, out: out}
	defer v.close()
	err := v.read()
	return v.report, err
}

// survey is the reading of a log as far as it can be read, for Inspect and Cut.
type survey struct {
	log    *Log // never written to; its segments are those below the damage
	beyond []*segment
	out    io.Writer
	report Report

	stop    int      // the segment of the log with the end or the damage
	entries []uint64 // indexes of intact entries behind that
	state   state    // the newest intact hard state behind that
}

func (v *survey) close() {
	closeAll(v.log.mu.segments)
	closeAll(v.beyond)
}

func closeAll(segments []*segment) {
	for _, s := range segments {
		s.file.Close() // Read only; there is nothing that a failure could lose.
	}
}

func (v *survey) read() error {
	have, err := listFiles(v.log.fs, v.log.dir)
	if err != nil {
		return err
	}
	if len(have.segments) == 0 {
		return fmt.Errorf("%w in %s", ErrNoLog, v.log.dir)
	}
	if err := v.open(have.segments); err != nil {
		return err
	}
	l, r := v.log, &v.report
	stopped := false // at damage within a segment whose header is good
	for i, s := range l.mu.segments {
		v.print(s)
		from := int64(headerSize)
		if !stopped {
			if i == 0 {
				l.mu.start = s.start
			}
			end, _, err := l.readSegment(i, func(rec found) {
				r.Records++
				fmt.Fprintln(v.out, rec.describe())
			})
			var c *Corruption
			if stopped = errors.As(err, &c); stopped {
				r.Damage = c
			} else if err != nil {
				return err
			}
			v.stop, r.End, r.EndOffset = i, s.path, end
			from = max(from, end)
			if !stopped && i+1 < len(l.mu.segments) {
				continue
			}
		}
		if err := v.salvage(s, from); err != nil {
			return err
		}
	}
	for _, s := range v.beyond {
		v.print(s)
		if err := v.salvage(s, headerSize); err != nil {
			return err
		}
	}
	if len(l.mu.segments) > 0 {
		r.Identity, r.Start, r.Last = l.id, l.mu.start, l.last()
		r.HardState, r.Segments = l.mu.state.hardState(), len(l.mu.segments)
	}
	return nil
}

// open opens the segments that count. Below the newest one whose header cannot be read, or that is missing, the log
// may still be good; those above are beyond the damage.
func (v *survey) open(sequences []uint64) error {
	l := v.log
	for i, seq := range slices.Backward(sequences) {
		if i+1 < len(sequences) && sequences[i+1] != seq+1 {
			v.unreadable(&Corruption{l.fs.PathJoin(l.dir, segmentName(sequences[i+1]-1)), 0, "the file is missing"})
		}
		s, err := openSegment(l.fs, l.dir, seq, false)
		var c *Corruption
		if errors.As(err, &c) {
			v.unreadable(c)
			continue
		} else if err != nil {
			return err
		}
		if len(l.mu.segments) > 0 && s.id != l.mu.segments[0].id {
			v.unreadable(&Corruption{l.mu.segments[0].path, 0, fmt.Sprintf("the segment is of %v, and the one before it of %v",
				l.mu.segments[0].id, s.id)})
		}
		l.mu.segments, l.id = append([]*segment{s}, l.mu.segments...), s.id
		if s.begins {
			break
		}
	}
	n := leftover(l.mu.segments)
	closeAll(l.mu.segments[:n])
	l.mu.segments = l.mu.segments[n:]
	return nil
}

// unreadable notes damage between the segments opened so far and those below.
func (v *survey) unreadable(c *Corruption) {
	v.report.Damage = c
	v.beyond = append(v.log.mu.segments, v.beyond...)
	v.log.mu.segments = nil
	fmt.Fprintf(v.out, "%s: %s\n", c.File, c.Reason)
}

func (v *survey) print(s *segment) {
	fmt.Fprintf(v.out, "%s: %v, starts after entry %d of term %d, %d bytes\n", s.path, s.id, s.start.Index, s.start.Term, s.size)
}

// salvage lists the intact records of s from offset from on.
func (v *survey) salvage(s *segment, from int64) error {
	if s.state.set && from == headerSize {
		v.keepState(s.state)
	}
	_, err := newScan(s, s.size).behind(from, func(r found) error {
		fmt.Fprintln(v.out, r.describe(), "(behind the end)")
		v.report.Behind++
		switch r.kind {
		case kindEntry:
			v.entries = append(v.entries, binary.LittleEndian.Uint64(r.head[8:]))
		case kindState:
			v.keepState(decodeState(r.head))
		}
		return nil
	})
	if err != nil {
		return explain(s, err)
	}
	return nil
}

func (v *survey) keepState(s state) {
	if s.term >= v.state.term {
		v.state = s
	}
}

// describe is the record as a line for people.
func (r found) describe() string {
	at := fmt.Sprintf("  %10d  synced %-10d", r.offset, r.synced)
	switch r.kind {
	case kindEntry:
		le := binary.LittleEndian
		return fmt.Sprintf("%s entry %d term %d %v, %d bytes", at, le.Uint64(r.head[8:]), le.Uint64(r.head),
			pb.EntryType(r.head[16]), r.length-entryHead)
	case kindState:
		st := decodeState(r.head)
		return fmt.Sprintf("%s hard state term %d vote %x commit %d", at, st.term, st.vote, st.commit)
	}
	return at + " mark"
}
