package wal

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
)

// BenchmarkAppendSync appends and syncs groups of 4 KiB on the disk of the temporary directory.
func BenchmarkAppendSync(b *testing.B) {
	dir := b.TempDir() + "/wal"
	must(b, Create(vfs.Default, dir, testID, kind.Position{}, Options{}))
	l, err := Open(vfs.Default, dir, testID, Witness{}, Options{})
	must(b, err)
	defer l.Close()
	e := entry(0, 1, 4000)
	group := make([]*pb.Entry, 1)
	for i := uint64(1); b.Loop(); i++ {
		group[0] = newEntry(make([]byte, entryHead), e.Data)
		*group[0].Index, *group[0].Term = i, 1
		must(b, l.Append(group, nil))
		must(b, l.Sync())
		if i%4000 == 0 {
			must(b, l.Truncate(kind.Index(i-100)))
		}
	}
}

// BenchmarkRawSync is the floor of the above: 4 KiB into a written file, and fdatasync.
func BenchmarkRawSync(b *testing.B) {
	const size = 16 << 20
	f, err := vfs.Default.OpenReadWrite(b.TempDir()+"/raw", category)
	must(b, err)
	defer f.Close()
	must(b, fill(f, 0, size))
	must(b, f.SyncData())
	block := make([]byte, 4096)
	for i := int64(0); b.Loop(); i++ {
		_, err := f.WriteAt(block, i*4096%size)
		must(b, err)
		must(b, f.SyncData())
	}
}
