package server

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// clusterServer serves those methods of the Cluster service that are listed as served.
type clusterServer struct {
	pb.UnimplementedClusterServer
	s *Server
}

// MemberList lists the members; the header has no revision, as etcd's has none.
func (c *clusterServer) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	members, err := c.s.node.Members(ctx, r.Linearizable)
	if err != nil {
		return nil, c.s.readFailed(err)
	}
	response := &pb.MemberListResponse{Header: c.s.header.message(0, c.s.node.Status().Term)}
	for _, m := range members {
		response.Members = append(response.Members, &pb.Member{
			ID:         uint64(m.ID),
			Name:       m.Name,
			PeerURLs:   m.PeerURLs,
			ClientURLs: m.ClientURLs,
			IsLearner:  m.Learner,
		})
	}
	return response, nil
}
