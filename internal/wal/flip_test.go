package wal

import (
	"errors"
	"strings"
	"testing"

	"holdfast/internal/kind"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// idleLog is a log of three segments, the last two recycled or fresh, marked after its last sync.
func idleLog(t testing.TB, recycled bool) (fs *vfs.MemFS, want content, l *Log) {
	fs = vfs.NewMem()
	l = newLog(t, fs, smallLog)
	first := uint64(1)
	add := func(n uint64) {
		for range n {
			must(t, l.Append(entriesOf(first, first, 3, 700), hard(3, 1, first)))
			must(t, l.Sync())
			first++
		}
	}
	add(8)
	if recycled {
		add(8)
		must(t, l.Truncate(14))
		must(t, l.PrepareSpare())
	}
	add(5)
	must(t, l.Mark())
	want = content{start: kind.Position{}, entries: all(t, l), state: stateOf(l.HardState())}
	if recycled {
		want.start = kind.Position{Index: 14, Term: 3}
	}
	if last := l.mu.segments[len(l.mu.segments)-1]; last.recycled != recycled {
		t.Fatal("the last segment is not of the kind that the test is for")
	}
	return fs, want, l
}

// TestEveryFlippedByte holds W1 for damage: whichever byte of an idle log is flipped, Open names the file and the place,
// or all that was synced is there because the byte meant nothing.
func TestEveryFlippedByte(t *testing.T) {
	for _, recycled := range []bool{false, true} {
		fs, want, l := idleLog(t, recycled)
		applied := want.start
		for i, s := range l.mu.segments {
			live := l.dataEnd // bytes below mean something
			if i+1 < len(l.mu.segments) {
				live = l.mu.segments[i+1].previous
			}
			name := segmentName(s.sequence)
			for at := int64(0); at < s.size; at++ {
				if testing.Short() && at%13 != 0 {
					continue
				}
				flip := byte(1) << (at % 8)
				damaged := copyFiles(t, fs, func(n string, b []byte) []byte {
					if n == name {
						b[at] ^= flip
					}
					return b
				})
				warned := false
				o := smallLog
				o.Logf = func(string, ...any) { warned = true }
				got, err := Open(damaged, testDir, testID, Witness{Applied: applied}, o)
				var c *Corruption
				switch {
				case at < live && (!errors.As(err, &c) || c.File != s.path || c.Offset > at || at-c.Offset > headerSize):
					t.Fatalf("%s: byte %d of %d was flipped, and Open says: %v", name, at, live, err)
				case at >= live && err != nil:
					t.Fatalf("%s: byte %d behind the end at %d was flipped, and Open says: %v", name, at, live, err)
				case err == nil:
					if why := want.differs(got, all(t, got), applied); why != "" {
						t.Fatalf("%s: byte %d was flipped: %s", name, at, why)
					}
					if last := i == len(l.mu.segments)-1; last && !recycled && !warned {
						t.Fatalf("%s: byte %d was flipped behind the end, and nobody was warned", name, at)
					}
					must(t, got.Close())
				}
			}
		}
	}
}

// TestWitnesses holds what stops the member (I4, I6): a log that ends before what others know of it.
func TestWitnesses(t *testing.T) {
	fs, want, l := idleLog(t, false)
	last := want.last()
	name := segmentName(l.tail.sequence)
	opens := func(w Witness, change func(name string, b []byte) []byte) error {
		got, err := Open(copyFiles(t, fs, change), testDir, testID, w, smallLog)
		if err == nil {
			must(t, got.Close())
		}
		return err
	}
	corrupt := func(err error, words string) {
		t.Helper()
		var c *Corruption
		if !errors.As(err, &c) || !strings.Contains(err.Error(), words) {
			t.Fatalf("Open says %v, and not that %q", err, words)
		}
	}
	must(t, opens(Witness{Applied: last}, nil))
	corrupt(opens(Witness{Applied: kind.Position{Index: last.Index + 1, Term: 3}}, nil), "entries that were synced are lost")
	corrupt(opens(Witness{Applied: kind.Position{Index: last.Index, Term: 2}}, nil), "do not belong together")

	// The end of the log is gone, every trace of it: only the store knows.
	zeroed := func(n string, b []byte) []byte {
		if n == name {
			clear(b[headerSize:])
		}
		return b
	}
	must(t, opens(Witness{Applied: l.tail.start}, zeroed))
	corrupt(opens(Witness{Applied: last}, zeroed), "entries that were synced are lost")
	// A file is gone.
	without := func(gone string) func(string, []byte) []byte {
		return func(n string, b []byte) []byte {
			if n == gone {
				return nil
			}
			return b
		}
	}
	corrupt(opens(Witness{Applied: last}, without(name)), "entries that were synced are lost")
	corrupt(opens(Witness{Applied: kind.Position{}}, without(segmentName(1))), "the entries between are missing")
	// A file is short.
	corrupt(opens(Witness{}, func(n string, b []byte) []byte {
		if n == name {
			return b[:len(b)-1]
		}
		return b
	}), "the file ends here")
	// A file is under another name.
	corrupt(opens(Witness{}, func(n string, b []byte) []byte {
		if n == name {
			return readFile(t, fs, testDir+"/"+segmentName(1))
		}
		return b
	}), "under another name")
	if _, err := Open(fs, testDir, kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}, Witness{}, smallLog); !errors.Is(err, ErrIdentity) {
		t.Fatal(err)
	}
	if _, err := Open(fs, "elsewhere", testID, Witness{}, smallLog); !errors.Is(err, ErrNoLog) {
		t.Fatal(err)
	}
	if err := Create(fs, testDir, testID, kind.Position{}, smallLog); !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
}

// TestMissingMiddle holds W4: a gap between segments is damage that names the missing file.
func TestMissingMiddle(t *testing.T) {
	fs := vfs.NewMem()
	l := newLog(t, fs, smallLog)
	for i := uint64(1); l.tail.sequence < 3; i++ {
		must(t, l.Append(entriesOf(i, i, 1, 1500), nil))
	}
	must(t, l.Close())
	must(t, fs.Remove(testDir+"/"+segmentName(2)))
	_, err := Open(fs, testDir, testID, Witness{}, smallLog)
	var c *Corruption
	if !errors.As(err, &c) || c.File != testDir+"/"+segmentName(2) {
		t.Fatal(err)
	}
}

// TestAdopted holds that a Reset which a crash prevented is made up for, and only if it is needed.
func TestAdopted(t *testing.T) {
	_, want, _ := idleLog(t, false)
	for _, c := range []struct {
		applied kind.Position
		reset   bool
	}{
		{kind.Position{Index: 100, Term: 9}, true},
		{kind.Position{Index: 5, Term: 4}, true},
		{kind.Position{Index: 5, Term: 3}, false},
	} {
		fs, _, _ := idleLog(t, false)
		l, err := Open(fs, testDir, testID, Witness{c.applied, true}, smallLog)
		must(t, err)
		if c.reset && (l.LastIndex() != c.applied.Index || l.FirstIndex() != c.applied.Index+1) {
			t.Fatalf("%v: the log holds %d to %d", c, l.FirstIndex(), l.LastIndex())
		}
		if !c.reset {
			sameEntries(t, all(t, l), want.entries)
		}
		if term, err := l.Term(c.applied.Index); err != nil || term != c.applied.Term {
			t.Fatal(term, err)
		}
		must(t, l.Close())
		must(t, open(t, fs, c.applied, smallLog).Close())
	}
}
