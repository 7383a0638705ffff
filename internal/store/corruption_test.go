package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

// The fault model of this file. The store is closed and at rest. One byte of one of its files changes to any other
// value; nothing else happens, and the log beside it is whole, cut no higher than what Durable last said. The
// allowed outcomes of opening the store and reading all of it are
//
//   - an error that says so, from Open or from a read;
//   - exactly what was stored;
//   - exactly what was stored at an older applied position, which happens when the change lies in the MANIFEST:
//     its records are checked by sums, and Pebble takes a broken one for the torn end of a write that was never
//     acknowledged. The opening order (I6) decides then: the log either still holds the entries from that position
//     on, which are applied again, or it does not, and the member stops.
//
// Never allowed are other contents at any applied position, an end of the process, and a hang.

// history holds the records of a store after each applied index.
type history map[kind.Index]string

// buildHistory makes a store of several tables on several levels, with replaced and deleted records, several versions
// of a key in one table (their values lie in blocks of their own) and a range deletion, and closes it.
func buildHistory(t testing.TB, fs vfs.FS, rounds int) history {
	t.Helper()
	if err := Create(fs, "data/store", testIdentity, nil); err != nil {
		t.Fatal(err)
	}
	db, err := Open(fs, "data/store", testIdentity, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	h := history{0: contents(t, db)}
	index := kind.Index(0)
	for round := range rounds {
		for range 3 {
			index++
			b := db.NewBatch()
			for i := range 4 {
				value := bytes.Repeat([]byte{byte(index), byte(i), byte(r.Uint32())}, 15)
				b.Set(versionKey(fmt.Sprint("key", r.IntN(4)), uint64(index)), value, nil)
				b.Set(AppendKey(nil, FamilyLease, fmt.Sprint(r.IntN(5))), value, nil)
			}
			b.Delete(AppendKey(nil, FamilyLease, fmt.Sprint(r.IntN(5))), nil)
			if round == 3 {
				b.DeleteRange(AppendKey(nil, FamilyLease, "1"), AppendKey(nil, FamilyLease, "3"), nil)
			}
			b.Set(AppliedKey(), EncodeApplied(Applied{Position: kind.Position{Index: index, Term: 1}, Revision: kind.Revision(index)}), nil)
			if err := b.Commit(pebble.NoSync); err != nil {
				t.Fatal(err)
			}
			b.Close()
			h[index] = contents(t, db)
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			if err := db.Compact(t.Context(), []byte{0}, []byte{0xff, 0}, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.Close(true); err != nil {
		t.Fatal(err)
	}
	return h
}

// contents prints all records. A failure to read is returned as the panic of the test helper that calls it.
func contents(t testing.TB, db *DB) string {
	t.Helper()
	s, err := readAll(db)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readAll(db *DB) (string, error) {
	var s strings.Builder
	err := db.Visit(nil, nil, func(key, value []byte) error {
		fmt.Fprintf(&s, "%x=%x\n", key, value)
		return nil
	})
	return s.String(), err
}

// flip returns a copy of the store with one byte changed.
func flip(t testing.TB, fs vfs.FS, name string, offset int, mask byte) *vfs.MemFS {
	t.Helper()
	clone := vfs.NewMem()
	if ok, err := vfs.Clone(fs, clone, "data", "data"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	f, err := clone.OpenReadWrite("data/store/"+name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	one := make([]byte, 1)
	if _, err := f.ReadAt(one, int64(offset)); err != nil {
		t.Fatal(err)
	}
	one[0] ^= mask
	if _, err := f.WriteAt(one, int64(offset)); err != nil {
		t.Fatal(err)
	}
	return clone
}

func fileSize(t testing.TB, fs vfs.FS, path string) int {
	t.Helper()
	info, err := fs.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Size())
}

// TestFlippedByte holds the fault model above: every byte of files up to 256 bytes, samples of the larger ones, and of
// those too every byte with HOLDFAST_EVERY_BYTE=1.
func TestFlippedByte(t *testing.T) {
	fs := vfs.NewMem()
	h := buildHistory(t, fs, 5)
	list, err := fs.List("data/store")
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(list)
	r := rand.New(rand.NewPCG(5, 6))
	latest := kind.Index(0)
	for index := range h {
		latest = max(latest, index)
	}
	for _, name := range list {
		size := fileSize(t, fs, "data/store/"+name)
		outcomes := make(map[string]int)
		for offset := 0; offset < size; offset++ {
			if size > 256 && os.Getenv("HOLDFAST_EVERY_BYTE") == "" && r.IntN(size) > 100 {
				continue
			}
			mask := byte(1 << r.IntN(8))
			if r.IntN(4) == 0 {
				mask = byte(1 + r.IntN(255))
			}
			outcomes[flipped(t, flip(t, fs, name, offset, mask), h, latest, fmt.Sprintf("%s, offset %d, mask %02x", name, offset, mask))]++
		}
		t.Logf("%s, %d bytes: %v", name, size, outcomes)
		if strings.HasSuffix(name, ".sst") && outcomes["nothing"] > 0 {
			t.Errorf("%s: %d changes of a table were not found by Check", name, outcomes["nothing"])
		}
	}
}

// flipped opens a changed store and says which of the allowed outcomes it has.
func flipped(t *testing.T, fs vfs.FS, h history, latest kind.Index, what string) string {
	t.Helper()
	broken, checkErr := Check(fs, "data/store")
	found := len(broken) > 0 || checkErr != nil
	for _, c := range broken {
		if c.File == "" {
			t.Errorf("%s: the broken file is not named: %v", what, c)
		}
	}
	var told error
	db, err := Open(fs, "data/store", testIdentity, Options{OnFailure: func(err error) { told = err }})
	if err != nil {
		return "refused"
	}
	a, err := db.Applied()
	var got string
	if err == nil {
		got, err = readAll(db)
	}
	closeErr := db.Close(false)
	if err != nil {
		var c *Corruption
		if !errors.As(err, &c) || c.File == "" {
			t.Errorf("%s: a read failed with %v", what, err)
		}
		if told == nil || closeErr == nil {
			t.Errorf("%s: the owner was not told", what)
		}
		return "found by reading"
	}
	if got != h[a.Position.Index] {
		t.Errorf("%s: applied is %v and the contents are not those of it", what, a.Position)
	}
	switch {
	case a.Position.Index < latest:
		return "older"
	case found:
		return "found by Check alone"
	}
	return "nothing"
}

// TestMissingFile holds that a table that is gone is named, and not taken for an older store.
func TestMissingFile(t *testing.T) {
	fs := vfs.NewMem()
	buildHistory(t, fs, 5)
	list, _ := fs.List("data/store")
	for _, name := range list {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		clone := vfs.NewMem()
		if _, err := vfs.Clone(fs, clone, "data", "data"); err != nil {
			t.Fatal(err)
		}
		if err := clone.Remove("data/store/" + name); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(clone, "data/store", testIdentity, Options{}); !errors.As(err, new(*Corruption)) || !strings.Contains(err.Error(), strings.TrimSuffix(name, ".sst")) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// TestCheckAndInspect holds that a whole store is found whole and described, and that each broken table is named.
func TestCheckAndInspect(t *testing.T) {
	fs := vfs.NewMem()
	buildHistory(t, fs, 5)
	if broken, err := Check(fs, "data/store"); len(broken) > 0 || err != nil {
		t.Errorf("a whole store: %v, %v", broken, err)
	}
	var out bytes.Buffer
	d := Dump{Records: true, Describe: map[byte]Describer{FamilyLease: func(key, _ []byte) string { return fmt.Sprintf("lease %q", key) }}}
	if err := Inspect(fs, "data/store", &out, d); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"cluster c1, member 3e", "index 15, term 1", `lease "l`, "versions         ", "history          0 records", `"vkey0"/`} {
		if !strings.Contains(out.String(), s) {
			t.Errorf("the description lacks %q:\n%s", s, out.String())
		}
	}
	if err := Inspect(fs, "data/store", failingWriter{}, d); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a writer that fails: %v", err)
	}

	var tables []string
	list, _ := fs.List("data/store")
	clone := vfs.FS(fs)
	for _, name := range list {
		if strings.HasSuffix(name, ".sst") {
			tables = append(tables, name)
			clone = flip(t, clone, name, 30, 1)
		}
	}
	broken, err := Check(clone, "data/store")
	if err != nil || len(broken) != len(tables) || len(tables) < 2 {
		t.Errorf("of %v these are found broken: %v, %v", tables, broken, err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
