package parity

import (
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

var leaseCorners = []Corner{
	{"leases of every length and id", steps(
		grant(10, maxTTLSeconds), grant(11, maxTTLSeconds+1), grant(10, maxTTLSeconds+1), grant(10, longTTLSeconds), grant(10, 0),
		grant(11, math.MaxInt64), grant(12, 0), grant(12, -1), grant(12, math.MinInt64), grant(12, 1), grant(12, 2), grant(12, 3), grant(0, longTTLSeconds), grant(0, 0),
		grant(-1, longTTLSeconds), grant(math.MinInt64, longTTLSeconds),
		timeToLive(10, false), timeToLive(10, true), timeToLive(-1, true), timeToLive(0, true), timeToLive(99, false),
		Operation{Method: leasesMethod, Request: &pb.LeaseLeasesRequest{}},
		keepAlive(10), keepAlive(0), keepAlive(99), keepAlive(10, 99, -1, 0, 10, math.MinInt64),
		revoke(0), revoke(99), revoke(10), revoke(10), keepAlive(10), timeToLive(10, true), revoke(-1), revoke(math.MinInt64),
	)},
	{"keys move between leases", steps(
		grant(1, longTTLSeconds), grant(2, longTTLSeconds),
		putLeased("a", "1", 1), putLeased("b", "1", 1), putLeased("/r", "1", 1), timeToLive(1, true),
		putLeased("a", "2", 2), timeToLive(1, true), timeToLive(2, true),
		put("b", "no lease"), timeToLive(1, true),
		Operation{Method: putMethod, Request: &pb.PutRequest{Key: []byte("a"), Value: []byte("kept"), IgnoreLease: true, PrevKv: true}}, timeToLive(2, true),
		Operation{Method: putMethod, Request: &pb.PutRequest{Key: []byte("a"), IgnoreValue: true, Lease: 1, PrevKv: true}}, timeToLive(1, true), timeToLive(2, true),
		Operation{Method: putMethod, Request: &pb.PutRequest{Key: []byte("a"), IgnoreValue: true, PrevKv: true}}, timeToLive(1, true),
		putLeased("a", "unknown lease", 9), timeToLive(1, true),
		then(leasedOp("a", "3", 2), leasedOp("c", "3", 2), putOp("/r", "3")), timeToLive(1, true), timeToLive(2, true),
		// Both branches know the same key; the one that is taken counts.
		Operation{Method: txnMethod, Request: &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: []byte("a"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: 2}}},
			Success: []*pb.RequestOp{leasedOp("a", "4", 1)}, Failure: []*pb.RequestOp{leasedOp("a", "4", 2)}}},
		then(leasedOp("a", "unknown", 9), putOp("b", "not written")), then(putOp("b", "not written"), leasedOp("a", "unknown", 9)),
		timeToLive(1, true), timeToLive(2, true),
		Operation{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: []byte("a"), PrevKv: true}}, timeToLive(1, true),
		putLeased("b", "5", 1), putLeased("a", "5", 1), putLeased("a\x00", "5", 1), putLeased("\xff", "5", 1),
		Operation{Restart: Kill}, timeToLive(1, true), timeToLive(2, true),
		// One revision for all of them.
		revoke(1), timeToLive(1, true), put("a", "after the lease"), timeToLive(2, true), revoke(2),
		grant(1, longTTLSeconds), timeToLive(1, true), revoke(1),
		// Deleted and put again in the same transaction.
		grant(3, longTTLSeconds), putLeased("a", "6", 3), then(deleteOp("a", "\x00"), putOp("a", "free of the lease")), timeToLive(3, true),
		putLeased("a", "7", 3), then(deleteOp("a", "\x00"), leasedOp("a", "leased", 3)), timeToLive(3, true),
		revoke(3), put("a", "8"),
	)},
}

// endingLeases is a corner of its own run, for it waits: three leases end one after the other, each at a revision of its own.
var endingLeases = Corner{"leases that end by themselves", steps(
	watchOn(1, &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: true}),
	lasting(grant(21, 4)), lasting(grant(22, 5)), lasting(grant(23, 6)), grant(24, longTTLSeconds),
	putLeased("a", "ends first", 21), putLeased("b", "ends first", 21), putLeased("aa", "ends second", 22), putLeased("k1", "ends third", 23),
	putLeased("k2", "stays", 24), putLeased("ab", "moves away", 21), putLeased("ab", "stays", 24),
	Operation{Ended: []int64{21, 22, 23}},
	timeToLive(21, true), timeToLive(24, true), keepAlive(21, 22, 24), revoke(21), putLeased("a", "too late", 21), revoke(24),
)}

// lasting lets a lease of a corner come to its end by itself.
func lasting(o Operation) Operation {
	o.Lasting = true
	return o
}

// leasedKeys counts the live keys that a lease holds.
func leasedKeys(keys []*mvccpb.KeyValue, id int64) (n int) {
	for _, kv := range keys {
		if kv.Lease == id {
			n++
		}
	}
	return n
}
