package server

import (
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// A member whose state is wrong refuses every method that reads or writes it, with etcd's words, and ends the streams that
// are open; what an operator needs is served, and so is the repair. One that is well has nothing to repair.
func TestRefusing(t *testing.T) {
	f := newFakeNode(t).execute()
	s, address := serve(t, f, Options{})
	c := dial(t, address)
	watch, err := pb.NewWatchClient(c).Watch(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("a")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	repair := func() (*emptypb.Empty, error) {
		var r emptypb.Empty
		err := c.Invoke(timeout(t), "/holdfast.v1.Cluster/Repair", &emptypb.Empty{}, &r)
		return &r, err
	}
	if _, err := repair(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "nothing to repair") {
		t.Errorf("a repair of what is well: %v", err)
	}

	close(f.refusing)
	if _, err := watch.Recv(); status.Code(err) != codes.DataLoss {
		t.Errorf("an open watch ends with %v", err)
	}
	refused := 0
	for _, m := range s.methods {
		if !readsOrWrites(m.full) {
			continue
		}
		refused++
		var err error
		if m.kind == "unary" {
			err = c.Invoke(timeout(t), m.full, &emptypb.Empty{}, &emptypb.Empty{})
		} else {
			var stream grpc.ClientStream
			if stream, err = c.NewStream(timeout(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, m.full); err == nil {
				err = stream.RecvMsg(&emptypb.Empty{})
			}
		}
		if status.Code(err) != codes.DataLoss || status.Convert(err).Message() != "etcdserver: corrupt cluster" {
			t.Errorf("%s answers %v", m.full, err)
		}
	}
	if refused != 6+1+5+17+2+5+1 {
		t.Errorf("%d methods read or write", refused)
	}
	if _, err := pb.NewMaintenanceClient(c).Status(timeout(t), &pb.StatusRequest{}); err != nil {
		t.Errorf("Status: %v", err)
	}
	if _, err := pb.NewMaintenanceClient(c).Alarm(timeout(t), &pb.AlarmRequest{}); err != nil {
		t.Errorf("Alarm: %v", err)
	}
	if _, err := pb.NewMaintenanceClient(c).HashKV(timeout(t), &pb.HashKVRequest{}); err != nil {
		t.Errorf("HashKV: %v", err)
	}
	r, err := repair()
	if err != nil {
		t.Fatal(err)
	}
	got := map[protowire.Number]any{}
	if err := eachField(r.ProtoReflect().GetUnknown(), func(n protowire.Number, v uint64, b []byte) {
		if got[n] = v; b != nil {
			got[n] = string(b)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got[2] != "it differs" || got[3] != uint64(9) || got[4] != uint64(8) || got[5] != uint64(7) || got[1] == nil {
		t.Errorf("the answer is %v", got)
	}
	err = c.Invoke(timeout(t), "/holdfast.v1.Cluster/Repair", &pb.StatusResponse{Version: "x"}, &emptypb.Empty{})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("a request with fields: %v", err)
	}
}
