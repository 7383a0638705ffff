package wal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
)

// goldenWork is the work whose files and file operations are kept in testdata.
func goldenWork(t *testing.T, fs vfs.FS, say func(string)) (want content) {
	o := Options{SegmentBytes: 8192}
	say("create")
	create(t, fs, o)
	say("open")
	l := open(t, fs, kind.Position{}, o)
	say("append a group, sync it")
	must(t, l.Append(entriesOf(1, 2, 1, 100), hard(1, 0xe2, 0)))
	must(t, l.Sync())
	say("append a commit, without a sync, and mark")
	must(t, l.Append(nil, hard(1, 0xe2, 2)))
	must(t, l.Mark())
	say("append what does not fit: roll")
	must(t, l.Append(entriesOf(3, 6, 1, 1000), nil))
	must(t, l.Sync())
	say("prepare a spare")
	must(t, l.PrepareSpare())
	say("replace entries of an older segment: roll")
	change := entry(2+1, 2, 40)
	*change.Type = pb.EntryConfChangeV2
	must(t, l.Append([]*pb.Entry{change, entry(4, 2, 0)}, hard(2, 0, 3)))
	must(t, l.Sync())
	want = content{entries: all(t, l), state: stateOf(l.HardState())}
	say("close")
	must(t, l.Close())
	return want
}

// TestFileOperations keeps the order of file operations: a change shows in testdata/operations.txt.
func TestFileOperations(t *testing.T) {
	var out bytes.Buffer
	say := func(s string) { fmt.Fprintf(&out, "# %s\n", s) }
	mem := vfs.NewMem()
	must(t, mem.MkdirAll("data", 0o700))
	fs := vfs.WithLogging(mem, func(f string, args ...any) { fmt.Fprintf(&out, f+"\n", args...) })
	goldenWork(t, fs, say)
	o := Options{SegmentBytes: 8192}
	say("open an idle log")
	l := open(t, fs, kind.Position{Index: 3, Term: 2}, o)
	say("truncate")
	must(t, l.Truncate(3))
	say("roll into an old segment")
	must(t, l.Append(entriesOf(5, 6, 2, 3000), nil))
	must(t, l.Append(entriesOf(7, 7, 2, 3000), nil))
	say("open after a kill: nothing says that the end was synced")
	l = open(t, fs, kind.Position{Index: 3, Term: 2}, o)
	say("reset")
	must(t, l.Reset(kind.Position{Index: 50, Term: 3}))
	say("a group larger than a segment")
	must(t, l.Append(entriesOf(51, 51, 3, 10000), nil))
	say("close")
	must(t, l.Close())
	say("open after a torn write: a byte of a record without a witness is wrong")
	f, err := mem.OpenReadWrite(l.tail.path, category)
	must(t, err)
	_, err = f.WriteAt([]byte{1}, l.end+3)
	must(t, err)
	l = open(t, fs, kind.Position{Index: 50, Term: 3}, o)
	say("close")
	must(t, l.Close())
	golden(t, "operations.txt", out.Bytes())
}

// TestVersion1 holds that the files in testdata/v1 open for ever, and that version 1 is still written so.
func TestVersion1(t *testing.T) {
	written := vfs.NewMem()
	want := goldenWork(t, written, func(string) {})
	names, err := written.List(testDir)
	must(t, err)
	for _, name := range names {
		if filepath.Ext(name) == logSuffix {
			golden(t, "v1/"+name, readFile(t, written, testDir+"/"+name))
		}
	}
	kept := vfs.NewMem()
	must(t, kept.MkdirAll(testDir, 0o700))
	paths, err := filepath.Glob("testdata/v1/*.log")
	must(t, err)
	if len(paths) != 3 {
		t.Fatalf("there are %d files in testdata/v1", len(paths))
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		must(t, err)
		writeFile(t, kept, testDir+"/"+filepath.Base(path), b)
	}
	var out bytes.Buffer
	report, err := Inspect(kept, testDir, &out)
	must(t, err)
	if report.Damage != nil || report.Records != 12 || report.Behind != 0 {
		t.Errorf("the report is %+v", report)
	}
	golden(t, "v1.txt", out.Bytes())
	l := open(t, kept, kind.Position{Index: 3, Term: 2}, Options{})
	sameEntries(t, all(t, l), want.entries)
	if got := stateOf(l.HardState()); got != want.state {
		t.Fatalf("hard state %+v, want %+v", got, want.state)
	}
	must(t, l.Close())
}
