package server

import (
	"bytes"
	"math"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
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
