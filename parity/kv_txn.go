package parity

import (
	"math"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// maxDepth is how deep drawn transactions nest.
const maxDepth = 5

func aTxn(r *rand.Rand, s *State, depth int) *pb.TxnRequest {
	t := drawTxn(r, s, depth, map[string]bool{})
	if deletesFromKey(t) {
		keepValues(t)
	}
	return t
}

// drawTxn makes a transaction whose puts mostly avoid the keys in taken, which grows.
func drawTxn(r *rand.Rand, s *State, depth int, taken map[string]bool) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range pick(r, 0, 1, 1, 1, 2, 3) {
		t.Compare = append(t.Compare, aCompare(r, s))
	}
	readOnly := chance(r, 6)
	for _, branch := range []*[]*pb.RequestOp{&t.Success, &t.Failure} {
		for range pick(r, 0, 1, 1, 2, 3, 4) {
			*branch = append(*branch, anOp(r, s, depth, taken, readOnly))
		}
	}
	return t
}

func anOp(r *rand.Rand, s *State, depth int, taken map[string]bool, readOnly bool) *pb.RequestOp {
	n := r.IntN(100)
	switch {
	case readOnly || n < 25:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: calmRange(r, s)}}
	case n < 65:
		p := aPut(r, s)
		// Chance would give the same key twice nearly always; once in ten is enough.
		for tries := 0; taken[string(p.Key)] && tries < 5 && !chance(r, 10); tries++ {
			p.Key = someKey(r)
		}
		taken[string(p.Key)] = true
		if !chance(r, 8) {
			if !slices.Contains(s.Leases, p.Lease) {
				p.Lease = 0
			}
			if s.live(p.Key) == nil {
				p.IgnoreValue, p.IgnoreLease = false, false
			}
		}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}}
	case n < 80:
		d := aDelete(r, s)
		if taken[string(d.Key)] && !chance(r, 5) {
			d.Key = someKey(r)
		}
		taken[string(d.Key)] = true
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d}}
	case n < 99 && depth > 0:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: drawTxn(r, s, depth-1, taken)}}
	case n == 99 && chance(r, 3):
		return &pb.RequestOp{}
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: calmRange(r, s)}}
}

// calmRange is a range that is mostly not refused, lest it refuse the whole transaction.
func calmRange(r *rand.Rand, s *State) *pb.RangeRequest {
	q := aRange(r, s)
	if q.Revision != 0 && !chance(r, 4) {
		q.Revision = pick(r, s.Revision, max(1, s.Compacted))
	}
	if !chance(r, 10) {
		q.SortOrder, q.SortTarget = max(0, min(q.SortOrder, 2)), max(0, min(q.SortTarget, 4))
		if len(q.Key) == 0 {
			q.Key = someKey(r)
		}
	}
	return q
}

// aCompare draws a comparison with what a live key holds, mostly, so that it is true about as often as false.
func aCompare(r *rand.Rand, s *State) *pb.Compare {
	key := aKey(r, s)
	if chance(r, 80) {
		key = nil
	}
	c := &pb.Compare{Key: key, Result: pb.Compare_CompareResult(r.IntN(4)), Target: pb.Compare_CompareTarget(r.IntN(5))}
	if chance(r, 2) {
		c.Result = pb.Compare_EQUAL
	}
	if chance(r, 40) {
		c.Result = pick[pb.Compare_CompareResult](r, 4, -1)
	}
	if chance(r, 5) {
		c.RangeEnd = anEnd(r, key)
	}
	held := s.live(key)
	if held == nil {
		held = &mvccpb.KeyValue{}
	}
	target := c.Target
	if chance(r, 40) {
		// An operand of another kind than the target asks for.
		target = pb.Compare_CompareTarget(r.IntN(5))
	}
	setOperand(c, target, held, pick[int64](r, 0, 0, 0, 0, 1, -1, math.MaxInt64-held.ModRevision), aValue(r))
	if chance(r, 40) {
		c.Target = pick[pb.Compare_CompareTarget](r, 5, -1)
	}
	if chance(r, 30) {
		c.TargetUnion = nil
	}
	return c
}

// setOperand compares with what the key holds, shifted by delta; a value is replaced by another one where delta is not 0.
func setOperand(c *pb.Compare, target pb.Compare_CompareTarget, held *mvccpb.KeyValue, delta int64, other []byte) {
	switch target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: held.Version + delta}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: held.CreateRevision + delta}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: held.ModRevision + delta}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: held.Lease + delta}
	case pb.Compare_VALUE:
		value := held.Value
		if delta != 0 {
			value = other
		}
		c.TargetUnion = &pb.Compare_Value{Value: value}
	}
}

// eachOp calls f for every operation of a transaction, in both branches and at every depth.
func eachOp(t *pb.TxnRequest, f func(*pb.RequestOp)) {
	for _, branch := range [][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range branch {
			f(op)
			if nested := op.GetRequestTxn(); nested != nil {
				eachOp(nested, f)
			}
		}
	}
}

// deletesFromKey reports whether a transaction deletes a range without end. etcd does not see that such a range holds the keys that the
// same transaction puts, and lets both stand.
func deletesFromKey(t *pb.TxnRequest) (found bool) {
	eachOp(t, func(op *pb.RequestOp) {
		end := op.GetRequestDeleteRange().GetRangeEnd()
		found = found || (len(end) == 1 && end[0] == 0)
	})
	return found
}

// keepValues takes ignore_value and ignore_lease from all puts. After a delete of the same key in the same transaction, etcd 3.7.3 crashes on
// them (it looks for the version that it has just deleted), and an embedded one would take the test with it.
func keepValues(t *pb.TxnRequest) {
	eachOp(t, func(op *pb.RequestOp) {
		if p := op.GetRequestPut(); p != nil {
			p.IgnoreValue, p.IgnoreLease = false, false
		}
	})
}
