package server

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// clusterServer serves the Cluster service. The headers of its answers have no revision, as etcd's have none.
type clusterServer struct {
	pb.UnimplementedClusterServer
	s *Server
}

// MemberList lists the members.
func (c *clusterServer) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	members, err := c.s.node.Members(ctx, r.Linearizable)
	if err != nil {
		return nil, c.s.readFailed(err)
	}
	response := &pb.MemberListResponse{Header: c.header()}
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

// MemberAdd adds a member, which gets its id here: that is decided before it is proposed.
func (c *clusterServer) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	urls, err := peerURLs(r.PeerURLs)
	if err != nil {
		return nil, err
	}
	step := command.MemberStep{Op: command.AddVoter, ID: c.s.node.NewMemberID(urls), PeerURLs: urls}
	if r.IsLearner {
		step.Op = command.AddLearner
	}
	members, err := c.change(ctx, step)
	if err != nil {
		return nil, err
	}
	return &pb.MemberAddResponse{
		Header:  c.header(),
		Member:  &pb.Member{ID: uint64(step.ID), PeerURLs: urls, IsLearner: r.IsLearner},
		Members: members,
	}, nil
}

// MemberRemove removes a member.
func (c *clusterServer) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	members, err := c.change(ctx, command.MemberStep{Op: command.RemoveMember, ID: kind.MemberID(r.ID)})
	if err != nil {
		return nil, err
	}
	return &pb.MemberRemoveResponse{Header: c.header(), Members: members}, nil
}

// MemberPromote makes a learner a member that votes.
func (c *clusterServer) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	members, err := c.change(ctx, command.MemberStep{Op: command.PromoteMember, ID: kind.MemberID(r.ID)})
	if err != nil {
		return nil, err
	}
	return &pb.MemberPromoteResponse{Header: c.header(), Members: members}, nil
}

// MemberUpdate gives a member other peer URLs.
func (c *clusterServer) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	urls, err := peerURLs(r.PeerURLs)
	if err != nil {
		return nil, err
	}
	update := command.MemberUpdate{ID: kind.MemberID(r.ID), PeerURLs: urls}
	reply, err := proposeReply(ctx, c.s, command.KindMemberUpdate, &update, command.AppendMemberUpdate(nil, &update))
	if err != nil {
		return nil, err
	}
	members, err := membersOf(reply.Body)
	if err != nil {
		return nil, err
	}
	return &pb.MemberUpdateResponse{Header: c.header(), Members: members}, nil
}

func (c *clusterServer) header() *pb.ResponseHeader {
	return c.s.header.message(0, c.s.node.Status().Term)
}

// change has the leader do one step and returns the members after it.
func (c *clusterServer) change(ctx context.Context, step command.MemberStep) ([]*pb.Member, error) {
	if step.ID == 0 {
		return nil, rpctypes.ErrGRPCMemberNotFound // nobody has the id that means none
	}
	reply, err := c.s.node.ChangeMembers(ctx, command.MemberChange{Steps: []command.MemberStep{step}})
	if err != nil {
		return nil, proposalFailed(err)
	}
	if reply.Err != nil {
		return nil, toStatus(reply.Err)
	}
	return membersOf(reply.Body)
}

// membersOf reads the members out of the machine's reply to a change.
func membersOf(body []byte) ([]*pb.Member, error) {
	var list pb.MemberListResponse
	if err := proto.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("read the members after a change: %w", err)
	}
	return list.Members, nil
}

// peerURLs returns the URLs at which a member is to be reached, in order, or etcd's refusal: there must be one, each with
// a scheme that members speak, a host with a port, and nothing behind it.
func peerURLs(list []string) ([]string, error) {
	var urls []string
	for _, text := range list {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil {
			return nil, rpctypes.ErrGRPCMemberBadURLs
		}
		switch u.Scheme {
		case "http", "https":
			if _, _, err := net.SplitHostPort(u.Host); err != nil || u.Path != "" {
				return nil, rpctypes.ErrGRPCMemberBadURLs
			}
		case "unix", "unixs":
		default:
			return nil, rpctypes.ErrGRPCMemberBadURLs
		}
		urls = append(urls, u.String())
	}
	if len(urls) == 0 {
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	slices.Sort(urls)
	return urls, nil
}
