package parity

import (
	"bytes"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// onRevision is a step of a watch that begins at a revision counted from the store's.
func onRevision(number int, difference int64, request *pb.WatchCreateRequest) func(*State) Operation {
	return func(s *State) Operation {
		request.StartRevision = s.Revision + difference
		return watchOn(number, request)
	}
}

// onCompacted is the same, counted from the compacted revision.
func onCompacted(number int, difference int64, request *pb.WatchCreateRequest) func(*State) Operation {
	return func(s *State) Operation {
		request.StartRevision = s.Compacted + difference
		return watchOn(number, request)
	}
}

func single(key string) *pb.WatchCreateRequest { return &pb.WatchCreateRequest{Key: []byte(key)} }

func ranged(key, end string) *pb.WatchCreateRequest {
	return &pb.WatchCreateRequest{Key: []byte(key), RangeEnd: []byte(end), PrevKv: true}
}

func chosen(id int64, key string) *pb.WatchCreateRequest {
	return &pb.WatchCreateRequest{Key: []byte(key), WatchId: id, PrevKv: true}
}

func filtered(filters ...pb.WatchCreateRequest_FilterType) *pb.WatchCreateRequest {
	return &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, Filters: filters}
}

const (
	noPut    = pb.WatchCreateRequest_NOPUT
	noDelete = pb.WatchCreateRequest_NODELETE
)

