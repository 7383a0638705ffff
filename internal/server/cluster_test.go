package server

import (
	"context"
	"errors"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/member"
	"holdfast/internal/node"
)

func (f *fakeNode) NewMemberID(urls []string) kind.MemberID {
	return member.NewID(fakeCluster, urls, 1, f.machine.Everyone())
}

// ChangeMembers does what a leader does: checks, has raft change its configuration, and applies.
func (f *fakeNode) ChangeMembers(_ context.Context, change command.MemberChange) (machine.Reply, error) {
	cs := f.machine.ConfState()
	f.mu.Lock()
	activity := f.mu.activity
	f.mu.Unlock()
	if err := member.Check(change, f.machine.Everyone(), cs, activity); err != nil {
		return machine.Reply{}, err
	}
	cfg, progress, err := confchange.Restore(confchange.Changer{Tracker: tracker.MakeProgressTracker(10, 0), LastIndex: 1}, cs)
	if err != nil {
		return machine.Reply{}, err
	}
	changer := confchange.Changer{Tracker: tracker.ProgressTracker{Config: cfg, Progress: progress, MaxInflight: 10}, LastIndex: 1}
	if cfg, progress, err = changer.Simple(member.Proposal(change, nil).GetChanges()...); err != nil {
		return machine.Reply{}, err
	}
	now := tracker.ProgressTracker{Config: cfg, Progress: progress}
	entry := command.Entry{Commands: []command.Command{{Kind: command.KindMemberChange,
		Origin: command.Origin{Member: fakeMember, Boot: 1, Sequence: 1}, Payload: command.AppendMemberChange(nil, &change)}}}
	p := f.machine.Begin(machine.Local{Member: fakeMember, Boot: 1})
	at := f.machine.Applied()
	at.Index++
	if err := p.Configure(at, (*raftpb.ConfState)(now.ConfState()), command.AppendEntry(nil, &entry)); err != nil {
		return machine.Reply{}, err
	}
	reply := p.Replies()[0]
	return reply, p.Commit()
}

func (f *fakeNode) TransferLeadership(_ context.Context, to kind.MemberID) error {
	if f.follows {
		return node.ErrNotLeader
	}
	for _, m := range f.machine.Members() {
		if m.ID == to && !m.Learner {
			return node.ErrTimeoutLeaderTransfer
		}
	}
	return node.ErrBadLeaderTransferee
}

