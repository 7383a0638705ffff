package wal

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
)

// TestOpenMakesDurable holds that what Open gives out after a kill survives a power cut right after it, though the
// process before never synced it.
func TestOpenMakesDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	l := newLog(t, fs, smallLog)
	must(t, l.Append(entriesOf(1, 3, 1, 100), hard(1, 1, 1)))
	sameEntries(t, all(t, open(t, fs, kind.Position{}, smallLog)), entriesOf(1, 3, 1, 100))
	sameEntries(t, all(t, open(t, fs.CrashClone(vfs.CrashCloneCfg{}), kind.Position{}, smallLog)), entriesOf(1, 3, 1, 100))
}

// TestRemainsStayDead holds that an intact record of a torn group does not come back to life behind new records that
// fill exactly the place of the broken one.
func TestRemainsStayDead(t *testing.T) {
	fs := vfs.NewMem()
	l := newLog(t, fs, smallLog)
	must(t, l.Append(entriesOf(1, 3, 1, 100), nil))
	b, err := fs.UnsafeGetFileDataBuffer(l.tail.path)
	must(t, err)
	b[l.mu.slots[1].offset+recordHead+40] ^= 1 // entry 2 is torn, entry 3 is not
	l = open(t, fs, kind.Position{}, smallLog)
	sameEntries(t, all(t, l), entriesOf(1, 1, 1, 100))
	// Were the log to go on in its place, the mark of Open and this entry would end where entry 3 begins.
	second := entry(2, 1, 100-int(recordSize(0)))
	must(t, l.Append([]*pb.Entry{second}, nil))
	must(t, l.Sync())
	sameEntries(t, all(t, open(t, fs, kind.Position{}, smallLog)), []*pb.Entry{entry(1, 1, 100), second})
}
