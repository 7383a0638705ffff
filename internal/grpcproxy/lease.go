package grpcproxy

import (
	"context"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// leaseServer serves leases where keys have a namespace: of the keys of a lease only those in it are named.
type leaseServer struct {
	pb.UnimplementedLeaseServer
	p *Proxy
}

func (s *leaseServer) upstream() pb.LeaseClient {
	return pb.NewLeaseClient(s.p.client.ActiveConnection())
}

// LeaseGrant is passed on.
func (s *leaseServer) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	return s.upstream().LeaseGrant(outgoing(ctx), r)
}

// LeaseRevoke is passed on.
func (s *leaseServer) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	return s.upstream().LeaseRevoke(outgoing(ctx), r)
}

// LeaseLeases is passed on.
func (s *leaseServer) LeaseLeases(ctx context.Context, r *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	return s.upstream().LeaseLeases(outgoing(ctx), r)
}

// LeaseTimeToLive names the keys of the lease that are in the namespace, without it.
func (s *leaseServer) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	response, err := s.upstream().LeaseTimeToLive(outgoing(ctx), r)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for _, key := range response.Keys {
		if name, ok := strings.CutPrefix(string(key), s.p.o.Namespace); ok {
			keys = append(keys, []byte(name))
		}
	}
	response.Keys = keys
	return response, nil
}

// LeaseKeepAlive is passed on.
func (s *leaseServer) LeaseKeepAlive(stream grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]) error {
	return s.p.pass(pb.Lease_LeaseKeepAlive_FullMethodName, stream)
}
