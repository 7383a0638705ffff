package wal

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew; read the diff afterwards")

const testDir = "data/wal"

var (
	testID   = kind.Identity{Cluster: 0xc1, Member: 0xe2, Incarnation: 0x1234567890abcdef}
	smallLog = Options{SegmentBytes: 8192}
)

// entry makes an entry whose data is told from that of any other (index, term, n).
func entry(index, term uint64, n int) *pb.Entry {
	data := bytes.Repeat([]byte(fmt.Sprintf("%d/%d ", index, term)), n/4+1)[:n]
	e := newEntry(make([]byte, entryHead), data)
	*e.Index, *e.Term = index, term
	return e
}

func entriesOf(first, last, term uint64, n int) (out []*pb.Entry) {
	for i := first; i <= last; i++ {
		out = append(out, entry(i, term, n))
	}
	return out
}

func hard(term, vote, commit uint64) *pb.HardState {
	return state{term, vote, commit, true}.hardState()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, fs vfs.FS, o Options) {
	t.Helper()
	must(t, Create(fs, testDir, testID, kind.Position{}, o))
}

func open(t testing.TB, fs vfs.FS, applied kind.Position, o Options) *Log {
	t.Helper()
	l, err := Open(fs, testDir, testID, Witness{Applied: applied}, o)
	must(t, err)
	return l
}

func newLog(t testing.TB, fs vfs.FS, o Options) *Log {
	create(t, fs, o)
	return open(t, fs, kind.Position{}, o)
}

// all returns every entry of the log.
func all(t testing.TB, l *Log) []*pb.Entry {
	t.Helper()
	es, err := l.Entries(l.FirstIndex(), l.LastIndex()+1, 1<<40)
	must(t, err)
	return es
}

func sameEntry(a, b *pb.Entry) bool {
	return a.GetIndex() == b.GetIndex() && a.GetTerm() == b.GetTerm() && a.GetType() == b.GetType() && bytes.Equal(a.GetData(), b.GetData())
}

func sameEntries(t testing.TB, got, want []*pb.Entry) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i := range got {
		if !sameEntry(got[i], want[i]) {
			t.Fatalf("entry %v, want %v", got[i], want[i])
		}
	}
}

// copyFiles makes a new file system with the log's files of another, changed by change.
func copyFiles(t testing.TB, from vfs.FS, change func(name string, b []byte) []byte) *vfs.MemFS {
	t.Helper()
	to := vfs.NewMem()
	must(t, to.MkdirAll(testDir, 0o700))
	names, err := from.List(testDir)
	must(t, err)
	for _, name := range names {
		b := readFile(t, from, testDir+"/"+name)
		if change != nil {
			if b = change(name, b); b == nil {
				continue
			}
		}
		writeFile(t, to, testDir+"/"+name, b)
	}
	return to
}

func readFile(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	must(t, err)
	defer f.Close()
	info, err := f.Stat()
	must(t, err)
	b := make([]byte, info.Size())
	must(t, readFull(f, b, 0))
	return b
}

func writeFile(t testing.TB, fs vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Create(path, category)
	must(t, err)
	_, err = f.Write(b)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(got, want) {
		if len(got)+len(want) > 100_000 {
			t.Fatalf("%s differs (run the test with -rewrite and read the diff)", path)
		}
		t.Fatalf("%s differs (run the test with -rewrite and read the diff); got:\n%s", path, got)
	}
}
