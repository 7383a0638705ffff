package snapshot

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
	"holdfast/internal/member"
	"holdfast/internal/store"
)

var rewrite = flag.Bool("rewrite", false, "write the golden file anew")

var (
	sender   = kind.Identity{Cluster: 9, Member: 1, Incarnation: 5}
	receiver = kind.Identity{Cluster: 9, Member: 2, Incarnation: 6}
	at       = kind.Position{Index: 77, Term: 3}
)

// fill makes a store of n records in every family, some of them flushed.
func fill(t *testing.T, n int) *store.DB {
	t.Helper()
	fs := vfs.NewMem()
	err := store.Create(fs, "s", sender, func(set func(key, value []byte)) error {
		set(store.AppliedKey(), store.EncodeApplied(store.Applied{Position: at, Revision: 40, MachineVersion: 1}))
		set(store.LocalKey("secret"), []byte("not to travel"))
		member.WriteConfState(set, &raftpb.ConfState{Voters: []uint64{1, 2}})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(fs, "s", sender, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(false) })
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		family := []byte{store.FamilyVersion, store.FamilyHistory, store.FamilyLease, store.FamilyAuth, store.FamilyAlarm}[i%5]
		value := bytes.Repeat([]byte{byte(i)}, random.IntN(600))
		if err := db.Set(store.AppendKey(nil, family, fmt.Sprintf("key %07d", i)), value, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if i == n/2 {
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return db
}

// content is all that a store holds and that travels.
func content(t *testing.T, db *store.DB) string {
	t.Helper()
	var b strings.Builder
	if err := db.Visit(nil, nil, func(key, value []byte) error {
		if !store.IsLocal(key) {
			fmt.Fprintf(&b, "%x=%x\n", key, value)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func source(t *testing.T, db *store.DB, chunk int) *Source {
	t.Helper()
	s, err := Open(db, 4711)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	s.chunk = chunk
	return s
}

func chunks(t *testing.T, s *Source) (all [][]byte) {
	t.Helper()
	for n := uint64(0); ; n++ {
		c, err := s.Chunk(n)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes.Clone(c))
	}
}

func builder(fs vfs.FS, reserve uint64) *Builder {
	_ = fs.MkdirAll("new", 0o700)
	return NewBuilder(fs, "new", receiver, Expected{4711, 9, at}, BuilderOptions{TableBytes: 20_000, Reserve: reserve})
}

// What a store holds arrives whole, whatever is written to the sender meanwhile, in several tables, without what concerns
// one member alone; the new store is the receiver's, stands where the view stood, and bears the mark (Z1, Z3, Z5).
func TestFromStoreToStore(t *testing.T) {
	db := fill(t, 3000)
	want := content(t, db)
	s := source(t, db, 4096)
	for i := range 3000 {
		if err := db.Set(store.AppendKey(nil, store.FamilyVersion, fmt.Sprintf("key %07d", i)), []byte("later"), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	fs := vfs.NewMem()
	b := builder(fs, 0)
	for _, c := range chunks(t, s) {
		if err := b.Write(b.Next(), c); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.tables) < 5 {
		t.Errorf("only %d tables were made", len(b.tables))
	}
	if _, err := store.Open(fs, "new", receiver, store.Options{}); !errors.Is(err, store.ErrAbsent) {
		t.Errorf("before Finish: %v", err)
	}
	if err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	made, err := store.Open(fs, "new", receiver, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close(false)
	if got := content(t, made); got != want {
		t.Errorf("%d bytes arrived of %d", len(got), len(want))
	}
	a, err := made.Applied()
	if adopted, err2 := made.Adopted(); err != nil || err2 != nil || a.Position != at || !adopted || made.Identity != receiver {
		t.Errorf("the new store is %v's at %v, adopted %v; %v, %v", made.Identity, a.Position, adopted, err, err2)
	}
	if _, err := fs.Stat(fs.PathJoin("new", incoming)); err == nil {
		t.Error("what it was assembled of is left")
	}
	if err := made.ForgetAdoption(); err != nil {
		t.Fatal(err)
	}
	if adopted, err := made.Adopted(); adopted || err != nil {
		t.Errorf("the mark is still there, %v", err)
	}
}

// Chunks may be asked for in any order, and are the same each time, although a Source remembers few of their beginnings
// (Z2).
func TestChunksAgain(t *testing.T) {
	s := source(t, fill(t, 6000), 256)
	all := chunks(t, s)
	if len(all) < 2*maxStarts || len(s.mu.starts) > maxStarts {
		t.Fatalf("%d chunks, %d beginnings", len(all), len(s.mu.starts))
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		n := random.Uint64N(uint64(len(all)))
		if c, err := s.Chunk(n); err != nil || !bytes.Equal(c, all[n]) {
			t.Fatalf("chunk %d is another than before, %v", n, err)
		}
	}
	if _, err := s.Chunk(uint64(len(all))); err != io.EOF {
		t.Errorf("behind the last: %v", err)
	}
	// A fresh Source of the same store has the same chunks, also when the first one asked for is in the middle.
	fresh := source(t, s.mu.db, 256)
	if c, err := fresh.Chunk(500); err != nil || !bytes.Equal(c, all[500]) {
		t.Errorf("a fresh source has another chunk 500, %v", err)
	}
	if _, err := fresh.Chunk(uint64(len(all)) + 5); err != io.EOF {
		t.Errorf("far behind the last: %v", err)
	}
	if err := fresh.Close(); err != nil {
		t.Error(err)
	}
	if _, err := fresh.Chunk(1); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// Whatever bit flips, and whatever is left out, doubled or swapped, is found (Z4).
func TestBrokenChunks(t *testing.T) {
	all := chunks(t, source(t, fill(t, 60), 2000))
	feed := func(all [][]byte) error {
		b := builder(vfs.NewMem(), 0)
		defer b.Abandon()
		for n, c := range all {
			if err := b.Write(uint64(n), c); err != nil {
				return err
			}
		}
		return b.Finish()
	}
	if err := feed(all); err != nil {
		t.Fatal(err)
	}
	for n, c := range all {
		for i := 0; i < len(c); i += 1 + i/8 {
			broken := append([][]byte(nil), all...)
			broken[n] = bytes.Clone(c)
			broken[n][i] ^= 4
			if err := feed(broken); !errors.Is(err, ErrChunk) && !errors.Is(err, ErrNewer) {
				t.Fatalf("chunk %d with a bit flipped at %d: %v", n, i, err)
			}
		}
		if err := feed(append(append([][]byte(nil), all[:n]...), all[n+1:]...)); !errors.Is(err, ErrChunk) {
			t.Errorf("without chunk %d: %v", n, err)
		}
	}
	// With numbers and checksums that fit: a chunk less, the records of one twice, another order.
	renumber := func(order ...int) error {
		var made [][]byte
		for n, i := range order {
			made = append(made, sealChunk(bytes.Clone(all[i]), all[i][5], uint64(n)))
		}
		return feed(made)
	}
	last := len(all) - 1
	for _, order := range [][]int{{0, 1, last}, {0, 1, 1, last}, {0, 2, 1, last}, {0, last}, {last}, {1, 2}, {0, 0, last}} {
		if err := renumber(order...); !errors.Is(err, ErrChunk) {
			t.Errorf("chunks %v: %v", order, err)
		}
	}
}

// A snapshot that is another than the announced one, or too large for the disk, is refused before anything is written.
func TestRefusedAtTheHead(t *testing.T) {
	all := chunks(t, source(t, fill(t, 10), 2000))
	fs := vfs.NewMem()
	b := NewBuilder(fs, "new", receiver, Expected{4711, 9, kind.Position{Index: 78, Term: 3}}, BuilderOptions{})
	if err := b.Write(0, all[0]); !errors.Is(err, ErrOther) {
		t.Errorf("another position: %v", err)
	}
	if err := b.Write(0, all[0]); !errors.Is(err, ErrOther) {
		t.Errorf("used again: %v", err)
	}
	full := roomy{fs, 1000}
	b = builder(full, 900)
	if err := b.Write(0, all[0]); !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "only 1000 are") {
		t.Errorf("a full disk: %v", err)
	}
	newer := bytes.Clone(all[0])
	newer[headLen+51]++ // the store format
	if err := builder(fs, 0).Write(0, sealChunk(newer, kindHead, 0)); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer store: %v", err)
	}
	if names, err := fs.List("new"); err != nil || len(names) != 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

// roomy is a disk that knows its free space.
type roomy struct {
	vfs.FS
	free uint64
}

func (r roomy) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: r.free}, nil
}

// The format is frozen: what one version sends another reads.
func TestGolden(t *testing.T) {
	h := Header{ID: 1, Cluster: 2, Position: kind.Position{Index: 3, Term: 4}, Revision: 5, Bytes: 6, StoreFormat: 1, MachineVersion: 7}
	var sum totals
	var text strings.Builder
	note := func(c []byte) {
		sum.chain(c[headLen:])
		fmt.Fprintln(&text, hex.EncodeToString(c))
	}
	note(sealChunk(appendHeader(beginChunk(nil), h), kindHead, 0))
	records := appendRecord(beginChunk(nil), nil, []byte("m\x00"), []byte("one"))
	records = appendRecord(records, []byte("m\x00"), []byte("man\x00"), nil)
	note(sealChunk(appendRecord(records, []byte("man\x00"), []byte("z\x00"), bytes.Repeat([]byte("v"), 130)), kindRecords, 1))
	sum.records, sum.bytes = 3, 2+3+4+2+130
	total := sum
	note(sealChunk(appendEnd(beginChunk(nil), total), kindEnd, 2))
	path := filepath.Join("testdata", "chunks-v1.hex")
	if *rewrite {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != text.String() {
		t.Fatalf("written as\n%s%v", text.String(), err)
	}
	var lines []string
	for n, line := range strings.Fields(string(want)) {
		c, _ := hex.DecodeString(line)
		what, payload, err := openChunk(c, uint64(n))
		if err != nil {
			t.Fatal(err)
		}
		switch what {
		case kindHead:
			got, err := decodeHeader(payload)
			if err != nil || got != h {
				t.Errorf("read as %+v, %v", got, err)
			}
		case kindRecords:
			err = eachRecord(payload, func(key, value []byte) error {
				lines = append(lines, fmt.Sprintf("%q %d", key, len(value)))
				return nil
			})
			if got := strings.Join(lines, ", "); err != nil || got != `"m\x00" 3, "man\x00" 0, "z\x00" 130` {
				t.Errorf("read as %s, %v", got, err)
			}
		case kindEnd:
			if got, err := decodeEnd(payload); err != nil || got != total {
				t.Errorf("read as %+v, %v", got, err)
			}
		}
	}
}

// Hostile bytes are refused, never believed: whatever a chunk says, a Builder takes it or gives an error.
func FuzzBuilder(f *testing.F) {
	h := Header{ID: 4711, Cluster: 9, Position: at, StoreFormat: 1}
	f.Add(appendRecord(nil, nil, []byte("m\x00"), []byte("one")), appendEnd(nil, totals{1, 5, 7}))
	f.Add(appendRecord(appendRecord(nil, nil, []byte("va\x00"), nil), []byte("va\x00"), []byte("vb\x00"), []byte("v")), []byte{1})
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0}, []byte(nil))
	f.Fuzz(func(t *testing.T, records, end []byte) {
		b := builder(vfs.NewMem(), 0)
		defer b.Abandon()
		if err := b.Write(0, sealChunk(appendHeader(beginChunk(nil), h), kindHead, 0)); err != nil {
			t.Fatal(err)
		}
		if err := b.Write(1, sealChunk(append(beginChunk(nil), records...), kindRecords, 1)); err != nil {
			return
		}
		if err := b.Write(2, sealChunk(append(beginChunk(nil), end...), kindEnd, 2)); err != nil {
			return
		}
		_ = b.Finish()
	})
}

// FuzzOpenChunk reads what stands before a payload.
func FuzzOpenChunk(f *testing.F) {
	f.Add(sealChunk(appendEnd(beginChunk(nil), totals{1, 2, 3}), kindEnd, 0))
	f.Add([]byte("HSNP\x02"))
	f.Fuzz(func(t *testing.T, c []byte) {
		what, payload, err := openChunk(c, 0)
		if err == nil && !bytes.Equal(sealChunk(append(beginChunk(nil), payload...), what, 0), c) {
			t.Errorf("%x is written anew as something else", c)
		}
	})
}
