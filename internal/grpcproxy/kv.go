package grpcproxy

import (
	"bytes"
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// kvServer serves keys through the client library, for what that library does with them: namespace, leasing, ordering.
type kvServer struct {
	pb.UnimplementedKVServer
	p *Proxy
}

// Range reads keys.
func (s *kvServer) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	resp, err := s.p.kv.Do(outgoing(ctx), rangeOp(r))
	if err != nil {
		return nil, asStatus(err)
	}
	return (*pb.RangeResponse)(resp.Get()), nil
}

// Put writes a key.
func (s *kvServer) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	resp, err := s.p.kv.Do(outgoing(ctx), putOp(r))
	if err != nil {
		return nil, asStatus(err)
	}
	return (*pb.PutResponse)(resp.Put()), nil
}

// DeleteRange deletes keys.
func (s *kvServer) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	resp, err := s.p.kv.Do(outgoing(ctx), deleteOp(r))
	if err != nil {
		return nil, asStatus(err)
	}
	return (*pb.DeleteRangeResponse)(resp.Del()), nil
}

// Txn executes a transaction.
func (s *kvServer) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	op := txnOp(r)
	compares, then, otherwise := op.Txn()
	resp, err := s.p.kv.Txn(outgoing(ctx)).If(compares...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		return nil, asStatus(err)
	}
	return (*pb.TxnResponse)(resp), nil
}

// Compact forgets history.
func (s *kvServer) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	var opts []clientv3.CompactOption
	if r.Physical {
		opts = append(opts, clientv3.WithCompactPhysical())
	}
	resp, err := s.p.kv.Compact(outgoing(ctx), r.Revision, opts...)
	if err != nil {
		return nil, asStatus(err)
	}
	return (*pb.CompactionResponse)(resp), nil
}

// RangeStream reads keys in pieces. The client library has no form of it, so the namespace is put on and taken off here.
func (s *kvServer) RangeStream(r *pb.RangeRequest, stream grpc.ServerStreamingServer[pb.RangeStreamResponse]) error {
	prefix := []byte(s.p.o.Namespace)
	r = proto.CloneOf(r)
	if len(prefix) > 0 && len(r.Key) > 0 {
		r.Key, r.RangeEnd = within(prefix, r.Key, r.RangeEnd)
	}
	in, err := pb.NewKVClient(s.p.client.ActiveConnection()).RangeStream(outgoing(stream.Context()), r)
	if err != nil {
		return asStatus(err)
	}
	for {
		piece, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return asStatus(err)
		}
		for _, kv := range piece.GetRangeResponse().GetKvs() {
			kv.Key = bytes.TrimPrefix(kv.Key, prefix)
		}
		if err := stream.Send(piece); err != nil {
			return err
		}
	}
}

// within returns the keys below prefix that a request means by key and end: an end of one zero byte is that of the prefix.
func within(prefix, key, end []byte) (from, to []byte) {
	from = append(bytes.Clone(prefix), key...)
	switch {
	case len(end) == 0:
		return from, nil
	case len(end) == 1 && end[0] == 0:
		return from, []byte(clientv3.GetPrefixRangeEnd(string(prefix)))
	}
	return from, append(bytes.Clone(prefix), end...)
}

func rangeOp(r *pb.RangeRequest) clientv3.Op {
	opts := []clientv3.OpOption{
		clientv3.WithRev(r.Revision),
		clientv3.WithLimit(r.Limit),
		clientv3.WithSort(clientv3.SortTarget(r.SortTarget), clientv3.SortOrder(r.SortOrder)),
		clientv3.WithMinCreateRev(r.MinCreateRevision), clientv3.WithMaxCreateRev(r.MaxCreateRevision),
		clientv3.WithMinModRev(r.MinModRevision), clientv3.WithMaxModRev(r.MaxModRevision),
	}
	if len(r.RangeEnd) > 0 {
		opts = append(opts, clientv3.WithRange(string(r.RangeEnd)))
	}
	if r.CountOnly {
		opts = append(opts, clientv3.WithCountOnly())
	}
	if r.KeysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	if r.Serializable {
		opts = append(opts, clientv3.WithSerializable())
	}
	return clientv3.OpGet(string(r.Key), opts...)
}

func putOp(r *pb.PutRequest) clientv3.Op {
	opts := []clientv3.OpOption{clientv3.WithLease(clientv3.LeaseID(r.Lease))}
	if r.IgnoreValue {
		opts = append(opts, clientv3.WithIgnoreValue())
	}
	if r.IgnoreLease {
		opts = append(opts, clientv3.WithIgnoreLease())
	}
	if r.PrevKv {
		opts = append(opts, clientv3.WithPrevKV())
	}
	return clientv3.OpPut(string(r.Key), string(r.Value), opts...)
}

func deleteOp(r *pb.DeleteRangeRequest) clientv3.Op {
	var opts []clientv3.OpOption
	if len(r.RangeEnd) > 0 {
		opts = append(opts, clientv3.WithRange(string(r.RangeEnd)))
	}
	if r.PrevKv {
		opts = append(opts, clientv3.WithPrevKV())
	}
	return clientv3.OpDelete(string(r.Key), opts...)
}

func txnOp(r *pb.TxnRequest) clientv3.Op {
	var compares []clientv3.Cmp
	for _, c := range r.GetCompare() {
		compares = append(compares, clientv3.FromCompare(c))
	}
	return clientv3.OpTxn(compares, ops(r.GetSuccess()), ops(r.GetFailure()))
}

func ops(requests []*pb.RequestOp) []clientv3.Op {
	var list []clientv3.Op
	for _, r := range requests {
		switch r := r.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			list = append(list, rangeOp(r.RequestRange))
		case *pb.RequestOp_RequestPut:
			list = append(list, putOp(r.RequestPut))
		case *pb.RequestOp_RequestDeleteRange:
			list = append(list, deleteOp(r.RequestDeleteRange))
		case *pb.RequestOp_RequestTxn:
			list = append(list, txnOp(r.RequestTxn))
		}
	}
	return list
}
