package server

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"holdfast/internal/command"
)

// A change of several steps is read as it is written, gets its ids here, and answers with the members after it.
func TestChange(t *testing.T) {
	f := newFakeNode(t)
	f.mu.activity.MaxLearners = 1
	_, address := serve(t, f, Options{})
	c := dial(t, address)
	ask := func(steps ...command.MemberStep) (*pb.MemberListResponse, error) {
		// A message without fields of its own carries any bytes.
		request := &emptypb.Empty{}
		if err := proto.Unmarshal(command.AppendMemberChange(nil, &command.MemberChange{Steps: steps}), request); err != nil {
			t.Fatal(err)
		}
		var r pb.MemberListResponse
		err := c.Invoke(timeout(t), "/holdfast.v1.Cluster/Change", request, &r)
		return &r, err
	}
	r, err := ask(command.MemberStep{Op: command.AddLearner, PeerURLs: []string{"http://127.0.0.1:9"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Members) != 2 || r.Header.GetRevision() != 0 || r.Header.GetClusterId() != uint64(fakeCluster) {
		t.Errorf("the answer is %v", r)
	}
	for _, m := range r.Members {
		if m.ID != uint64(fakeMember) && (!m.IsLearner || m.ID == 0 || m.PeerURLs[0] != "http://127.0.0.1:9") {
			t.Errorf("the new member is %v", m)
		}
	}
	for name, steps := range map[string][]command.MemberStep{
		"no step":              nil,
		"an unknown operation": {{Op: 9, ID: 1}},
		"twice the same":       {{Op: command.RemoveMember, ID: 1}, {Op: command.PromoteMember, ID: 1}},
		"no URL":               {{Op: command.AddVoter}},
		"a URL too many":       {{Op: command.RemoveMember, ID: 1, PeerURLs: []string{"http://127.0.0.1:9"}}},
		"too many steps":       make([]command.MemberStep, maxSteps+1),
	} {
		if _, err := ask(steps...); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}
