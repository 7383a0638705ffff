package holdfast

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"holdfast/internal/command"
	"holdfast/internal/etcdfile"
	"holdfast/internal/server"
)

// snapshotter makes snapshots in etcd's format, one at a time: each needs the disk space of the whole store, twice while it
// is made.
type snapshotter struct {
	m    *Member
	fs   vfs.FS
	dir  string
	turn chan struct{} // holds a token while nobody makes one or reads one
}

// snapshots returns what makes snapshots; nil if the member's files are not on a disk.
func (m *Member) snapshots() func(context.Context) (server.SnapshotFile, error) {
	if m.fs != vfs.Default {
		return nil
	}
	s := &snapshotter{m: m, fs: m.fs, dir: m.below.Dir().ScratchDir(), turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s.take
}

// errNoRoom is why a snapshot is not begun.
var errNoRoom = errors.New("there is too little room on the disk to make a snapshot")

// take makes a snapshot. It waits for the one before to be closed.
func (s *snapshotter) take(ctx context.Context) (server.SnapshotFile, error) {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := s.make(ctx)
	if err != nil {
		s.turn <- struct{}{}
		return nil, err
	}
	return &turnedFile{f, s.turn}, nil
}

func (s *snapshotter) make(ctx context.Context) (*etcdfile.Snapshot, error) {
	if err := s.checkRoom(); err != nil {
		return nil, err
	}
	view, err := s.m.node.KV().View()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.m.config.ViewMaxAge)
	defer cancel()
	var alarms []*pb.AlarmMember
	for _, a := range s.m.node.Alarms() {
		t := pb.AlarmType_NOSPACE
		if a.Type == command.AlarmCorrupt {
			t = pb.AlarmType_CORRUPT
		}
		alarms = append(alarms, &pb.AlarmMember{MemberID: uint64(a.Member), Alarm: t})
	}
	return etcdfile.Export(ctx, etcdfile.ExportConfig{
		View:           view,
		Dir:            filepath.Join(s.dir, "snapshot"),
		ClusterVersion: server.ClusterVersion,
		StorageVersion: server.StorageVersion,
		Alarms:         alarms,
	})
}

// checkRoom refuses a snapshot that could fill the disk: the rows in order, and the file, are each about as large as the
// live data, and the file has pages that are not full.
func (s *snapshotter) checkRoom() error {
	usage, err := s.fs.GetDiskUsage(s.m.below.Dir().Path())
	if err != nil {
		return fmt.Errorf("ask for the free space: %w", err)
	}
	disk, live := s.m.node.Sizes()
	need := uint64(max(disk, live))*3 + uint64(s.m.config.MinFreeBytes)
	if usage.AvailBytes < need {
		return fmt.Errorf("%w: it may take %d bytes, and %d are free", errNoRoom, need, usage.AvailBytes)
	}
	return nil
}

// turnedFile lets the next in when it is closed.
type turnedFile struct {
	*etcdfile.Snapshot
	turn chan struct{}
}

// Close removes the snapshot.
func (f *turnedFile) Close() error {
	err := f.Snapshot.Close()
	f.turn <- struct{}{}
	return err
}
