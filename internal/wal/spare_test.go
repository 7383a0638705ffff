package wal

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

// TestSpareMadeBeside holds that a segment made by MakeSpare beside the writer is the one that the next roll takes,
// that one too many is removed, and that what an interrupted MakeSpare leaves is tidied up.
func TestSpareMadeBeside(t *testing.T) {
	fs := vfs.NewMem()
	o := Options{SegmentBytes: 8 << 10}
	if err := Create(fs, "log", testID, kind.Position{}, o); err != nil {
		t.Fatal(err)
	}
	l, err := Open(fs, "log", testID, Witness{Applied: kind.Position{}}, o)
	if err != nil {
		t.Fatal(err)
	}
	count := func() int {
		have, err := listFiles(fs, "log")
		if err != nil {
			t.Fatal(err)
		}
		return len(have.spares) + len(have.unfinish)
	}
	if !l.WantsSpare() {
		t.Fatal("a new log has a spare segment that nobody made")
	}
	made, err := l.MakeSpare()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AddSpare(made); err != nil {
		t.Fatal(err)
	}
	if l.WantsSpare() || count() != 1 {
		t.Fatalf("the spare was not taken: %d files wait", count())
	}
	if made, err = l.MakeSpare(); err != nil {
		t.Fatal(err)
	}
	if err := l.AddSpare(made); err != nil {
		t.Fatal(err)
	}
	if count() != 1 {
		t.Fatalf("a spare too many stays: %d files wait", count())
	}
	if _, err := l.MakeSpare(); err != nil { // interrupted: never added
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(fs, "log", testID, Witness{Applied: kind.Position{}}, o); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if count() != 1 || l.WantsSpare() {
		t.Fatalf("after a start %d files wait, want the one spare", count())
	}
}
