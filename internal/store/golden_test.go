package store

import (
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

var writeGolden = flag.Bool("write-golden", false, "make the golden directory of this format version where there is none yet")

// TestGolden holds that a store of format 1 can be read for ever, byte for byte what was stored: the directory is never
// written again. It is copied into memory before it is opened.
func TestGolden(t *testing.T) {
	const dir = "testdata/store-1"
	if _, err := os.Stat(dir); *writeGolden && errors.Is(err, os.ErrNotExist) {
		mem := vfs.NewMem()
		h := buildHistory(t, mem, 4)
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if ok, err := vfs.Clone(mem, vfs.Default, "data/store", dir); err != nil || !ok {
			t.Fatal(ok, err)
		}
		if err := os.WriteFile(dir+".txt", []byte(h[12]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expected, err := os.ReadFile(dir + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	mem := vfs.NewMem()
	if ok, err := vfs.Clone(vfs.Default, mem, dir, "data/store"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if broken, err := Check(mem, "data/store"); err != nil || len(broken) > 0 {
		t.Fatal(broken, err)
	}
	db := testOpen(t, mem, Options{})
	if got := contents(t, db); got != string(expected) {
		t.Errorf("the golden store holds\n%s", got)
	}
	if p, err := db.Durable(); err != nil || p != (kind.Position{Index: 12, Term: 1}) {
		t.Errorf("durable is %v, %v", p, err)
	}
}

// TestRecordLayouts holds the bytes of the two records, written down here once.
func TestRecordLayouts(t *testing.T) {
	a := Applied{
		Position: kind.Position{Index: 1, Term: 2}, Revision: 3, Compacted: 4, Digest: 5, Elapsed: 6, MachineVersion: 7,
		LiveKeys: 8, LiveBytes: 9, Versions: 10,
	}
	golden(t, "applied-1.bin", EncodeApplied(a))
	golden(t, "identity-1.bin", encodeIdentity(1, testIdentity))
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if _, err := os.Stat(path); *writeGolden && errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expected, err := os.ReadFile(path)
	if err != nil || string(expected) != string(got) {
		t.Errorf("%s: expected %x, got %x, %v", name, expected, got, err)
	}
}
