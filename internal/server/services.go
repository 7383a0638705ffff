package server

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// The two services whose descriptors are not in etcd's API module. Their few messages are read and written by hand.
var (
	lockDesc = grpc.ServiceDesc{
		ServiceName: "v3lockpb.Lock",
		Methods:     []grpc.MethodDesc{{MethodName: "Lock"}, {MethodName: "Unlock"}},
		Metadata:    "v3lock.proto",
	}
	electionDesc = grpc.ServiceDesc{
		ServiceName: "v3electionpb.Election",
		Methods: []grpc.MethodDesc{{MethodName: "Campaign"}, {MethodName: "Proclaim"}, {MethodName: "Leader"},
			{MethodName: "Resign"}},
		Streams:  []grpc.StreamDesc{{StreamName: "Observe", ServerStreams: true}},
		Metadata: "v3election.proto",
	}
)

// learnerMethods are what a learner serves: of Range only the serializable ones, which the handler sees to.
var learnerMethods = []string{
	"/holdfast.v1.Cluster/Repair",
	"/etcdserverpb.KV/Range",
	"/etcdserverpb.Maintenance/Status",
	"/etcdserverpb.Maintenance/Snapshot",
}

// served are the methods of the services with generated handlers that are finished. Every other method answers
// Unimplemented.
var served = []string{
	"/etcdserverpb.Cluster/MemberList",
	"/etcdserverpb.Cluster/MemberAdd",
	"/etcdserverpb.Cluster/MemberRemove",
	"/etcdserverpb.Cluster/MemberUpdate",
	"/etcdserverpb.Cluster/MemberPromote",
	"/etcdserverpb.Maintenance/MoveLeader",
	"/etcdserverpb.Maintenance/Alarm",
	"/etcdserverpb.Maintenance/Downgrade",
	"/etcdserverpb.Maintenance/Snapshot",
	"/etcdserverpb.Maintenance/Status",
	"/etcdserverpb.Maintenance/Defragment",
	"/etcdserverpb.Maintenance/Hash",
	"/etcdserverpb.Maintenance/HashKV",
	"/etcdserverpb.Auth/AuthEnable",
	"/etcdserverpb.Auth/AuthDisable",
	"/etcdserverpb.Auth/AuthStatus",
	"/etcdserverpb.Auth/Authenticate",
	"/etcdserverpb.Auth/UserAdd",
	"/etcdserverpb.Auth/UserGet",
	"/etcdserverpb.Auth/UserList",
	"/etcdserverpb.Auth/UserDelete",
	"/etcdserverpb.Auth/UserChangePassword",
	"/etcdserverpb.Auth/UserGrantRole",
	"/etcdserverpb.Auth/UserRevokeRole",
	"/etcdserverpb.Auth/RoleAdd",
	"/etcdserverpb.Auth/RoleGet",
	"/etcdserverpb.Auth/RoleList",
	"/etcdserverpb.Auth/RoleDelete",
	"/etcdserverpb.Auth/RoleGrantPermission",
	"/etcdserverpb.Auth/RoleRevokePermission",
	"/grpc.health.v1.Health/Check",
	"/grpc.health.v1.Health/Watch",
	"/grpc.health.v1.Health/List",
}

// registration is a service with what serves it.
type registration struct {
	desc *grpc.ServiceDesc
	srv  any
}

