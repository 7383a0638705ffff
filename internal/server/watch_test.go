package server

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/watch"
)

// openWatch opens a stream with one watcher.
func openWatch(t testing.TB, ctx context.Context, c *grpc.ClientConn) pb.Watch_WatchClient {
	t.Helper()
	s, err := pb.NewWatchClient(c).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchCreateRequest{Key: []byte("k")}
	if err := s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Recv(); err != nil || !r.Created || r.Header.GetRaftTerm() != 3 || r.Header.GetMemberId() != uint64(fakeMember) {
		t.Fatalf("a watch is answered %v, %v", r, err)
	}
	return s
}

// 13: a stream that wants a leader ends when there has been none for a while; one that does not stays.
func TestWatchWithoutLeader(t *testing.T) {
	f := newFakeNode(t)
	_, address := serve(t, f, Options{ElectionTimeout: 10 * time.Millisecond})
	c := dial(t, address)
	wants := openWatch(t, metadata.AppendToOutgoingContext(timeout(t), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader), c)
	stays := openWatch(t, timeout(t), c)
	f.set(func(f *fakeNode) { f.mu.status.Leader = 0 })
	if _, err := wants.Recv(); !sameStatus(err, rpctypes.ErrGRPCNoLeader) {
		t.Errorf("without a leader the stream ends with %v", err)
	}
	progress := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	if err := stays.Send(progress); err != nil {
		t.Fatal(err)
	}
	if r, err := stays.Recv(); err != nil || r.WatchId != -1 {
		t.Errorf("the other stream says %v, %v", r, err)
	}
	ctx := metadata.AppendToOutgoingContext(timeout(t), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	late, err := pb.NewWatchClient(c).Watch(ctx)
	if err == nil {
		_, err = late.Recv()
	}
	if !sameStatus(err, rpctypes.ErrGRPCNoLeader) {
		t.Errorf("a new stream ends with %v", err)
	}
}

func sameStatus(have, want error) bool {
	return status.Code(have) == status.Code(want) && status.Convert(have).Message() == status.Convert(want).Message()
}

// A member that stops ends the streams at once, with an error after which clients go on elsewhere.
func TestWatchEndsWithTheMember(t *testing.T) {
	s, address := serve(t, newFakeNode(t), Options{})
	stream := openWatch(t, timeout(t), dial(t, address))
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s.GracefulStop(ctx)
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ends with %v", err)
	}
}

// A client that opens streams without end is refused with a sentence, and so is one that opens watches without end.
func TestWatchLimits(t *testing.T) {
	f := newFakeNode(t)
	f.hub = watch.New(f.machine.KV(), watch.Options{StreamsPerClient: 2, WatchersPerStream: 2})
	_, address := serve(t, f, Options{})
	c := dial(t, address)
	stream := openWatch(t, timeout(t), c)
	openWatch(t, timeout(t), c)
	third, err := pb.NewWatchClient(c).Watch(timeout(t))
	if err == nil {
		_, err = third.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "too many watch streams are open on this connection") {
		t.Errorf("the third stream ends with %v", err)
	}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}}
	for i := range 2 {
		if err := stream.Send(create); err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil || r.Canceled != (i == 1) || i == 1 && !strings.Contains(r.CancelReason, "too many watches on this stream") {
			t.Errorf("watch %d is answered %v, %v", i+2, r, err)
		}
	}
}

