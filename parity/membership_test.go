package parity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// membership asks one system about members, leadership and alarms, each time what a single member can answer, and
// returns what it says, with names in the place of ids and of its own URLs.
func membership(t *testing.T, s System) (said []string) {
	cluster, maintenance := pb.NewClusterClient(s.Conn()), pb.NewMaintenanceClient(s.Conn())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, err := cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil || len(list.Members) != 1 {
		t.Fatalf("%s lists %v, %v", s.Name(), list, err)
	}
	self := list.Members[0]
	names := map[uint64]string{self.ID: "self", 0: "zero", 1: "one"}
	var learner uint64
	word := func(id uint64) string {
		if n, known := names[id]; known {
			return n
		}
		return "stranger"
	}
	members := func(list []*pb.Member) string {
		var lines []string
		for _, m := range list {
			if m == nil {
				continue
			}
			urls, clients := fmt.Sprint(m.PeerURLs), len(m.ClientURLs)
			if m.ID == self.ID {
				urls = "own"
			}
			lines = append(lines, fmt.Sprintf("%s %q %s clients=%d learner=%v", word(m.ID), m.Name, urls, clients, m.IsLearner))
		}
		slices.Sort(lines)
		return strings.Join(lines, "; ")
	}
	note := func(what string, h *pb.ResponseHeader, answer string, err error) {
		if err != nil {
			st := status.Convert(err)
			said = append(said, fmt.Sprintf("%s: %v %q", what, st.Code(), st.Message()))
			return
		}
		header := "no header"
		if h != nil {
			header = fmt.Sprintf("cluster=%v member=%v revision=%d term=%v", h.ClusterId == list.Header.ClusterId, h.MemberId == self.ID, h.Revision, h.RaftTerm > 0)
		}
		said = append(said, fmt.Sprintf("%s: %s, %s", what, header, answer))
	}
	show := func() {
		for _, linearizable := range []bool{true, false} {
			r, err := cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: linearizable})
			note("list", r.GetHeader(), members(r.GetMembers()), err)
		}
	}
	add := func(isLearner bool, urls ...string) uint64 {
		r, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: urls, IsLearner: isLearner})
		id := r.GetMember().GetID()
		if err == nil {
			names[id] = "added"
		}
		note(fmt.Sprintf("add %v learner=%v", urls, isLearner), r.GetHeader(), members([]*pb.Member{r.GetMember()})+" of "+members(r.GetMembers()), err)
		return id
	}
	update := func(id uint64, urls ...string) {
		r, err := cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: id, PeerURLs: urls})
		if slices.Contains(self.PeerURLs, urls[0]) {
			urls = []string{"those of the only member"}
		}
		note(fmt.Sprintf("update %s %v", word(id), urls), r.GetHeader(), members(r.GetMembers()), err)
	}
	promote := func(id uint64) {
		r, err := cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
		note("promote "+word(id), r.GetHeader(), members(r.GetMembers()), err)
	}
	remove := func(id uint64) {
		r, err := cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
		note("remove "+word(id), r.GetHeader(), members(r.GetMembers()), err)
	}
	move := func(id uint64) {
		r, err := maintenance.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: id})
		note("move to "+word(id), r.GetHeader(), "", err)
	}
	alarm := func(action pb.AlarmRequest_AlarmAction, id uint64, kind pb.AlarmType) {
		r, err := maintenance.Alarm(ctx, &pb.AlarmRequest{Action: action, MemberID: id, Alarm: kind})
		var alarms []string
		for _, a := range r.GetAlarms() {
			alarms = append(alarms, word(a.MemberID)+" "+a.Alarm.String())
		}
		slices.Sort(alarms)
		note(fmt.Sprintf("alarm %v %s %v", action, word(id), kind), r.GetHeader(), strings.Join(alarms, ", "), err)
	}
	try := func(what string, request proto.Message, err error) {
		note(what+" "+prototext.Format(request), nil, "", err)
	}

	show()
	for _, urls := range [][]string{nil, {""}, {"localhost:2380"}, {"http://host"}, {"http://host:1/path"}, {"ftp://host:1"}, {"http://ok:1", "http://[::1"}, {":"}, {"http://ok:1", ""}} {
		add(true, urls...)
	}
	for _, id := range []uint64{0, 1, self.ID} {
		promote(id)
		move(id)
		remove(id)
	}
	update(0, "http://10.9.9.1:1")
	update(1, "http://10.9.9.1:1")
	learner = add(true, " http://10.9.9.2:1 ", "http://10.9.9.1:1")
	show()
	add(true, "http://10.9.9.3:1")
	add(true, "http://10.9.9.1:1")
	add(false, "http://10.9.9.1:1")
	promote(learner)
	move(learner)
	update(learner, self.PeerURLs[0])
	update(learner, "http://10.9.9.4:1", "unix://somewhere:1")
	update(learner, "http://10.9.9.4:1")
	update(self.ID, "http://10.9.9.4:1")
	show()
	remove(learner)
	remove(learner)
	promote(learner)
	update(learner, "http://10.9.9.5:1")
	show()

	const get, raise, clear = pb.AlarmRequest_GET, pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE
	for _, id := range []uint64{self.ID, 1} {
		for _, kind := range []pb.AlarmType{pb.AlarmType_NONE, pb.AlarmType_NOSPACE} {
			alarm(clear, id, kind)
			alarm(raise, id, kind)
			alarm(raise, id, kind)
			alarm(get, 0, pb.AlarmType_NONE)
			alarm(get, id, pb.AlarmType_CORRUPT)
			put := &pb.PutRequest{Key: []byte("k")}
			_, err := pb.NewKVClient(s.Conn()).Put(ctx, put)
			try("put", put, err)
			grant := &pb.LeaseGrantRequest{TTL: 60}
			_, err = pb.NewLeaseClient(s.Conn()).LeaseGrant(ctx, grant)
			try("grant", grant, err)
			remove := &pb.DeleteRangeRequest{Key: []byte("k")}
			_, err = pb.NewKVClient(s.Conn()).DeleteRange(ctx, remove)
			try("delete", remove, err)
			alarm(clear, 0, kind)
			alarm(get, 0, kind)
			alarm(clear, id, kind)
			alarm(get, 0, pb.AlarmType_NONE)
			_, err = pb.NewKVClient(s.Conn()).Put(ctx, put)
			try("put", put, err)
		}
	}
	// The last: afterwards no majority is there.
	add(false, "http://10.9.9.6:1")
	return said
}

// TestMembership holds that a single member answers and refuses changes of the membership, of leadership and of alarms
// alike on both sides.
func TestMembership(t *testing.T) {
	dir := t.TempDir()
	left := membership(t, startEtcd(t, "etcd", dir, Settings{}))
	right := membership(t, startHoldfast(t, dir, Settings{}))
	if len(left) != len(right) || len(left) < 60 {
		t.Fatalf("%d and %d answers", len(left), len(right))
	}
	for i := range left {
		if reason := excusedMembership(left[i], right[i]); left[i] != right[i] && reason == "" {
			t.Errorf("etcd     %s\nholdfast %s", left[i], right[i])
		}
	}
}

// excusedMembership gives the reason of a difference that is meant to be.
func excusedMembership(left, right string) string {
	const text = ` "etcdserver: re-configuration failed due to not enough started members"`
	if strings.HasSuffix(left, " Unknown"+text) && strings.HasSuffix(right, " FailedPrecondition"+text) {
		return "etcd's API says FailedPrecondition, and its client library reads the text as that; its server sends Unknown because its table has " +
			"the client's error in this place instead of the server's"
	}
	return ""
}
