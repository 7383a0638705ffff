package server

import (
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// SnapshotFile is a snapshot in etcd's format: a file and its SHA-256 behind it. Read never returns parts of both.
type SnapshotFile interface {
	io.ReadCloser
	// Remaining is how many bytes of the file, without the checksum, have not been read.
	Remaining() int64
}

// snapshotBytes is how much of a snapshot one message carries.
const snapshotBytes = 128 << 10

// Snapshot streams the store as a file that etcd's tools check and restore. It is made whole before its first byte is
// sent, so that remaining_bytes is known and a client that reads slowly holds nothing but that file.
func (m *maintenanceServer) Snapshot(_ *pb.SnapshotRequest, stream grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	if m.s.o.Snapshot == nil {
		return status.Error(codes.Unimplemented, "this member keeps its files in memory and makes no snapshots")
	}
	ctx := stream.Context()
	f, err := m.s.o.Snapshot(ctx)
	if err != nil {
		return m.s.readFailed(err)
	}
	defer func() { _ = f.Close() }()
	buffer := make([]byte, snapshotBytes)
	for {
		n, err := f.Read(buffer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return status.Errorf(codes.Internal, "%v", err)
		}
		// The transport encodes the message before Send returns, so the buffer may be used again.
		if err := stream.Send(&pb.SnapshotResponse{RemainingBytes: uint64(f.Remaining()), Blob: buffer[:n], Version: StorageVersion}); err != nil {
			return err
		}
		select {
		case <-m.s.stopping:
			return status.Error(codes.Unavailable, "etcdserver: server stopped")
		case <-m.s.node.Refusing():
			return rpctypes.ErrGRPCCorrupt
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		default:
		}
	}
}
