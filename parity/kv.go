package parity

import (
	"math/rand/v2"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The methods of the KV service.
const (
	rangeMethod       protoreflect.FullName = "etcdserverpb.KV.Range"
	rangeStreamMethod protoreflect.FullName = "etcdserverpb.KV.RangeStream"
	putMethod         protoreflect.FullName = "etcdserverpb.KV.Put"
	deleteMethod      protoreflect.FullName = "etcdserverpb.KV.DeleteRange"
	txnMethod         protoreflect.FullName = "etcdserverpb.KV.Txn"
	compactMethod     protoreflect.FullName = "etcdserverpb.KV.Compact"
)

// kvService covers keys, ranges, transactions and compaction.
var kvService = Service{
	Name:    "KV",
	Weight:  20,
	Next:    nextKV,
	Corners: kvCorners,
	Errors: []Refusal{
		{codes.InvalidArgument, "etcdserver: key is not provided"},
		{codes.InvalidArgument, "etcdserver: key not found"},
		{codes.InvalidArgument, "etcdserver: value is provided"},
		{codes.InvalidArgument, "etcdserver: lease is provided"},
		{codes.InvalidArgument, "etcdserver: too many operations in txn request"},
		{codes.InvalidArgument, "etcdserver: duplicate key given in txn request"},
		{codes.InvalidArgument, "etcdserver: invalid sort option"},
		{codes.InvalidArgument, "etcdserver: request is too large"},
		{codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"},
		{codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision"},
		{codes.NotFound, "etcdserver: requested lease not found"},
		{codes.Unimplemented, "RangeStream does not support custom sort orders"},
		{codes.Unimplemented, "RangeStream does not support revision filters"},
		{codes.ResourceExhausted, tooLargeForGRPC},
	},
}

func nextKV(r *rand.Rand, s *State) Operation {
	switch n := r.IntN(100); {
	case n < 27:
		return Operation{Method: putMethod, Request: aPut(r, s)}
	case n < 36:
		return Operation{Method: deleteMethod, Request: aDelete(r, s)}
	case n < 62:
		return Operation{Method: rangeMethod, Request: aRange(r, s)}
	case n < 71:
		return Operation{Method: rangeStreamMethod, Request: aStream(r, s)}
	case n < 96:
		return Operation{Method: txnMethod, Request: aTxn(r, s, maxDepth)}
	default:
		return Operation{Method: compactMethod, Request: aCompaction(r, s)}
	}
}

func aPut(r *rand.Rand, s *State) *pb.PutRequest {
	p := &pb.PutRequest{Key: aKey(r, s), Value: aValue(r), Lease: aLease(r, s), PrevKv: chance(r, 2)}
	if chance(r, 8) {
		p.IgnoreValue = true
		if !chance(r, 4) {
			p.Value = nil
		}
	}
	if chance(r, 8) {
		p.IgnoreLease = true
		if !chance(r, 4) {
			p.Lease = 0
		}
	}
	if chance(r, 50) {
		p.Key = nil
	}
	return p
}

func aDelete(r *rand.Rand, s *State) *pb.DeleteRangeRequest {
	key := aKey(r, s)
	d := &pb.DeleteRangeRequest{Key: key, PrevKv: chance(r, 2)}
	// Half of the deletes take one key, so that the store does not stay empty.
	if chance(r, 2) {
		d.RangeEnd = anEnd(r, key)
		if s.count(key, d.RangeEnd) > 10 && !chance(r, 5) {
			d.RangeEnd = nil
		}
	}
	if chance(r, 30) {
		d.Key = nil
	}
	return d
}

func aCompaction(r *rand.Rand, s *State) *pb.CompactionRequest {
	revision := s.someRevision(r)
	// Most compactions leave some history to read.
	if revision > s.Compacted+1 && chance(r, 2) {
		revision = s.Compacted + 1 + r.Int64N(revision-s.Compacted)
	}
	for s.Uncompactable[revision] {
		revision++
	}
	return &pb.CompactionRequest{Revision: revision, Physical: chance(r, 2)}
}
