package etcdfile

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
)

// logWriter writes a log as etcd does.
type logWriter struct {
	b   []byte
	crc uint32
}

func (w *logWriter) record(kind uint64, data []byte) {
	if kind != recordCRC {
		w.crc = crc32.Update(w.crc, crc32.MakeTable(crc32.Castagnoli), data)
	}
	r := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), kind)
	r = protowire.AppendVarint(protowire.AppendTag(r, 2, protowire.VarintType), uint64(w.crc))
	if data != nil {
		r = protowire.AppendBytes(protowire.AppendTag(r, 3, protowire.BytesType), data)
	}
	head, padding := uint64(len(r)), (8-len(r)%8)%8
	if padding != 0 {
		head |= uint64(0x80|padding) << 56
	}
	w.b = binary.LittleEndian.AppendUint64(w.b, head)
	w.b = append(append(w.b, r...), make([]byte, padding)...)
}

func (w *logWriter) entry(t *testing.T, index, term uint64, r *pb.InternalRaftRequest) {
	t.Helper()
	data, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	e, err := proto.Marshal(&raftpb.Entry{Type: raftpb.EntryNormal.Enum(), Index: &index, Term: &term, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	w.record(recordEntry, e)
}

func (w *logWriter) commit(t *testing.T, term, commit uint64) {
	t.Helper()
	s, err := proto.Marshal(&raftpb.HardState{Term: &term, Vote: new(uint64), Commit: &commit})
	if err != nil {
		t.Fatal(err)
	}
	w.record(recordState, s)
}

func (w *logWriter) read(t *testing.T, after uint64) (Log, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "member", "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "member", "wal", "0000000000000000-0000000000000000.wal"), w.b, 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadLog(dir, after)
}

func put(key string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte(key)}}
}

// TestReadLog: what was committed behind the backend comes out once, in order; what an overruled leader wrote, and what
// nobody was told of, does not.
func TestReadLog(t *testing.T) {
	var w logWriter
	w.record(recordCRC, nil)
	for i, key := range []string{"seen", "a", "overruled", "overruled too"} {
		w.entry(t, uint64(4+i), 2, put(key))
	}
	w.entry(t, 6, 3, put("b"))
	w.commit(t, 3, 6)
	w.entry(t, 7, 3, put("not acknowledged"))
	l, err := w.read(t, 4)
	if err != nil || len(l.Commands) != 2 || l.Uncommitted != 1 {
		t.Fatalf("%+v, %v", l, err)
	}
	for i, want := range []string{"a", "b"} {
		p, _, err := command.DecodePut(l.Commands[i].Payload)
		if err != nil || string(p.Key) != want || l.Commands[i].Kind != command.KindPut {
			t.Errorf("command %d: %v %q, %v", i, l.Commands[i].Kind, p.Key, err)
		}
	}
	if _, err := w.read(t, 2); !errors.Is(err, ErrLog) {
		t.Errorf("a log that begins behind the backend: %v", err)
	}
	w.commit(t, 3, 9)
	if _, err := w.read(t, 4); !errors.Is(err, ErrLog) {
		t.Errorf("a log that ends before its commit: %v", err)
	}
}

// FuzzReadLog: whatever the bytes are, they are read or refused.
func FuzzReadLog(f *testing.F) {
	var w logWriter
	w.record(recordCRC, nil)
	f.Add(w.b)
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "member", "wal"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "member", "wal", "0.wal"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadLog(dir, 0); err != nil && !errors.Is(err, ErrLog) {
			t.Error(err)
		}
		_, _, _ = commandOf(b)
		_, _ = decodeLease(b)
		_, _, _, _ = splitRevision(b)
	})
}