// Streams leave no goroutine behind, however they end.
func TestWatchLeavesNoGoroutine(t *testing.T) {
	f := newFakeNode(t)
	_, address := serve(t, f, Options{})
	c := dial(t, address)
	openWatch(t, timeout(t), c)
	before := runtime.NumGoroutine()
	for i := range 100 {
		ctx, cancel := context.WithCancel(timeout(t))
		s := openWatch(t, ctx, c)
		if i%2 == 0 {
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if _, err := s.Recv(); err == nil {
			t.Fatal("a cancelled stream goes on")
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for runtime.NumGoroutine() > before+5 || f.hub.Counts().Streams != 1 {
		if time.Now().After(deadline) {
			t.Fatalf("there are %d goroutines, there were %d; %d streams", runtime.NumGoroutine(), before, f.hub.Counts().Streams)
		}
		runtime.Gosched()
	}
}

// A client that has closed its side is still told what happens.
func TestWatchHalfClosed(t *testing.T) {
	f := newFakeNode(t)
	_, address := serve(t, f, Options{WatchProgressInterval: 100 * time.Millisecond})
	s, err := pb.NewWatchClient(dial(t, address)).Watch(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchCreateRequest{Key: []byte("k"), ProgressNotify: true}
	if err := errors.Join(s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}), s.CloseSend()); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if r, err := s.Recv(); err != nil || r.Created != (i == 0) {
			t.Fatalf("response %d is %v, %v", i, r, err)
		}
	}
}

// What is sent is a WatchResponse in its wire encoding, whatever fields it has and however its events are divided.
func TestWatchSend(t *testing.T) {
	s := New(newFakeNode(t), Options{MaxRequestBytes: 1 << 10})
	event := func(n int) []byte {
		e := &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), Value: make([]byte, n)}}
		b, err := proto.Marshal(&pb.WatchResponse{Events: []*mvccpb.Event{e}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, sizes := range [][]int{nil, {1}, {5000}, {1, 2, 3}, {1, 5000, 2}, {5000, 5000}, {1, 5000}} {
		r := &watch.Response{WatchID: -7, Revision: 9, Created: true, Canceled: true, CompactRevision: 5, Reason: "because"}
		want := &pb.WatchResponse{Header: s.header.message(9, 3), WatchId: -7, Created: true, Canceled: true, CompactRevision: 5, CancelReason: "because"}
		for _, n := range sizes {
			r.Events = append(r.Events, event(n))
			r.Bytes += len(event(n))
			part := &pb.WatchResponse{}
			if err := proto.Unmarshal(event(n), part); err != nil {
				t.Fatal(err)
			}
			want.Events = append(want.Events, part.Events...)
		}
		sent := &sentMessages{codec: s.codec}
		if err := (&watchSender{s: s, stream: sent}).send(r); err != nil {
			t.Fatal(err)
		}
		if len(sent.responses) != 1 || !proto.Equal(sent.responses[0], want) {
			t.Errorf("%v is sent as %v, want %v", sizes, sent.responses, want)
		}
	}
	// A fragment ends before the event that would reach the limit; all but the last say so.
	r := &watch.Response{Fragment: true}
	for range 10 {
		r.Events = append(r.Events, event(100<<10))
		r.Bytes += len(event(100 << 10))
	}
	sent := &sentMessages{codec: s.codec}
	if err := (&watchSender{s: s, stream: sent}).send(r); err != nil {
		t.Fatal(err)
	}
	for i, m := range sent.responses {
		if len(m.Events) != 5 {
			t.Errorf("fragment %d has %d events", i, len(m.Events))
		}
		if proto.Size(m) >= 1<<10+grpcOverheadBytes || m.Fragment != (i < len(sent.responses)-1) {
			t.Errorf("fragment %d is %d bytes, fragment %v", i, proto.Size(m), m.Fragment)
		}
	}
	if len(sent.responses) != 2 {
		t.Errorf("there are %d fragments, want 2", len(sent.responses))
	}
}

// sentMessages is a stream that keeps what is sent.
type sentMessages struct {
	grpc.ServerStream
	codec     *Codec
	responses []*pb.WatchResponse
}

func (s *sentMessages) SendMsg(m any) error {
	data, err := s.codec.Marshal(m)
	if err != nil {
		return err
	}
	r := &pb.WatchResponse{}
	if err := proto.Unmarshal(data.Materialize(), r); err != nil {
		return err
	}
	s.responses = append(s.responses, r)
	return nil
}