var watchCorners = []Corner{
	{"ranges of every kind", steps(
		progressOn(1), cancelOn(1, 0), watchOn(1, single("a")), watchOn(1, ranged("a", "b")), watchOn(1, ranged("a", "\x00")), watchOn(1, ranged("\x00", "\x00")), watchOn(1, ranged("", "")),
		watchOn(1, ranged("", "\x00")), watchOn(1, ranged("a", "a")), watchOn(1, ranged("b", "a")), watchOn(1, ranged("a", "a\x00")), watchOn(1, ranged("\x00", "")), watchOn(1, ranged("\xff", "\x00")),
		put("a", "1"), put("a\x00", "1"), put("b", "1"), put("\x00", "1"), put("\xff", "1"), then(putOp("a", "2"), deleteOp("b", "c"), putOp("aa", "2"), deleteOp("zz", "")),
		then(deleteOp("a", "\x00"), putOp("a", "3"), putOp("k1", "3")), Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}}},
		progressOn(1), closing(1),
	)},
	{"ids", steps(
		watchOn(1, chosen(0, "a")), watchOn(1, chosen(1, "a")), watchOn(1, chosen(1, "b")), watchOn(1, chosen(0, "b")), watchOn(1, chosen(-1, "a")), watchOn(1, chosen(-1, "b")),
		watchOn(1, chosen(math.MaxInt64, "a")), watchOn(1, chosen(math.MinInt64, "a")), watchOn(1, chosen(0, "c")), put("a", "seen by all"), put("b", "seen by one"),
		cancelOn(1, 0), cancelOn(1, 0), cancelOn(1, 77), cancelOn(1, -1), cancelOn(1, -1), watchOn(1, chosen(0, "d")), watchOn(1, chosen(1, "a")), cancelOn(1, 1), watchOn(1, chosen(1, "a")), put("a", "again"),
		Operation{Method: watchMethod, Stream: 1, Request: &pb.WatchRequest{}}, watchOn(1, chosen(0, "e")), closing(1), watchOn(1, chosen(0, "a")), closing(1),
	)},
	{"filters", steps(
		watchOn(1, filtered(noPut)), watchOn(1, filtered(noDelete)), watchOn(1, filtered(noPut, noDelete)), watchOn(1, filtered(noPut, noPut)), watchOn(1, filtered(2, -1)), watchOn(1, filtered(2, noPut)),
		put("a", "1"), Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: []byte("a")}}, then(putOp("a", "2"), putOp("b", "2"), deleteOp("k1", "k2")), then(putOp("b", "3"), deleteOp("a", "")),
		Operation{Restart: Clean}, put("a", "3"), then(putOp("b", "3"), deleteOp("a", "")), progressOn(1), closing(1),
	)},
	{"beginnings", []func(*State) Operation{
		send(put("a", "1")), send(put("a", "2")), send(put("b", "1")), send(Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: []byte("a")}}),
		send(then(putOp("a", "3"), putOp("b", "3"), deleteOp("b\x00", "c"))),
		onRevision(1, -4, ranged("\x00", "\x00")), onRevision(1, -3, single("a")), onRevision(1, -2, filtered(noPut)), onRevision(1, -1, ranged("b", "c")), onRevision(1, 0, ranged("\x00", "\x00")), onRevision(1, 0, single("unseen")), send(progressOn(1)),
		onRevision(3, 1, ranged("\x00", "\x00")), onRevision(3, 3, ranged("\x00", "\x00")), send(progressOn(3)), send(put("a", "4")), send(progressOn(3)), send(then(putOp("a", "5"), putOp("b", "5"))), send(progressOn(3)), send(put("a", "6")), send(progressOn(3)),
		send(put("a", "7")), send(progressOn(3)), send(progressOn(1)),
		send(watchOn(3, &pb.WatchCreateRequest{Key: []byte("a"), StartRevision: math.MaxInt64})), send(watchOn(3, &pb.WatchCreateRequest{Key: []byte("a"), StartRevision: -1})),
		send(watchOn(3, &pb.WatchCreateRequest{Key: []byte("a"), StartRevision: math.MinInt64, WatchId: 5})), send(watchOn(3, &pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a"), StartRevision: -1})),
		send(put("a", "8")), send(put("b", "8")), send(put("a", "9")), send(Operation{Restart: Kill}), send(put("a", "10")), send(put("b", "10")),
		func(s *State) Operation { return compact(s.Revision - 2) },
		onCompacted(1, -1, single("a")), onCompacted(1, -1, single("unseen")), onCompacted(1, 0, ranged("\x00", "\x00")), onCompacted(1, 1, ranged("\x00", "\x00")), send(watchOn(1, &pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 1, WatchId: 40, PrevKv: true})),
		send(watchOn(1, chosen(40, "a"))), send(progressOn(1)), send(put("a", "11")), send(progressOn(1)), send(closing(1)), send(closing(3)),
	}},
	{"deletes at the compacted revision", []func(*State) Operation{
		send(put("a", "1")), send(put("b", "1")), send(Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: []byte("a")}}),
		func(s *State) Operation { return compact(s.Revision) },
		onCompacted(1, 0, ranged("\x00", "\x00")), send(put("a", "2")), send(put("a", "3")),
		func(s *State) Operation { return compact(s.Revision) }, onCompacted(1, 0, ranged("\x00", "\x00")),
		send(then(putOp("b", "2"), deleteOp("a", ""))), func(s *State) Operation { return compact(s.Revision) }, onCompacted(1, 0, ranged("\x00", "\x00")), send(closing(1)),
	}},
	{"large responses", largeResponses()},
}

// largeResponses watches two keys of which one revision, with what they were before, is more than a response of a watch that wants fragments
// may hold, live and from the past.
func largeResponses() []func(*State) Operation {
	large := func(fill byte) Operation {
		value := string(bytes.Repeat([]byte{fill}, 500_000))
		return then(putOp("large1", value), putOp("large2", value), putOp("large3", value))
	}
	fragmented := func() *pb.WatchCreateRequest {
		return &pb.WatchCreateRequest{Key: []byte("large"), RangeEnd: []byte("largf"), PrevKv: true, Fragment: true}
	}
	return []func(*State) Operation{
		send(watchOn(1, fragmented())), send(watchOn(1, ranged("large", "largf"))), send(watchOn(1, &pb.WatchCreateRequest{Key: []byte("large1"), Fragment: true})),
		send(large('a')), send(large('b')),
		onRevision(1, -1, fragmented()), onRevision(1, -1, ranged("large", "largf")), onRevision(1, 0, fragmented()),
		send(Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: []byte("large"), RangeEnd: []byte("largf")}}), send(closing(1)),
	}
}
