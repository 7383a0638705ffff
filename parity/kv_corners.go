package parity

import (
	"bytes"
	"fmt"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// tooLargeForGRPC is the refusal of the transport, for a put with a value of hugeBytes: it stands before every check of the server.
const (
	hugeBytes       = 2_200_000
	tooLargeForGRPC = "grpc: received message larger than max (2200008 vs. 2097152)"
)

func put(key, value string) Operation {
	return Operation{Method: putMethod, Request: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}
}

func putOp(key, value string) *pb.RequestOp {
	return asOp(&pb.PutRequest{Key: []byte(key), Value: []byte(value)})
}

func deleteOp(key, end string) *pb.RequestOp {
	return asOp(&pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end), PrevKv: true})
}

func rangeOp(key, end string) *pb.RequestOp {
	return asOp(&pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end)})
}

func asOp(request any) *pb.RequestOp {
	switch r := request.(type) {
	case *pb.PutRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
	case *pb.DeleteRangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
	case *pb.RangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	case *pb.TxnRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
	}
	panic(fmt.Sprintf("%T is no operation of a transaction", request))
}

// then makes a transaction without compares, whose success branch always runs.
func then(ops ...*pb.RequestOp) Operation {
	return Operation{Method: txnMethod, Request: &pb.TxnRequest{Success: ops}}
}

func nest(ops ...*pb.RequestOp) *pb.RequestOp { return asOp(&pb.TxnRequest{Success: ops}) }

// manyOps are n puts of n keys, which are deleted by a later corner.
func manyOps(n int) []*pb.RequestOp {
	ops := make([]*pb.RequestOp, n)
	for i := range ops {
		ops[i] = putOp(fmt.Sprintf("many%03d", i), "v")
	}
	return ops
}

func steps(operations ...Operation) []func(*State) Operation {
	var s []func(*State) Operation
	for _, o := range operations {
		s = append(s, send(o))
	}
	return s
}

func query(q *pb.RangeRequest) Operation  { return Operation{Method: rangeMethod, Request: q} }
func stream(q *pb.RangeRequest) Operation { return Operation{Method: rangeStreamMethod, Request: q} }
func compact(revision int64) Operation {
	return Operation{Method: compactMethod, Request: &pb.CompactionRequest{Revision: revision, Physical: true}}
}

// everything is the range of all keys.
func everything() *pb.RangeRequest { return &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}} }

