package wal

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

// ErrNothingToCut says that the log is not damaged, or that no part of it before the damage is whole.
var ErrNothingToCut = errors.New("there is nothing to cut")

// ErrPlanChanged says that the log is no longer as it was when the cut was planned.
var ErrPlanChanged = errors.New("the log has changed since the cut was planned")

// Loss is what a cut would lose.
type Loss struct {
	Damage    Corruption    // the log is cut there
	LastKept  kind.Position // the last entry that stays
	Entries   int           // intact entries behind the damage that are lost
	Lowest    kind.Index    // the lowest of those, 0 if there are none
	Highest   kind.Index    // the highest of those
	Committed kind.Index    // the highest commit that an intact hard state names; above LastKept.Index it is lost
}

func (c Loss) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "The log file %s is damaged at offset %d: %s.\n", c.Damage.File, c.Damage.Offset, c.Damage.Reason)
	fmt.Fprintf(&b, "A cut keeps the entries up to %d (term %d) and drops everything behind.\n", c.LastKept.Index, c.LastKept.Term)
	if c.Entries > 0 {
		fmt.Fprintf(&b, "Lost with it are %d intact entries with indexes %d to %d, and those that can no longer be read.\n",
			c.Entries, c.Lowest, c.Highest)
	} else {
		b.WriteString("Behind it no intact entry was found; entries that can no longer be read are lost.\n")
	}
	if c.Committed > c.LastKept.Index {
		fmt.Fprintf(&b, "Entries up to %d were COMMITTED: writes that clients were promised are lost.\n", c.Committed)
	}
	b.WriteString("Term and vote are kept as far as they can be read. A member of a cluster whose log was cut may break the " +
		"cluster's promises; remove it and add it again instead. If the store has applied more than is kept, the member " +
		"will not start on this log.\n")
	return b.String()
}

// PlanCut says what Cut would lose, and changes nothing. ErrNothingToCut if the log is whole, or if nothing would be left.
func PlanCut(fs vfs.FS, dir string) (Loss, error) {
	v := &survey{log: &Log{fs: fs, dir: dir}, out: discard{}}
	defer v.close()
	if err := v.read(); err != nil {
		return Loss{}, err
	}
	return v.loss()
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func (v *survey) loss() (Loss, error) {
	switch {
	case v.report.Damage == nil:
		return Loss{}, fmt.Errorf("%w: the log in %s is whole", ErrNothingToCut, v.log.dir)
	case len(v.log.mu.segments) == 0 || v.stop == 0 && v.report.EndOffset == 0:
		return Loss{}, fmt.Errorf("%w: no part of the log in %s before the damage is whole; add the member again with an "+
			"empty data directory, or restore a backup", ErrNothingToCut, v.log.dir)
	}
	c := Loss{Damage: *v.report.Damage, LastKept: v.report.Last, Entries: len(v.entries)}
	if c.Entries > 0 {
		c.Lowest, c.Highest = kind.Index(slices.Min(v.entries)), kind.Index(slices.Max(v.entries))
	}
	c.Committed = kind.Index(max(v.state.commit, v.report.HardState.GetCommit()))
	return c, nil
}

// Cut drops the damaged part of a log and everything behind it: an operator's last resort, never called by a member.
// planned is what PlanCut said; if that is no longer so, ErrPlanChanged. The log must not be open. If a crash
// interrupts a cut, plan and cut again.
func Cut(fs vfs.FS, dir string, planned Loss) error {
	v := &survey{log: &Log{fs: fs, dir: dir}, out: discard{}}
	defer v.close()
	if err := v.read(); err != nil {
		return err
	}
	now, err := v.loss()
	if err != nil {
		return err
	}
	if now != planned {
		return fmt.Errorf("%w; plan it again", ErrPlanChanged)
	}
	have, err := listFiles(fs, dir)
	if err != nil {
		return err
	}
	l := v.log
	last := l.mu.segments[v.stop] // the last that stays
	end := v.report.EndOffset
	if end == 0 {
		last = l.mu.segments[v.stop-1]
		end = l.mu.segments[v.stop].previous
	}
	st := l.mu.state
	if v.state.term > st.term {
		st = v.state
	}
	st.commit = min(st.commit, uint64(l.last().Index))
	// The newest goes first, so that a crash leaves the same damage. Then a new segment says where the last one ends.
	for _, seq := range slices.Backward(have.segments) {
		if seq <= last.sequence {
			break
		}
		if err := fs.Remove(fs.PathJoin(dir, segmentName(seq))); err != nil {
			return fmt.Errorf("cut the log: %w", err)
		}
		if err := l.syncDir(); err != nil {
			return fmt.Errorf("cut the log: %w", err)
		}
	}
	path, err := l.makeFile(newName, last.size, last.size)
	if err != nil {
		return fmt.Errorf("make a log segment of %d bytes: %w", last.size, err)
	}
	s, err := l.install(path, header{
		sequence: last.sequence + 1, id: l.id, start: l.last(), size: last.size, previous: end, state: st,
	})
	if err != nil {
		return fmt.Errorf("begin a log segment behind the cut: %w", err)
	}
	return s.file.Close()
}