// The Cluster service answers and refuses as etcd does; who was removed is in no list, and his id never comes back.
func TestClusterChanges(t *testing.T) {
	f := newFakeNode(t).execute()
	f.members = nil
	founder := f.machine.Members()[0]
	f.set(func(f *fakeNode) {
		f.mu.activity = member.Activity{Leader: founder.ID, Peers: map[kind.MemberID]member.Peer{founder.ID: {Connected: true, Settled: true, Match: 100}}, Strict: true, MaxLearners: 1}
	})
	_, address := serve(t, f, Options{})
	c, ctx := pb.NewClusterClient(dial(t, address)), timeout(t)
	refused := func(what string, err, want error) {
		t.Helper()
		if !sameStatus(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	for _, urls := range [][]string{nil, {""}, {"localhost:2380"}, {"http://host"}, {"http://host:1/path"}, {"ftp://host:1"}, {"http://ok:1", "http://[::1"}, {":"}} {
		_, err := c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: urls})
		refused("URLs of a new member", err, rpctypes.ErrGRPCMemberBadURLs)
		_, err = c.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: uint64(founder.ID), PeerURLs: urls})
		refused("new URLs of a member", err, rpctypes.ErrGRPCMemberBadURLs)
	}
	added, err := c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{" http://b:2 ", "http://a:1"}, IsLearner: true})
	if err != nil {
		t.Fatal(err)
	}
	learner := added.Member.ID
	if h := added.Header; h.Revision != 0 || h.RaftTerm != 3 || h.MemberId != uint64(fakeMember) {
		t.Errorf("the header is %v", h)
	}
	if m := added.Member; learner == 0 || m.Name != "" || !m.IsLearner || !slices.Equal(m.PeerURLs, []string{"http://a:1", "http://b:2"}) || len(m.ClientURLs) != 0 {
		t.Errorf("added %v", m)
	}
	if len(added.Members) != 2 {
		t.Errorf("members %v", added.Members)
	}
	_, err = c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://c:1"}, IsLearner: true})
	refused("a second learner", err, rpctypes.ErrGRPCTooManyLearners)
	_, err = c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://a:1"}})
	refused("a URL that is there", err, rpctypes.ErrGRPCPeerURLExist)
	_, err = c.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: learner})
	refused("a learner that raft does not know", err, rpctypes.ErrGRPCMemberNotFound)
	f.set(func(f *fakeNode) {
		f.mu.activity.Peers[kind.MemberID(learner)] = member.Peer{Connected: true, Match: 1}
	})
	_, err = c.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: learner})
	refused("a learner that is behind", err, rpctypes.ErrGRPCLearnerNotReady)
	_, err = c.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: uint64(founder.ID)})
	refused("a voter", err, rpctypes.ErrGRPCMemberNotLearner)
	f.set(func(f *fakeNode) {
		f.mu.activity.Peers[kind.MemberID(learner)] = member.Peer{Connected: true, Match: 99}
	})
	promoted, err := c.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: learner})
	if err != nil || len(promoted.Members) != 2 || promoted.Members[0].IsLearner || promoted.Members[1].IsLearner {
		t.Errorf("promoted: %v, %v", promoted, err)
	}
	_, err = c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://c:1"}})
	refused("a third member before the second has started", err, rpctypes.ErrGRPCMemberNotEnoughStarted)
	if _, err := f.propose(ctx, command.Command{Kind: command.KindMemberPublish, AuthRevision: command.ByMember,
		Payload: command.AppendMemberPublish(nil, &command.MemberPublish{ID: kind.MemberID(learner), Name: "two", ClientURLs: []string{"http://a:3"}})}); err != nil {
		t.Fatal(err)
	}
	_, err = c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://c:1"}})
	refused("a third member before the second is settled", err, rpctypes.ErrGRPCUnhealthy)

	updated, err := c.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: learner, PeerURLs: []string{"https://d:4"}})
	if err != nil || len(updated.Members) != 2 {
		t.Fatal(updated, err)
	}
	at := slices.IndexFunc(updated.Members, func(m *pb.Member) bool { return m.ID == learner })
	if m := updated.Members[at]; m.Name != "two" || !slices.Equal(m.PeerURLs, []string{"https://d:4"}) || !slices.Equal(m.ClientURLs, []string{"http://a:3"}) {
		t.Errorf("updated %v", m)
	}
	_, err = c.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: learner, PeerURLs: founder.PeerURLs})
	refused("the URL of another", err, rpctypes.ErrGRPCPeerURLExist)
	for _, id := range []uint64{0, 99} {
		_, err = c.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: id, PeerURLs: []string{"http://e:1"}})
		refused("an update of a stranger", err, rpctypes.ErrGRPCMemberNotFound)
		_, err = c.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
		refused("the removal of a stranger", err, rpctypes.ErrGRPCMemberNotFound)
		_, err = c.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
		refused("the promotion of a stranger", err, rpctypes.ErrGRPCMemberNotFound)
	}
	_, err = c.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: learner})
	refused("one that has just come", err, rpctypes.ErrGRPCUnhealthy)
	f.set(func(f *fakeNode) { f.mu.activity.Peers[kind.MemberID(learner)] = member.Peer{} })
	removed, err := c.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: learner})
	if err != nil || len(removed.Members) != 1 || removed.Members[0].ID != uint64(founder.ID) || removed.Header.Revision != 0 {
		t.Errorf("removed: %v, %v", removed, err)
	}
	_, err = c.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: learner})
	refused("removed twice", err, rpctypes.ErrGRPCMemberNotFound)
	_, err = c.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: uint64(founder.ID)})
	refused("the last member", err, rpctypes.ErrGRPCMemberNotEnoughStarted)
	again, err := c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://a:1", "http://b:2"}})
	if err != nil || again.Member.ID == learner || again.Member.IsLearner {
		t.Errorf("added again: %v, %v", again, err)
	}
	list, err := c.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil || len(list.Members) != 2 {
		t.Errorf("listed: %v, %v", list, err)
	}
}