// kvCorners are run in this order on an empty store; later ones find what earlier ones left.
var kvCorners = []Corner{
	{"an empty store", steps(
		query(everything()), stream(everything()),
		query(&pb.RangeRequest{Key: []byte("a"), Revision: 1}), query(&pb.RangeRequest{Key: []byte("a"), Revision: 2}),
		then(), then(rangeOp("a", "")), then(deleteOp("\x00", "\x00")), then(nest()),
		Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}},
		Operation{Method: hashKVMethod, Request: &pb.HashKVRequest{}}, Operation{Method: statusMethod, Request: &pb.StatusRequest{}},
	)},
	{"revisions below zero before the first compaction", steps(
		put("a", "1"), query(&pb.RangeRequest{Key: []byte("a"), Revision: -1}), query(&pb.RangeRequest{Key: []byte("a"), Revision: -2}),
		then(asOp(&pb.RangeRequest{Key: []byte("a"), Revision: -1})), then(asOp(&pb.RangeRequest{Key: []byte("a"), Revision: -2})),
		then(asOp(&pb.RangeRequest{Key: []byte("a"), Revision: -1}), putOp("a", "2")),
		Operation{Method: hashKVMethod, Request: &pb.HashKVRequest{Revision: -1}}, Operation{Method: hashKVMethod, Request: &pb.HashKVRequest{Revision: 1}},
	)},
	{"compaction at zero, once", steps(compact(-1), compact(0), compact(0), compact(math.MaxInt64),
		query(&pb.RangeRequest{Key: []byte("a"), Revision: -1}), then(asOp(&pb.RangeRequest{Key: []byte("a"), Revision: -1})),
		query(&pb.RangeRequest{Key: []byte("a"), Revision: 1}))},
	{"requests that are refused as they stand", steps(
		put("", "x"), query(&pb.RangeRequest{}), stream(&pb.RangeRequest{}),
		Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{}},
		Operation{Method: putMethod, Request: &pb.PutRequest{Key: []byte("a"), Value: []byte("x"), IgnoreValue: true}},
		Operation{Method: putMethod, Request: &pb.PutRequest{Key: []byte("a"), Lease: 1, IgnoreLease: true}},
		Operation{Method: putMethod, Request: &pb.PutRequest{Key: []byte("a"), Value: []byte("x"), Lease: 1, IgnoreValue: true, IgnoreLease: true}},
		Operation{Method: putMethod, Request: &pb.PutRequest{Key: []byte("absent"), IgnoreValue: true}},
		Operation{Method: putMethod, Request: &pb.PutRequest{Key: []byte("absent"), IgnoreLease: true}},
		Operation{Method: putMethod, Request: &pb.PutRequest{Key: []byte("absent"), IgnoreValue: true, Lease: 7}},
		query(&pb.RangeRequest{Key: []byte("a"), SortOrder: 3}), query(&pb.RangeRequest{Key: []byte("a"), SortTarget: 5}),
		stream(&pb.RangeRequest{Key: []byte("a"), SortOrder: 2}), stream(&pb.RangeRequest{Key: []byte("a"), MinModRevision: 1}),
		stream(&pb.RangeRequest{Key: []byte("a"), SortOrder: 2, MaxCreateRevision: 1}),
	)},
	{"requests that are too large", steps(
		put("a", string(bytes.Repeat([]byte{'x'}, 1_600_000))),
		then(putOp("a", string(bytes.Repeat([]byte{'x'}, 1_600_000)))),
		Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: bytes.Repeat([]byte{'x'}, 1_600_000)}},
		query(&pb.RangeRequest{Key: bytes.Repeat([]byte{'x'}, 1_600_000)}),
		then(rangeOp(string(bytes.Repeat([]byte{'x'}, 1_600_000)), "")),
		put("", string(bytes.Repeat([]byte{'x'}, 1_600_000))),
		put("a", string(bytes.Repeat([]byte{'x'}, hugeBytes))),
	)},
	{"transactions with too many operations", steps(
		then(manyOps(129)...), then(manyOps(128)...), then(deleteOp("many", "mao")),
		Operation{Method: txnMethod, Request: &pb.TxnRequest{Failure: manyOps(129)}},
		// Each level leaves its depth less room.
		then(append(manyOps(64), nest(manyOps(64)...))...),
		then(nest(manyOps(127)...)), then(nest(manyOps(128)...)), then(nest(nest(manyOps(126)...))), then(nest(nest(manyOps(127)...))),
		then(deleteOp("many", "mao")),
	)},
	{"the same key twice", steps(
		then(putOp("a", "1"), putOp("a", "2")),
		then(putOp("a", "1"), deleteOp("a", "")), then(deleteOp("a", "b"), putOp("aa", "1")),
		then(deleteOp("a", "aa"), putOp("aa", "edge")),
		then(nest(putOp("a", "1")), putOp("a", "2")), then(nest(putOp("a", "1")), nest(putOp("a", "2"))),
		then(nest(putOp("a", "put then deleted")), nest(deleteOp("a", "b"))),
		then(nest(deleteOp("a", "b")), nest(putOp("a", "1"))),
		then(asOp(&pb.TxnRequest{Success: []*pb.RequestOp{putOp("a", "s")}, Failure: []*pb.RequestOp{putOp("a", "f")}})),
		then(asOp(&pb.TxnRequest{Success: []*pb.RequestOp{putOp("a", "s")}, Failure: []*pb.RequestOp{deleteOp("a", "")}})),
		then(deleteOp("a", "b"), deleteOp("a", "c")),
		Operation{Method: txnMethod, Request: &pb.TxnRequest{Failure: []*pb.RequestOp{putOp("a", "1"), putOp("a", "2")}}},
		// The order of the checks: an empty key of the other branch comes first.
		Operation{Method: txnMethod, Request: &pb.TxnRequest{Success: []*pb.RequestOp{putOp("a", "1"), putOp("a", "2")}, Failure: []*pb.RequestOp{rangeOp("", "")}}},
	)},
	{"a delete without end beside puts", steps(
		put("a", "1"), put("b", "1"),
		then(deleteOp("\x00", "\x00"), putOp("b", "all else is gone")),
		then(putOp("a", "put first"), deleteOp("\x00", "\x00")),
		put("b", "1"), then(deleteOp("b", "a"), putOp("b", "not deleted")), then(putOp("b", "2"), deleteOp("b", "b")),
	)},
	{"operations of no kind", steps(then(&pb.RequestOp{}), then(putOp("a", "1"), &pb.RequestOp{}),
		then(asOp(&pb.PutRequest{})), then(nest(&pb.RequestOp{})))},
	{"the first error of a transaction stands, and it writes nothing", []func(*State) Operation{
		send(put("a", "before")),
		func(s *State) Operation {
			return then(putOp("a", "after"), asOp(&pb.RangeRequest{Key: []byte("a"), Revision: s.Revision + 1}))
		},
		func(s *State) Operation {
			return then(asOp(&pb.RangeRequest{Key: []byte("a"), Revision: s.Revision + 1}), asOp(&pb.PutRequest{Key: []byte("a"), Lease: 5}))
		},
		func(s *State) Operation {
			return then(nest(asOp(&pb.PutRequest{Key: []byte("a"), Lease: 5})), asOp(&pb.RangeRequest{Key: []byte("a"), Revision: s.Revision + 1}))
		},
		send(then(putOp("new", "1"), asOp(&pb.PutRequest{Key: []byte("new2"), IgnoreValue: true}))),
		// The branch that is not taken is not checked against the store.
		func(s *State) Operation {
			return then(asOp(&pb.TxnRequest{Failure: []*pb.RequestOp{asOp(&pb.RangeRequest{Key: []byte("a"), Revision: s.Revision + 9})}}))
		},
	}},
	{"what the operations of a transaction see and say", []func(*State) Operation{
		send(put("a", "old")), send(put("b", "old")),
		func(s *State) Operation {
			return then(rangeOp("a", ""), putOp("a", "new"), rangeOp("a", ""), asOp(&pb.RangeRequest{Key: []byte("a"), Revision: s.Revision}),
				deleteOp("b", ""), deleteOp("b", ""), rangeOp("\x00", "\x00"), nest(rangeOp("a", ""), putOp("c", "1"), deleteOp("zz", "")), nest())
		},
		send(then(deleteOp("zz", ""), rangeOp("a", ""), nest(rangeOp("a", "")))),
		send(then(asOp(&pb.PutRequest{Key: []byte("a"), IgnoreValue: true, PrevKv: true}))),
		// Nested compares see what was there before the transaction.
		send(then(putOp("d", "1"), asOp(&pb.TxnRequest{
			Compare: []*pb.Compare{{Key: []byte("d"), Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 0}}},
			Success: []*pb.RequestOp{rangeOp("d", "")}, Failure: []*pb.RequestOp{rangeOp("a", "")}}))),
	}},
	{"order none with a target", sortCorner()},
	{"reads at every edge of history", []func(*State) Operation{
		send(put("a", "1")), send(put("a", "2")),
		func(s *State) Operation { return query(&pb.RangeRequest{Key: []byte("a"), Revision: s.Revision}) },
		func(s *State) Operation { return query(&pb.RangeRequest{Key: []byte("a"), Revision: s.Revision - 1}) },
		func(s *State) Operation { return query(&pb.RangeRequest{Key: []byte("a"), Revision: s.Revision + 1}) },
		func(s *State) Operation { return stream(&pb.RangeRequest{Key: []byte("a"), Revision: s.Revision + 1}) },
		func(s *State) Operation { return compact(s.Revision - 1) },
		func(s *State) Operation { return query(&pb.RangeRequest{Key: []byte("a"), Revision: s.Compacted}) },
		func(s *State) Operation { return query(&pb.RangeRequest{Key: []byte("a"), Revision: s.Compacted - 1}) },
		func(s *State) Operation { return stream(&pb.RangeRequest{Key: []byte("a"), Revision: s.Compacted - 1}) },
		func(s *State) Operation {
			return then(asOp(&pb.RangeRequest{Key: []byte("a"), Revision: s.Compacted - 1}))
		},
		func(s *State) Operation { return compact(s.Compacted) },
		func(s *State) Operation { return compact(s.Revision + 1) },
		func(s *State) Operation { return compact(s.Revision) },
		func(s *State) Operation { return query(&pb.RangeRequest{Key: []byte("a"), Revision: s.Revision}) },
	}},
}

// sortCorner fills the store with keys of few values and versions and reads them sorted by each target.
func sortCorner() []func(*State) Operation {
	var s []func(*State) Operation
	for i, key := range keys {
		s = append(s, send(put(key, fmt.Sprint(i%3))))
		if i%4 == 0 {
			s = append(s, send(put(key, fmt.Sprint(i%5))))
		}
	}
	for target := range pb.RangeRequest_SortTarget(5) {
		for order := range pb.RangeRequest_SortOrder(3) {
			for _, limit := range []int64{0, 5, 12, 25} {
				q := everything()
				q.SortTarget, q.SortOrder, q.Limit = target, order, limit
				keysOnly := everything()
				keysOnly.SortTarget, keysOnly.SortOrder, keysOnly.Limit, keysOnly.KeysOnly = target, order, limit, true
				s = append(s, send(query(q)), send(query(keysOnly)), send(stream(q)))
			}
		}
	}
	return s
}
