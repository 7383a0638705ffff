package server

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/internal/command"
)

// The service holdfast.v1.Cluster, which etcd does not have. Its methods:
//
//	rpc Change(ChangeRequest) returns (etcdserverpb.MemberListResponse)
//	rpc Repair(RepairRequest) returns (RepairResponse)
//
//	message ChangeRequest { repeated Step steps = 1; }
//	message Step { int32 op = 1; uint64 id = 2; repeated string peer_urls = 3; }
//
//	message RepairRequest {}
//	message RepairResponse { etcdserverpb.ResponseHeader header = 1; string cause = 2; uint64 index = 3; int64 revision = 4; int64 nanoseconds = 5; }
//
// Repair fetches the state of a member that is in quarantine anew from the others. The answer says why it was there, the
// entry at which its digest agrees with the majority's, the revision at which its keys do, and how long it took.
//
// Change changes the membership in several steps at once: all of them happen, or none, and at no moment may one majority decide
// without the other (Raft thesis, section 4.3). The operations are 1 to add a member that votes, 2 to add a learner, 3 to
// promote one, 4 to remove a member. A member that is added gets its id here. The header of the answer has no revision.
var ownClusterDesc = grpc.ServiceDesc{
	ServiceName: "holdfast.v1.Cluster",
	Methods:     []grpc.MethodDesc{{MethodName: "Change"}, {MethodName: "Repair"}},
	Metadata:    "holdfast/v1/cluster.proto",
}

// maxSteps bounds the steps of one change: more members than that no cluster has.
const maxSteps = 64

// changeMembers serves Cluster.Change.
func (s *Server) changeMembers(ctx context.Context, request []byte) (*answer, error) {
	change, known, err := command.DecodeMemberChange(request)
	switch {
	case err != nil:
		return nil, malformed(err)
	case !known:
		return nil, status.Error(codes.InvalidArgument, "the change of the membership has fields that this version of Holdfast does not know")
	case len(change.Steps) > maxSteps:
		return nil, status.Errorf(codes.InvalidArgument, "the change of the membership has %d steps, and the limit is %d", len(change.Steps), maxSteps)
	}
	for i := range change.Steps {
		step := &change.Steps[i]
		switch {
		case step.Op == command.AddVoter || step.Op == command.AddLearner:
			if step.PeerURLs, err = peerURLs(step.PeerURLs); err != nil {
				return nil, err
			}
			step.ID = s.node.NewMemberID(step.PeerURLs)
		case len(step.PeerURLs) > 0:
			return nil, status.Error(codes.InvalidArgument, "only a member that is added brings peer URLs")
		}
	}
	if err := change.Check(); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	reply, err := s.node.ChangeMembers(ctx, change)
	if err != nil {
		return nil, proposalFailed(err)
	}
	if reply.Err != nil {
		return nil, toStatus(reply.Err)
	}
	return s.newAnswer(0, reply.Body), nil
}