// services returns every service in the form in which it is registered: its descriptor with handlers that count,
// admit and recover.
func (s *Server) services() []registration {
	raw := map[string]rawHandler{
		"/etcdserverpb.KV/Range":              s.rangeKeys,
		"/etcdserverpb.KV/Put":                s.put,
		"/etcdserverpb.KV/DeleteRange":        s.deleteRange,
		"/etcdserverpb.KV/Txn":                s.txn,
		"/etcdserverpb.KV/Compact":            s.compact,
		"/etcdserverpb.Lease/LeaseGrant":      s.leaseGrant,
		"/etcdserverpb.Lease/LeaseRevoke":     s.leaseRevoke,
		"/etcdserverpb.Lease/LeaseTimeToLive": s.leaseTimeToLive,
		"/etcdserverpb.Lease/LeaseLeases":     s.leaseLeases,
		"/v3lockpb.Lock/Lock":                 s.lock,
		"/v3lockpb.Lock/Unlock":               s.unlock,
		"/v3electionpb.Election/Campaign":     s.campaign,
		"/v3electionpb.Election/Proclaim":     s.proclaimValue,
		"/v3electionpb.Election/Leader":       s.leader,
		"/v3electionpb.Election/Resign":       s.resignLeader,
		"/holdfast.v1.Cluster/Change":         s.changeMembers,
		"/holdfast.v1.Cluster/Repair":         s.repair,
	}
	rawStreams := map[string]grpc.StreamHandler{
		"/etcdserverpb.KV/RangeStream":       s.rangeStream,
		"/etcdserverpb.Lease/LeaseKeepAlive": s.leaseKeepAlive,
		"/v3electionpb.Election/Observe":     s.observe,
		"/etcdserverpb.Watch/Watch":          s.watch,
	}
	var out []registration
	for _, in := range []registration{
		{&pb.KV_ServiceDesc, s},
		{&pb.Watch_ServiceDesc, pb.UnimplementedWatchServer{}},
		{&pb.Lease_ServiceDesc, pb.UnimplementedLeaseServer{}},
		{&pb.Cluster_ServiceDesc, &clusterServer{s: s}},
		{&pb.Maintenance_ServiceDesc, &maintenanceServer{s: s}},
		{&pb.Auth_ServiceDesc, &authServer{s: s}},
		{&lockDesc, s},
		{&electionDesc, s},
		{&ownClusterDesc, s},
		{&healthpb.Health_ServiceDesc, s.grpcHealth},
	} {
		desc := &grpc.ServiceDesc{ServiceName: in.desc.ServiceName, HandlerType: (*any)(nil), Metadata: in.desc.Metadata}
		for _, d := range in.desc.Methods {
			m := s.newMethod(desc.ServiceName, d.MethodName, "unary")
			var h grpc.MethodHandler
			switch {
			case raw[m.full] != nil:
				h = s.raw(m, raw[m.full])
			case slices.Contains(served, m.full):
				h = s.unary(m, d.Handler)
			default:
				h = s.unary(m, refuseUnary(m))
			}
			desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: d.MethodName, Handler: h})
		}
		for _, d := range in.desc.Streams {
			m := s.newMethod(desc.ServiceName, d.StreamName, streamKind(d))
			switch {
			case rawStreams[m.full] != nil:
				d.Handler = s.stream(m, rawStreams[m.full])
			case slices.Contains(served, m.full):
				d.Handler = s.stream(m, d.Handler)
			default:
				d.Handler = s.stream(m, refuseStream(m))
			}
			desc.Streams = append(desc.Streams, d)
		}
		out = append(out, registration{desc, in.srv})
	}
	return out
}

func (s *Server) newMethod(service, name, kind string) *method {
	m := &method{full: "/" + service + "/" + name, service: service, name: name, kind: kind}
	m.policy = policies[m.full]
	m.learner = slices.Contains(learnerMethods, m.full)
	m.state = readsOrWrites(m.full)
	s.methods = append(s.methods, m)
	return m
}

func streamKind(d grpc.StreamDesc) string {
	switch {
	case d.ClientStreams && d.ServerStreams:
		return "bidi_stream"
	case d.ClientStreams:
		return "client_stream"
	default:
		return "server_stream"
	}
}

func refuseUnary(m *method) grpc.MethodHandler {
	return func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
		return nil, unfinished(m.service, m.name)
	}
}

func refuseStream(m *method) grpc.StreamHandler {
	return func(any, grpc.ServerStream) error { return unfinished(m.service, m.name) }
}
