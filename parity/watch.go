package parity

import (
	"math"
	"math/rand/v2"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const watchMethod protoreflect.FullName = "etcdserverpb.Watch.Watch"

// The long-lived streams of a run. Those of drawn watches are 1 to 3.
const (
	// referenceStream has one watch of everything, which begins with the run and is never cancelled: what it delivers is the history
	// from which the events of all other watches follow.
	referenceStream = 0
	// futureStream has watches that begin at revisions to come, which keep a stream from answering requests for progress.
	futureStream = 3
	// identityStream is opened anew whenever the next request on it is made as somebody else.
	identityStream = 4
)

// maxWatches bounds the watches of a stream.
const maxWatches = 8

// watchService covers watches that live across the operations of the other services, and across restarts.
var watchService = Service{
	Name:    watchServiceName,
	Weight:  5,
	Next:    nextWatch,
	Corners: watchCorners,
	Errors: []Refusal{
		{codes.Canceled, compactedWatch},
		{codes.Canceled, "etcdserver: mvcc: required revision has been compacted"},
		{codes.Canceled, "mvcc: watcher range is empty"},
		{codes.Canceled, "mvcc: duplicate watch ID provided on the WatchStream"},
		{codes.Canceled, "rpc error: code = PermissionDenied desc = etcdserver: permission denied"},
		{codes.Canceled, "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"},
		{codes.Canceled, "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"},
	},
}

// compactedWatch stands for the end of a watch whose beginning is compacted: it comes without a reason, with the compacted revision.
const compactedWatch = "compact_revision is set"

// watchServiceName makes a run watch from its beginning.
const watchServiceName = "Watch"

func nextWatch(r *rand.Rand, s *State) Operation {
	number := pick(r, 1, 1, 2, 2, futureStream, identityStream)
	ids := s.Watches[number]
	some := func() int64 {
		if len(ids) > 0 && !chance(r, 5) {
			return pick(r, ids...)
		}
		return pick[int64](r, 0, 1, 5, -1, 99, math.MaxInt64)
	}
	n := r.IntN(100)
	if len(ids) >= maxWatches && n < 55 {
		n = 55
	}
	switch {
	case n < 55:
		return watchOn(number, aWatch(r, s, number == futureStream))
	case n < 75:
		return cancelOn(number, some())
	case n < 93:
		return progressOn(number)
	case n < 96:
		return Operation{Method: watchMethod, Stream: number, Request: pick(r, &pb.WatchRequest{}, cancel(0), create(&pb.WatchCreateRequest{}))}
	default:
		return closing(number)
	}
}

func aWatch(r *rand.Rand, s *State, future bool) *pb.WatchCreateRequest {
	key := aKey(r, s)
	w := &pb.WatchCreateRequest{Key: key, RangeEnd: anEnd(r, key), PrevKv: chance(r, 2), Fragment: chance(r, 4), ProgressNotify: chance(r, 4)}
	switch {
	case chance(r, 4):
		w.Key, w.RangeEnd = []byte{0}, []byte{0}
	case chance(r, 30):
		w.Key = nil
	}
	switch {
	case future && chance(r, 2):
		w.StartRevision = pick(r, s.Revision+1, s.Revision+2, s.Revision+5, math.MaxInt64)
	case !future && chance(r, 2):
		w.StartRevision = min(s.someRevision(r), s.Revision)
	}
	if chance(r, 60) {
		w.StartRevision = pick[int64](r, -1, math.MinInt64)
	}
	for range pick(r, 0, 0, 0, 0, 1, 1, 2, 3) {
		w.Filters = append(w.Filters, pick[pb.WatchCreateRequest_FilterType](r, 0, 0, 1, 1, 2, -1))
	}
	if chance(r, 4) {
		w.WatchId = pick[int64](r, 1, 2, 3, 5, -1, -7, math.MaxInt64, math.MinInt64)
	}
	return w
}

func watchOn(number int, request *pb.WatchCreateRequest) Operation {
	return Operation{Method: watchMethod, Stream: number, Request: create(request)}
}

func create(request *pb.WatchCreateRequest) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: request}}
}

func cancel(id int64) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}
}

func progress() *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
}

func cancelOn(number int, id int64) Operation {
	return Operation{Method: watchMethod, Stream: number, Request: cancel(id)}
}

func progressOn(number int) Operation {
	return Operation{Method: watchMethod, Stream: number, Request: progress()}
}

// closing is the operation that ends a stream from the client's side, with all its watches.
func closing(number int) Operation {
	return Operation{Method: watchMethod, Stream: number, Request: (*pb.WatchRequest)(nil)}
}

// isClosing reports whether the operation closes a stream.
func (o Operation) isClosing() bool {
	r, ok := o.Request.(*pb.WatchRequest)
	return ok && r == nil
}

// everythingWatched is the watch of everything from now on.
func everythingWatched() *pb.WatchCreateRequest {
	return &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: true}
}

// matches reports whether a watch shows an event of a key.
func matches(w *pb.WatchCreateRequest, e logged) bool {
	key, end := w.Key, w.RangeEnd
	if len(key) == 0 {
		key = []byte{0}
	}
	switch {
	case len(end) == 0 && !slices.Equal(e.key, key),
		slices.Compare(e.key, key) < 0,
		len(end) > 0 && !(len(end) == 1 && end[0] == 0) && slices.Compare(e.key, end) >= 0:
		return false
	}
	for _, f := range w.Filters {
		if (f == pb.WatchCreateRequest_NOPUT && !e.deleted) || (f == pb.WatchCreateRequest_NODELETE && e.deleted) {
			return false
		}
	}
	return e.revision >= w.StartRevision
}
