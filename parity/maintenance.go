package parity

import (
	"math"
	"math/rand/v2"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The methods of the Maintenance and Cluster services that runs cover.
const (
	statusMethod     protoreflect.FullName = "etcdserverpb.Maintenance.Status"
	alarmMethod      protoreflect.FullName = "etcdserverpb.Maintenance.Alarm"
	hashMethod       protoreflect.FullName = "etcdserverpb.Maintenance.Hash"
	hashKVMethod     protoreflect.FullName = "etcdserverpb.Maintenance.HashKV"
	defragmentMethod protoreflect.FullName = "etcdserverpb.Maintenance.Defragment"
	memberListMethod protoreflect.FullName = "etcdserverpb.Cluster.MemberList"
)

// maintenanceService covers the parts of Maintenance that read, and Defragment.
var maintenanceService = Service{
	Name:   "Maintenance",
	Weight: 2,
	Next: func(r *rand.Rand, s *State) Operation {
		switch r.IntN(10) {
		case 0, 1:
			return Operation{Method: statusMethod, Request: &pb.StatusRequest{}}
		case 2:
			return Operation{Method: alarmMethod, Request: &pb.AlarmRequest{
				MemberID: r.Uint64N(2), Alarm: pick[pb.AlarmType](r, 0, 1, 2, 3, -1)}}
		case 3:
			return Operation{Method: hashMethod, Request: &pb.HashRequest{}}
		case 4:
			return Operation{Method: defragmentMethod, Request: &pb.DefragmentRequest{}}
		default:
			return Operation{Method: hashKVMethod, Request: &pb.HashKVRequest{Revision: pick(r, 0, s.someRevision(r), s.someRevision(r), -1, math.MaxInt64)}}
		}
	},
	Corners: []Corner{
		{"the checksum of a store that rests", []func(*State) Operation{
			send(Operation{Method: compactMethod, Request: &pb.CompactionRequest{Physical: true}}),
			send(Operation{Method: hashMethod, Request: &pb.HashRequest{}}),
			send(Operation{Method: hashMethod, Request: &pb.HashRequest{}}),
		}},
		{"the checksum of no revision", []func(*State) Operation{
			func(s *State) Operation {
				return Operation{Method: hashKVMethod, Request: &pb.HashKVRequest{Revision: s.Revision + 1}}
			},
			send(Operation{Method: hashKVMethod, Request: &pb.HashKVRequest{Revision: 1}}),
		}},
	},
	Errors: []Refusal{
		{codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"},
		{codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision"},
	},
}

// clusterService covers the list of members.
var clusterService = Service{
	Name:   "Cluster",
	Weight: 1,
	Next: func(r *rand.Rand, _ *State) Operation {
		return Operation{Method: memberListMethod, Request: &pb.MemberListRequest{Linearizable: chance(r, 2)}}
	},
}
