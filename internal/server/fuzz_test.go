package server

import (
	"bytes"
	"context"
	"io"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
	"holdfast/internal/machine"
)

// fuzzStream is the server's side of a stream that brings one request.
type fuzzStream struct {
	grpc.ServerStream
	request []byte
	codec   *Codec
}

func (f *fuzzStream) Context() context.Context { return context.Background() }

func (f *fuzzStream) RecvMsg(m any) error {
	if f.request == nil {
		return io.EOF
	}
	m.(*frame).data = f.request
	f.request = nil
	return nil
}

func (f *fuzzStream) SendMsg(m any) error {
	data, err := f.codec.Marshal(m)
	if err == nil {
		err = proto.Unmarshal(data.Materialize(), new(pb.RangeStreamResponse))
		data.Free()
	}
	return err
}

// FuzzKVRequest gives arbitrary bytes to every method of the KV service. None of them may panic or answer with an
// error that has no code, and what goes into the log must decode.
func FuzzKVRequest(f *testing.F) {
	for _, m := range []proto.Message{
		&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte{0}, Limit: 3, Revision: -1, SortOrder: 2, SortTarget: 4, MinModRevision: 1},
		&pb.PutRequest{Key: []byte("a"), Value: bytes.Repeat([]byte("v"), 300), Lease: 7, PrevKv: true},
		&pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), PrevKv: true},
		&pb.TxnRequest{
			Compare: []*pb.Compare{{Key: []byte("c"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: 3}, RangeEnd: []byte("d")}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{
				Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k")}}}}}}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("r")}}}},
		},
		&pb.CompactionRequest{Revision: 3, Physical: true},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, 0xa8, 0x06, 1)) // a field that nobody knows
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte{})
	f.Add([]byte{0x0b, 0x0b, 0x0b, 0x0c})
	n := newFakeNode(f)
	n.propose = func(_ context.Context, c command.Command) (machine.Reply, error) {
		var known bool
		var err error
		switch c.Kind {
		case command.KindPut:
			_, known, err = command.DecodePut(c.Payload)
		case command.KindDelete:
			_, known, err = command.DecodeDeleteRange(c.Payload)
		case command.KindTxn:
			_, known, err = command.DecodeTxn(c.Payload)
		case command.KindCompact:
			_, known, err = command.DecodeCompaction(c.Payload)
		}
		if err != nil || !known {
			panic("a payload that is not understood goes into the log")
		}
		return machine.Reply{Revision: 2}, nil
	}
	s := New(n, Options{})
	f.Fuzz(func(t *testing.T, request []byte) {
		for name, h := range map[string]rawHandler{"Range": s.rangeKeys, "Put": s.put, "DeleteRange": s.deleteRange, "Txn": s.txn, "Compact": s.compact} {
			a, err := h(context.Background(), bytes.Clone(request))
			if err == nil {
				b, err := s.codec.Marshal(a)
				if err != nil {
					t.Fatal(err)
				}
				b.Free()
			} else if _, ok := status.FromError(err); !ok {
				t.Errorf("%s answers %v, which has no code", name, err)
			}
			describe(name, request)
		}
		if err := s.rangeStream(nil, &fuzzStream{request: append([]byte{}, request...), codec: s.codec}); err != nil {
			if _, ok := status.FromError(err); !ok {
				t.Errorf("RangeStream answers %v, which has no code", err)
			}
		}
	})
}
