package parity

import (
	"math"
	"math/rand/v2"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The methods of the Lease service.
const (
	grantMethod      protoreflect.FullName = "etcdserverpb.Lease.LeaseGrant"
	revokeMethod     protoreflect.FullName = "etcdserverpb.Lease.LeaseRevoke"
	keepAliveMethod  protoreflect.FullName = "etcdserverpb.Lease.LeaseKeepAlive"
	timeToLiveMethod protoreflect.FullName = "etcdserverpb.Lease.LeaseTimeToLive"
	leasesMethod     protoreflect.FullName = "etcdserverpb.Lease.LeaseLeases"
)

const (
	// maxLeases bounds the leases that live at a time.
	maxLeases = 5
	// maxTTLSeconds is the longest that a lease may be asked for.
	maxTTLSeconds = 9_000_000_000
	// longTTLSeconds is longer than any run: a drawn lease either lives that long or is revoked in the step that granted it.
	longTTLSeconds = 100_000
)

// leaseService covers leases: their ends by revocation in drawn operations, by time in a corner.
var leaseService = Service{
	Name:    "Lease",
	Weight:  5,
	Next:    nextLease,
	Corners: leaseCorners,
	Errors: []Refusal{
		{codes.NotFound, "etcdserver: requested lease not found"},
		{codes.FailedPrecondition, "etcdserver: lease already exists"},
		{codes.OutOfRange, "etcdserver: too large lease TTL"},
	},
}

// leaseIDs are those that runs ask for.
var leaseIDs = []int64{1, 2, 3, 77, -1, -5, math.MaxInt64, math.MinInt64, 1 << 40}

func nextLease(r *rand.Rand, s *State) Operation {
	some := func() int64 {
		if len(s.Leases) > 0 && !chance(r, 4) {
			return pick(r, s.Leases...)
		}
		return pick(r, append(leaseIDs, 0)...)
	}
	n := r.IntN(100)
	if len(s.Leases) >= maxLeases && n < 30 {
		n = 30
	}
	switch {
	case n < 30:
		return grant(pick(r, append(leaseIDs, 0, some())...), pick[int64](r, longTTLSeconds, longTTLSeconds, longTTLSeconds+1, 2*longTTLSeconds,
			maxTTLSeconds, maxTTLSeconds+1, math.MaxInt64, math.MinInt64, 0, -1, 1, 2))
	case n < 42:
		return revoke(some())
	case n < 70:
		return timeToLive(some(), !chance(r, 4))
	case n < 80:
		return Operation{Method: leasesMethod, Request: &pb.LeaseLeasesRequest{}}
	default:
		o := keepAlive(some())
		for range r.IntN(3) {
			o.More = append(o.More, &pb.LeaseKeepAliveRequest{ID: some()})
		}
		return o
	}
}

func grant(id, ttl int64) Operation {
	return Operation{Method: grantMethod, Request: &pb.LeaseGrantRequest{ID: id, TTL: ttl}}
}

func revoke(id int64) Operation {
	return Operation{Method: revokeMethod, Request: &pb.LeaseRevokeRequest{ID: id}}
}

func keepAlive(ids ...int64) Operation {
	o := Operation{Method: keepAliveMethod, Request: &pb.LeaseKeepAliveRequest{ID: ids[0]}}
	for _, id := range ids[1:] {
		o.More = append(o.More, proto.Message(&pb.LeaseKeepAliveRequest{ID: id}))
	}
	return o
}

func timeToLive(id int64, keys bool) Operation {
	return Operation{Method: timeToLiveMethod, Request: &pb.LeaseTimeToLiveRequest{ID: id, Keys: keys}}
}

func putLeased(key, value string, id int64) Operation {
	o := put(key, value)
	o.Request.(*pb.PutRequest).Lease = id
	return o
}

// leased makes the put of an operation carry a lease.
func leasedOp(key, value string, id int64) *pb.RequestOp {
	return asOp(&pb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: id})
}

// readLeases are the requests that show all of the live leases.
func (s *State) readLeases() []Operation {
	all := []Operation{{Method: leasesMethod, Request: &pb.LeaseLeasesRequest{}}}
	for _, id := range s.Leases {
		all = append(all, timeToLive(id, true))
	}
	return all
}

// changesLeases reports whether the leases have to be read again after the operation.
func (o Operation) changesLeases() bool {
	return o.Method == grantMethod || o.Method == revokeMethod || o.Method == keepAliveMethod || o.IsRestart()
}

// learnLease takes in the answer to a grant or a revocation.
func (s *State) learnLease(o Operation, a Answer) {
	switch r := o.Request.(type) {
	case *pb.LeaseGrantRequest:
		if len(a.Messages) == 1 && !o.passes() {
			s.Leases = append(s.Leases, a.Messages[0].(*pb.LeaseGrantResponse).ID)
		}
	case *pb.LeaseRevokeRequest:
		s.forgetLease(r.ID, a)
	}
}

func (s *State) forgetLease(id int64, a Answer) {
	if a.Status.Code() == codes.OK {
		s.Leases = slices.DeleteFunc(s.Leases, func(l int64) bool { return l == id })
	}
}

// passes reports whether the operation grants a lease that must not outlive its step: one with an id that each side draws for itself, or one
// whose end would come at some moment of the run. It has to be marked so, lest a corner wait for a lease that is gone.
func (o Operation) passes() bool {
	r, ok := o.Request.(*pb.LeaseGrantRequest)
	return ok && (r.ID == 0 || (r.TTL < longTTLSeconds && !o.Lasting))
}
