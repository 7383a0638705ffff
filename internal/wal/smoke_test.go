package wal

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
)

func TestSmoke(t *testing.T) {
	fs := vfs.NewMem()
	id := kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}
	o := Options{SegmentBytes: 8192}
	if err := Create(fs, "d/wal", id, kind.Position{}, o); err != nil {
		t.Fatal(err)
	}
	l, err := Open(fs, "d/wal", id, Witness{}, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i < 100; i++ {
		term := uint64(1)
		e := &pb.Entry{Term: &term, Index: &i, Data: make([]byte, 300)}
		if err := l.Append([]*pb.Entry{e}, &pb.HardState{Term: &term, Commit: &i}); err != nil {
			t.Fatal(err)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if i == 50 {
			if err := l.Truncate(40); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = Open(fs, "d/wal", id, Witness{Applied: kind.Position{Index: 60, Term: 1}}, o)
	if err != nil {
		t.Fatal(err)
	}
	es, err := l.Entries(50, 100, 1<<30)
	if err != nil || len(es) != 50 {
		t.Fatal(err, len(es))
	}
	t.Log(l.FirstIndex(), l.LastIndex(), l.HardState(), l.Bytes(), l.SizeSince(98), len(l.spares))
}
