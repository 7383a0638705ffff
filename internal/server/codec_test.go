package server

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/servertest"
)

// A frame is exactly the message, and a copy of its own.
func TestFrame(t *testing.T) {
	var c Codec
	first, second := []byte("hello "), []byte("world")
	var f frame
	if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(first), mem.SliceBuffer(second)}, &f); err != nil {
		t.Fatal(err)
	}
	first[0] = 'x'
	if string(f.data) != "hello world" || len(f.data) != cap(f.data) {
		t.Errorf("the frame is %q with capacity %d", f.data, cap(f.data))
	}
}

// Other messages are those of the protobuf library; what is no message is an error.
func TestOtherMessages(t *testing.T) {
	var c Codec
	sent := &pb.StatusResponse{Version: "3.7.3", Errors: []string{"a", "b"}}
	data, err := c.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	received := &pb.StatusResponse{}
	if err := c.Unmarshal(data, received); err != nil || !proto.Equal(sent, received) {
		t.Errorf("got %v, %v", received, err)
	}
	if _, err := c.Marshal("text"); err == nil {
		t.Error("a string was encoded")
	}
	if err := c.Unmarshal(data, new(int)); err == nil {
		t.Error("an int was decoded")
	}
}

// The hand-written header is what the protobuf library writes.
func TestHeaderBytes(t *testing.T) {
	for _, n := range []uint64{0, 1, 127, 128, math.MaxInt64, math.MaxUint64} {
		h := newHeader(fakeCluster, fakeMember)
		if n == 0 {
			h = newHeader(0, 0)
		}
		message := &pb.PutResponse{Header: &pb.ResponseHeader{
			ClusterId: uint64(h.cluster), MemberId: uint64(h.member), Revision: int64(n), RaftTerm: n}}
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		got := h.append(nil, int64(n), n)
		if !bytes.Equal(got, want) {
			t.Errorf("%d: got % x, want % x", n, got, want)
		}
		if len(got) > headerBytes {
			t.Errorf("a header has %d bytes, more than %d", len(got), headerBytes)
		}
	}
}

// A large answer is given back when the transport has let go of its last reference, a small one at once; both once.
func TestRelease(t *testing.T) {
	for _, size := range []int{0, 10, 1 << 20} {
		released := 0
		a := &answer{head: []byte("head"), body: make([]byte, size), release: func() { released++ }}
		buffers := a.buffers()
		if buffers.Len() != 4+size {
			t.Errorf("%d bytes came out as %d", 4+size, buffers.Len())
		}
		if size > 1000 {
			buffers.Ref()
			buffers.Free()
			if released != 0 {
				t.Errorf("%d bytes were given back while the transport still held them", size)
			}
		}
		buffers.Free()
		if released != 1 {
			t.Errorf("%d bytes were given back %d times", size, released)
		}
	}
}

// A large answer that the client does not read is given back when the call is cancelled, at the latest when the connection
// ends, so that clients that go away cannot use up the store's budget.
func TestReleaseWithoutAReader(t *testing.T) {
	ca := servertest.NewAuthority(t)
	_, secure := newSecured(t, ca, Options{}, false)
	for _, how := range []string{"cancel", "disconnect", "stop", "cancel over TLS", "disconnect over TLS", "stop over TLS"} {
		how, overTLS := strings.CutSuffix(how, " over TLS")
		released := make(chan struct{}, 2)
		handler := func(_ any, ctx context.Context, _ func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			return &answer{body: make([]byte, 8<<20), release: tie(ctx, func() { released <- struct{}{} })}, nil
		}
		g := grpc.NewServer(grpc.ForceServerCodecV2(new(Codec)), grpc.Creds(settled{}))
		g.RegisterService(&grpc.ServiceDesc{ServiceName: "a", HandlerType: (*any)(nil),
			Methods: []grpc.MethodDesc{{MethodName: "B", Handler: handler}}}, t)
		change, trust := func(*splitter) {}, insecure.NewCredentials()
		if overTLS {
			change = func(s *splitter) { s.secure, s.plain = secure, false }
			trust = credentials.NewTLS(ca.Client())
		}
		split, _ := splitting(t, 100, change)
		served := make(chan error, 1)
		go func() { served <- g.Serve(split.grpc) }()
		conn := dial(t, split.base.Addr().String(), grpc.WithTransportCredentials(trust))
		ctx, cancel := context.WithCancel(timeout(t))
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/a/B")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Header(); err != nil { // the answer has begun
			t.Fatal(err)
		}
		select {
		case <-released:
			t.Fatalf("%s: the answer was given back while the client had not read it", how)
		default:
		}
		switch how {
		case "cancel":
			cancel()
		case "disconnect":
			_ = conn.Close()
		case "stop":
			g.Stop()
		}
		select {
		case <-released:
		case <-time.After(10 * time.Second):
			// grpc-go drops a data frame without freeing it if the call ends between the frame's making and its queueing.
			// The connection's end is then what gives the answer back.
			if how == "cancel" {
				_ = conn.Close()
			}
			select {
			case <-released:
			case <-time.After(10 * time.Second):
				t.Errorf("%s: the answer was never given back", how)
			}
		}
		cancel()
		g.Stop()
		<-served
		if len(released) > 0 {
			t.Errorf("%s: the answer was given back twice", how)
		}
	}
}
