package parity

import (
	"math"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func aRange(r *rand.Rand, s *State) *pb.RangeRequest {
	q := aPlainRange(r, s)
	if chance(r, 3) {
		q.SortOrder = pb.RangeRequest_SortOrder(r.IntN(3))
		q.SortTarget = pb.RangeRequest_SortTarget(r.IntN(5))
	}
	if chance(r, 40) {
		q.SortOrder = pick[pb.RangeRequest_SortOrder](r, 3, -1, math.MaxInt32)
	}
	if chance(r, 40) {
		q.SortTarget = pick[pb.RangeRequest_SortTarget](r, 5, -1, math.MaxInt32)
	}
	for _, filter := range []*int64{&q.MinModRevision, &q.MaxModRevision, &q.MinCreateRevision, &q.MaxCreateRevision} {
		if chance(r, 8) {
			*filter = pick(r, s.someRevision(r), s.someRevision(r), s.someRevision(r), -1, math.MaxInt64)
		}
	}
	return q
}

// aPlainRange has neither sort nor filters.
func aPlainRange(r *rand.Rand, s *State) *pb.RangeRequest {
	key := aKey(r, s)
	q := &pb.RangeRequest{Key: key, RangeEnd: anEnd(r, key)}
	if chance(r, 4) {
		q.Key, q.RangeEnd = []byte{0}, []byte{0}
	}
	if chance(r, 2) {
		q.Limit = aLimit(r, s.count(q.Key, q.RangeEnd))
	}
	if chance(r, 3) {
		q.Revision = pick(r, s.someRevision(r), s.someRevision(r), s.someRevision(r), s.someRevision(r), -1, math.MaxInt64, math.MinInt64)
	}
	q.Serializable = chance(r, 3)
	q.KeysOnly = chance(r, 5)
	q.CountOnly = chance(r, 8)
	if chance(r, 60) {
		q.Key = nil
	}
	return q
}

// aStream is a range that RangeStream can mostly answer.
func aStream(r *rand.Rand, s *State) *pb.RangeRequest {
	if chance(r, 5) {
		return aRange(r, s)
	}
	q := aPlainRange(r, s)
	if chance(r, 2) {
		q.RangeEnd = []byte{0}
	}
	// An order of none with a target sorts each chunk by the target.
	if chance(r, 6) {
		q.SortTarget = pb.RangeRequest_SortTarget(r.IntN(5))
	}
	return q
}
