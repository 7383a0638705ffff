package mvcc

import (
	"context"
	"errors"
	"io"
	"math/rand"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// A flipped byte in any file of the store is found or without effect, but never served.
func TestFlippedByteIsNeverServed(t *testing.T) {
	fs := vfs.NewMem()
	w := newWorld(t, fs, Options{})
	r := rand.New(rand.NewSource(11))
	m := newModel()
	for range 40 {
		w.play(r, m)
	}
	q := command.Range{Interval: everything}
	want, _ := m.answer(q, m.revision)
	w.close(true)
	files, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	found, harmless := 0, 0
	for _, name := range files {
		path := fs.PathJoin("db", name)
		content := readFile(t, fs, path)
		for range min(60, len(content)) {
			i, bit := r.Intn(len(content)), byte(1)<<r.Intn(8)
			content[i] ^= bit
			writeFile(t, fs, path, content)
			if served(t, fs, m.revision, q, func(a Answer) bool { return proto.Equal(decodeAnswer(t, a), want) }) {
				harmless++
			} else {
				found++
			}
			content[i] ^= bit
			writeFile(t, fs, path, content)
		}
	}
	if found < 20 {
		t.Errorf("%d flips were found, %d were harmless: too few to mean anything", found, harmless)
	}
}

// served opens the store and reads; it fails the test if the answer is wrong, and returns false for an error or a state
// that is older than last.
func served(t *testing.T, original vfs.FS, last kind.Revision, q command.Range, right func(Answer) bool) bool {
	t.Helper()
	fs := vfs.NewMem()
	if ok, err := vfs.Clone(original, fs, "db", "db"); err != nil || !ok {
		t.Fatal(err)
	}
	db, err := store.Open(fs, "db", testIdentity, store.Options{})
	if err != nil {
		return false
	}
	defer db.Close(false)
	s, err := Open(db, Options{})
	if err != nil {
		return false
	}
	if s.Revision() < last {
		return false // an older state that is whole: the log, which was cut by what had been flushed, tells (I6)
	}
	a, err := s.Range(context.Background(), q)
	if err != nil {
		var c *store.Corruption
		if !errors.As(err, &c) {
			t.Errorf("the error is not of the kind of corruption: %v", err)
		}
		return false
	}
	if !right(a) {
		t.Fatal("a flipped byte was served")
	}
	return true
}

func readFile(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, fs vfs.FS, path string, content []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
