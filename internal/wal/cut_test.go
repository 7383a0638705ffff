package wal

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCut holds that for every damaged place Inspect and Open agree, the plan changes nothing and tells what is lost,
// and the cut log opens with exactly what was promised and can be written.
func TestCut(t *testing.T) {
	fs, want, l := idleLog(t, false)
	for i, s := range l.mu.segments {
		for at := int64(4); at < l.dataEnd && at < s.size; at += 251 {
			damaged := copyFiles(t, fs, func(n string, b []byte) []byte {
				if n == segmentName(s.sequence) {
					b[at] ^= 1
				}
				return b
			})
			where := fmt.Sprintf("segment %d, byte %d", i, at)
			_, openErr := Open(copyFiles(t, damaged, nil), testDir, testID, Witness{}, smallLog)
			before := damaged.String()
			report, err := Inspect(damaged, testDir, nil)
			must(t, err)
			if (report.Damage == nil) != (openErr == nil) || report.Damage != nil && report.Damage.Error() != openErr.Error() {
				t.Fatalf("%s: Inspect says %v, Open says %v", where, report.Damage, openErr)
			}
			plan, err := PlanCut(damaged, testDir)
			if report.Damage == nil || i == 0 && at < headerSize {
				if !errors.Is(err, ErrNothingToCut) {
					t.Fatalf("%s: %v", where, err)
				}
				continue
			}
			must(t, err)
			if damaged.String() != before {
				t.Fatalf("%s: planning changed the files", where)
			}
			lost := plan.Committed > plan.LastKept.Index
			if plan.Entries > 0 && !lost || lost != strings.Contains(plan.String(), "COMMITTED") ||
				int(plan.LastKept.Index)+plan.Entries > 13 {
				t.Fatalf("%s: the plan is %+v", where, plan)
			}
			if err := Cut(fs, testDir, plan); !errors.Is(err, ErrNothingToCut) {
				t.Fatal("a whole log was cut", err)
			}
			other := plan
			other.Entries++
			if err := Cut(damaged, testDir, other); !errors.Is(err, ErrPlanChanged) {
				t.Fatal(err)
			}
			must(t, Cut(damaged, testDir, plan))
			cut := open(t, damaged, plan.LastKept, smallLog)
			sameEntries(t, all(t, cut), want.entries[:plan.LastKept.Index])
			// The last intact hard state behind the damage keeps its vote; there is always one here.
			if st := stateOf(cut.HardState()); st.term != 3 || st.vote != 1 && at < l.dataEnd-400 {
				t.Fatalf("%s: hard state %+v", where, st)
			}
			next := uint64(plan.LastKept.Index) + 1
			must(t, cut.Append(entriesOf(next, next, 9, 100), hard(9, 0, next)))
			must(t, cut.Close())
			cut = open(t, damaged, plan.LastKept, smallLog)
			if cut.LastIndex() != plan.LastKept.Index+1 {
				t.Fatalf("%s: the cut log ends with %d", where, cut.LastIndex())
			}
			must(t, cut.Close())
		}
	}
}

// TestCutInterrupted holds that a cut that fails halfway can be done again.
func TestCutInterrupted(t *testing.T) {
	fs := newHookFS()
	l := newLog(t, fs, smallLog)
	for i := uint64(1); l.tail.sequence < 5; i++ {
		must(t, l.Append(entriesOf(i, i, 1, 1500), hard(1, 1, i)))
	}
	must(t, l.Close())
	f, err := fs.MemFS.OpenReadWrite(testDir+"/"+segmentName(2), category)
	must(t, err)
	_, err = f.WriteAt([]byte{0xff}, headerSize+2000)
	must(t, err)
	must(t, f.Sync())
	plan, err := PlanCut(fs, testDir)
	must(t, err)
	moments := 0
	fs.before = func(string, string) {
		moments++
		after := fs.CrashClone(vfs.CrashCloneCfg{})
		again, err := PlanCut(after, testDir)
		// Without the later segments nobody knows that what lies behind the damage was ever synced: a torn write.
		if !errors.Is(err, ErrNothingToCut) {
			must(t, err)
			must(t, Cut(after, testDir, again))
		}
		l := open(t, after, plan.LastKept, smallLog)
		if l.LastIndex() != plan.LastKept.Index {
			t.Fatalf("the log ends with %d, want %d", l.LastIndex(), plan.LastKept.Index)
		}
		must(t, l.Close())
	}
	must(t, Cut(fs, testDir, plan))
	if moments < 8 {
		t.Fatalf("only %d moments", moments)
	}
}

// TestInspectTorn holds that a torn write is told from damage, and both are listed.
func TestInspectTorn(t *testing.T) {
	fs := vfs.NewMem()
	l := newLog(t, fs, smallLog)
	must(t, l.Append(entriesOf(1, 2, 1, 100), hard(1, 1, 0)))
	must(t, l.Sync())
	must(t, l.Append(entriesOf(3, 6, 1, 100), hard(1, 1, 2)))
	b, err := fs.UnsafeGetFileDataBuffer(l.tail.path)
	must(t, err)
	b[l.mu.slots[3].offset+30] ^= 1
	var out bytes.Buffer
	report, err := Inspect(fs, testDir, &out)
	must(t, err)
	if report.Damage != nil || report.Behind != 3 || report.Last.Index != 3 || report.EndOffset != l.mu.slots[3].offset {
		t.Fatalf("%+v", report)
	}
	if !strings.Contains(out.String(), "entry 6 term 1 EntryNormal, 100 bytes (behind the end)") {
		t.Fatal(out.String())
	}
	l = open(t, fs, l.mu.start, smallLog)
	sameEntries(t, all(t, l), entriesOf(1, 3, 1, 100))
	if _, err := Inspect(fs, "nowhere", nil); !errors.Is(err, ErrNoLog) {
		t.Fatal(err)
	}
}