// MoveLeader is refused by who does not lead and for who cannot; it answers, without a header, when it is done.
func TestMoveLeader(t *testing.T) {
	f := newFakeNode(t)
	_, address := serve(t, f, Options{})
	m, ctx := pb.NewMaintenanceClient(dial(t, address)), timeout(t)
	if _, err := m.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 99}); !sameStatus(err, rpctypes.ErrGRPCBadLeaderTransferee) {
		t.Errorf("to a stranger: %v", err)
	}
	f.follows = true
	if _, err := m.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 99}); !sameStatus(err, rpctypes.ErrGRPCNotLeader) {
		t.Errorf("by a follower: %v", err)
	}
	f.follows = false
	f.members = nil
	if _, err := m.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: uint64(f.machine.Members()[0].ID)}); status.Code(err) != codes.Unknown ||
		status.Convert(err).Message() != "etcdserver: request timed out, leader transfer took too long" {
		t.Errorf("to one that does not take it: %v", err)
	}
	if err := toStatus(errors.Join(member.ErrUnderWay)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a change under way is told as %v", err)
	}
}

// Who may see the alarms may not raise or clear one, and who may not change members changes none.
func TestAlarmsAndMembersNeedRoot(t *testing.T) {
	w := newWorld(t, Options{})
	m, c := pb.NewMaintenanceClient(w.conn), pb.NewClusterClient(w.conn)
	_, err := m.Alarm(w.as("bob"), &pb.AlarmRequest{})
	w.allowed("see the alarms", err)
	for _, action := range []pb.AlarmRequest_AlarmAction{pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE} {
		_, err = m.Alarm(w.as("bob"), &pb.AlarmRequest{Action: action, MemberID: 1, Alarm: pb.AlarmType_NOSPACE})
		w.denied(action.String(), err, "permission denied")
	}
	id := uint64(w.node.machine.Members()[0].ID)
	_, err = c.MemberUpdate(w.as("bob"), &pb.MemberUpdateRequest{ID: id, PeerURLs: []string{"http://a:1"}})
	w.denied("update a member", err, "permission denied")
	_, err = m.Alarm(w.as("root"), &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 1, Alarm: pb.AlarmType_NOSPACE})
	w.allowed("raise an alarm", err)
	_, err = c.MemberUpdate(w.as("root"), &pb.MemberUpdateRequest{ID: id, PeerURLs: []string{"http://a:1"}})
	w.allowed("update a member", err)
	if alarms := w.node.machine.Alarms(); len(alarms) != 1 || alarms[0].Member != 1 {
		t.Errorf("alarms %v", alarms)
	}
	// The machine decides again about what was allowed by other rights.
	for _, c := range []command.Command{
		{Kind: command.KindAlarm, Payload: command.AppendAlarm(nil, &command.Alarm{Action: command.AlarmClear, Member: 1, Type: command.AlarmNoSpace})},
		{Kind: command.KindMemberUpdate, Payload: command.AppendMemberUpdate(nil, &command.MemberUpdate{ID: kind.MemberID(id), PeerURLs: []string{"http://b:1"}})},
	} {
		for _, who := range []string{"bob", "root", ""} { // the user root is younger than that too
			c.User, c.AuthRevision = who, 1
			if reply, err := w.node.Propose(timeout(t), c); err != nil || !errors.Is(reply.Err, machine.ErrAuthChanged) {
				t.Errorf("%v by %q: %v, %v", c.Kind, who, reply.Err, err)
			}
		}
	}
	if alarms, m := w.node.machine.Alarms(), w.node.machine.Members()[0]; len(alarms) != 1 || m.PeerURLs[0] != "http://a:1" {
		t.Errorf("alarms %v, member %v", alarms, m)
	}
}
