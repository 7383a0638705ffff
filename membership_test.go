package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast"
)

// mustRefuse requires an answer of etcd's.
func mustRefuse(t *testing.T, what string, err, want error) {
	t.Helper()
	if err == nil || rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// health asks a member for a path and returns the code and what it says.
func (c *cluster) health(m *one, path string) (int, string) {
	c.t.Helper()
	r, err := http.Get("http://" + m.client + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return r.StatusCode, strings.TrimSpace(string(body))
}

// A member joins as a learner, which serves what etcd's learners serve, is promoted when it is in sync, and is removed:
// all of it asked for through a follower, and refused as etcd refuses it.
func TestMembershipThroughAFollower(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	follower := c.others(c.leader())[0]
	client := c.to(follower)
	c.put(client, "before", "x")
	fresh := c.add("m4")
	url := "http://" + fresh.peer
	_, err := client.MemberAdd(within(t), []string{"http://" + c.list[0].peer})
	if rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCUnhealthy) { // so long as not all have been there for 5 s
		mustRefuse(t, "a URL that is there", err, rpctypes.ErrGRPCPeerURLExist)
	}
	var added *clientv3.MemberAddResponse
	c.eventually("add a learner", func(ctx context.Context) (err error) {
		if added, err = client.MemberAddAsLearner(ctx, []string{url}); err != nil {
			mustRefuse(t, "before the members have been there for 5 s", err, rpctypes.ErrGRPCUnhealthy)
		}
		return err
	})
	id := added.Member.ID
	if !added.Member.IsLearner || len(added.Members) != 4 || added.Member.PeerURLs[0] != url {
		t.Errorf("added %v", added)
	}
	_, err = client.MemberAddAsLearner(within(t), []string{"http://127.0.0.1:1"})
	mustRefuse(t, "a second learner", err, rpctypes.ErrGRPCTooManyLearners)
	_, err = client.MemberAdd(within(t), []string{url})
	mustRefuse(t, "a URL that is there", err, rpctypes.ErrGRPCPeerURLExist)
	_, err = client.MemberPromote(within(t), id)
	mustRefuse(t, "a learner that has not come", err, rpctypes.ErrGRPCLearnerNotReady)
	_, err = client.MemberPromote(within(t), holdfast.ID(follower.Member))
	mustRefuse(t, "a voter", err, rpctypes.ErrGRPCMemberNotLearner)
	_, err = client.MemberPromote(within(t), 7)
	mustRefuse(t, "the promotion of a stranger", err, rpctypes.ErrGRPCMemberNotFound)
	_, err = client.MemberRemove(within(t), 7)
	mustRefuse(t, "the removal of a stranger", err, rpctypes.ErrGRPCMemberNotFound)

	var initial []string
	for _, m := range c.list {
		initial = append(initial, m.name+"=http://"+m.peer)
	}
	c.configure(fresh, "--initial-cluster-state=existing", "--initial-cluster="+strings.Join(initial, ","))
	c.start(fresh)
	learner := c.to(fresh)
	c.eventually("the learner has what was written", func(ctx context.Context) error {
		r, err := learner.Get(ctx, "before", clientv3.WithSerializable())
		if err == nil && len(r.Kvs) == 0 {
			err = errors.New("nothing is there")
		}
		return err
	})
	if s, err := learner.Status(within(t), fresh.client); err != nil || !s.IsLearner || s.Leader == 0 {
		t.Errorf("the learner's status is %v, %v", s, err)
	}
	_, err = learner.Get(within(t), "before")
	mustRefuse(t, "a linearizable read of a learner", err, rpctypes.ErrGRPCNotSupportedForLearner)
	_, err = learner.Put(within(t), "by the learner", "x")
	mustRefuse(t, "a write through a learner", err, rpctypes.ErrGRPCNotSupportedForLearner)
	_, err = learner.MemberList(within(t))
	mustRefuse(t, "the members, of a learner", err, rpctypes.ErrGRPCNotSupportedForLearner)
	_, err = client.MoveLeader(within(t), id)
	mustRefuse(t, "leadership, by a follower", err, rpctypes.ErrGRPCNotLeader)
	_, err = c.to(c.leader(c.list[:3]...)).MoveLeader(within(t), id)
	mustRefuse(t, "leadership, to a learner", err, rpctypes.ErrGRPCBadLeaderTransferee)
	if code, body := c.health(fresh, "/readyz/non_learner"); code != 503 || body != "[-]non_learner failed: not supported for learner" {
		t.Errorf("the learner's readiness: %d %q", code, body)
	}
	if code, body := c.health(fresh, "/health?serializable=true"); code != 200 {
		t.Errorf("the learner's health: %d %q", code, body)
	}

	c.eventually("promote the learner", func(ctx context.Context) error {
		_, err := client.MemberPromote(ctx, id)
		if err != nil {
			mustRefuse(t, "a learner that catches up", err, rpctypes.ErrGRPCLearnerNotReady)
		}
		return err
	})
	c.put(learner, "by the new member", "x")
	if got, want := c.names(learner), c.whole(c.list...); got != want {
		t.Errorf("the new member lists %s, not %s", got, want)
	}
	_, err = client.MemberUpdate(within(t), id, []string{"http://" + c.list[0].peer})
	mustRefuse(t, "the URL of another", err, rpctypes.ErrGRPCPeerURLExist)
	if r, err := client.MemberUpdate(within(t), id, []string{"http://" + fresh.peer, "http://127.0.0.1:1"}); err != nil || len(r.Members) != 4 {
		t.Errorf("updated: %v, %v", r, err)
	}
	c.eventually("remove the new member", func(ctx context.Context) error {
		_, err := client.MemberRemove(ctx, id)
		return err
	})
	select {
	case <-fresh.Done():
	case <-time.After(patience):
		t.Error("the removed member goes on")
	}
	_, err = client.MemberRemove(within(t), id)
	mustRefuse(t, "removed twice", err, rpctypes.ErrGRPCMemberNotFound)
	again, err := client.MemberAddAsLearner(within(t), []string{url})
	if err != nil || again.Member.ID == id {
		t.Errorf("a new member at the old URL: %v, %v", again, err)
	}
}

// Leadership goes where it is sent, and not to strangers.
func TestMoveLeader(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	old := c.leader()
	client := c.to(old)
	_, err := client.MoveLeader(within(t), 7)
	mustRefuse(t, "to a stranger", err, rpctypes.ErrGRPCBadLeaderTransferee)
	to := c.others(old)[1]
	if r, err := client.MoveLeader(within(t), holdfast.ID(to.Member)); err != nil || r.Header != nil {
		t.Fatalf("%v, %v", r, err)
	}
	if now := c.leader(); now != to {
		t.Errorf("%s leads, not %s", now.name, to.name)
	}
	_, err = client.MoveLeader(within(t), holdfast.ID(old.Member))
	mustRefuse(t, "by who does not lead", err, rpctypes.ErrGRPCNotLeader)
}

// An alarm is the whole cluster's: raised through one member it refuses writes on all, is shown by all, and is cleared by
// one.
func TestAlarmOfTheCluster(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	id := holdfast.ID(c.list[2].Member)
	alarm := func(action pb.AlarmRequest_AlarmAction) {
		t.Helper()
		r, err := pb.NewMaintenanceClient(c.to(c.list[0]).ActiveConnection()).Alarm(within(t),
			&pb.AlarmRequest{Action: action, MemberID: id, Alarm: pb.AlarmType_NOSPACE})
		if err != nil || len(r.Alarms) != 1 || r.Alarms[0].MemberID != id {
			t.Fatalf("%v, %v", r, err)
		}
	}
	alarm(pb.AlarmRequest_ACTIVATE)
	for _, m := range c.list {
		client := c.to(m)
		r, err := client.AlarmList(within(t))
		if err != nil || len(r.Alarms) != 1 || r.Alarms[0].MemberID != id {
			t.Errorf("%s lists %v, %v", m.name, r, err)
		}
		_, err = client.Put(within(t), "k", "v")
		mustRefuse(t, "a put through "+m.name, err, rpctypes.ErrGRPCNoSpace)
		if s, err := client.Status(within(t), m.client); err != nil || len(s.Errors) != 1 || s.Errors[0] != fmt.Sprintf("memberID:%d alarm:NOSPACE", id) {
			t.Errorf("the status of %s is %v, %v", m.name, s, err)
		}
		if code, body := c.health(m, "/health"); code != 503 || !strings.Contains(body, "ALARM NOSPACE") {
			t.Errorf("the health of %s: %d %q", m.name, code, body)
		}
		if code, body := c.health(m, "/readyz"); code != 200 {
			t.Errorf("the readiness of %s: %d %q", m.name, code, body)
		}
	}
	alarm(pb.AlarmRequest_DEACTIVATE)
	for _, m := range c.list {
		c.put(c.to(m), "k", "v")
	}
}

// Without a majority: streams and calls that want a leader end with "no leader", those that do not stay or time out, what
// one member knows is still served, and the member says that it is not well.
func TestNoMajority(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	last := c.leader() // also a leader notices
	client := c.to(last)
	c.put(client, "k", "v")
	grant, err := client.Grant(within(t), 600)
	if err != nil {
		t.Fatal(err)
	}
	led := clientv3.WithRequireLeader(within(t))
	leases := pb.NewLeaseClient(client.ActiveConnection())
	alive, err := leases.LeaseKeepAlive(led)
	if err != nil {
		t.Fatal(err)
	}
	if err := alive.Send(&pb.LeaseKeepAliveRequest{ID: int64(grant.ID)}); err != nil {
		t.Fatal(err)
	}
	if r, err := alive.Recv(); err != nil || r.TTL != 600 {
		t.Fatalf("%v, %v", r, err)
	}
	watches := client.Watch(led, "k")
	stays := client.Watch(within(t), "k", clientv3.WithRev(1))
	if r := <-stays; r.Err() != nil || len(r.Events) != 1 {
		t.Fatalf("the history is %v", r)
	}
	for _, m := range c.others(last) {
		m.kill()
	}
	if _, err := alive.Recv(); rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader) {
		t.Errorf("the keep-alives end with %v", err)
	}
	for r := range watches {
		if err := r.Err(); err != nil {
			mustRefuse(t, "the watch that wants a leader", err, rpctypes.ErrNoLeader)
			break
		}
	}
	_, err = client.Get(led, "k", clientv3.WithSerializable())
	mustRefuse(t, "a call that wants a leader", err, rpctypes.ErrGRPCNoLeader)
	if r, err := client.Get(within(t), "k", clientv3.WithSerializable()); err != nil || len(r.Kvs) != 1 {
		t.Errorf("a serializable read: %v, %v", r, err)
	}
	if r, err := client.MemberList(within(t), clientv3.WithSerializable()); err != nil || len(r.Members) != 3 {
		t.Errorf("the members: %v, %v", r, err)
	}
	if s, err := client.Status(within(t), last.client); err != nil || s.Leader != 0 || len(s.Errors) != 1 || s.Errors[0] != "etcdserver: no leader" {
		t.Errorf("the status: %v, %v", s, err)
	}
	if code, body := c.health(last, "/health"); code != 503 || !strings.Contains(body, "RAFT NO LEADER") {
		t.Errorf("the health: %d %q", code, body)
	}
	if code, body := c.health(last, "/livez"); code != 200 {
		t.Errorf("whether it lives: %d %q", code, body)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := client.Put(ctx, "k", "w"); err == nil || !strings.HasPrefix(rpctypes.ErrorDesc(err), "etcdserver: request timed out") {
		t.Errorf("a write: %v", err)
	}
	select {
	case r := <-stays:
		t.Errorf("the watch that does not want a leader says %v", r)
	default:
	}
}

// 35: a lease is known to every member right after it was granted through any, for its time and for keep-alives.
func TestLeaseThroughEveryMember(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	var clients []*clientv3.Client
	for _, m := range c.list {
		clients = append(clients, c.to(m))
		c.put(clients[len(clients)-1], "warm", m.name)
	}
	for i := range 30 {
		grant, err := clients[i%3].Grant(within(t), 600)
		if err != nil {
			t.Fatal(err)
		}
		for _, client := range clients {
			if r, err := client.TimeToLive(within(t), grant.ID); err != nil || r.TTL < 590 || r.GrantedTTL != 600 {
				t.Fatalf("the time of a lease granted a moment ago: %v, %v", r, err)
			}
			if r, err := client.KeepAliveOnce(within(t), grant.ID); err != nil || r.TTL != 600 {
				t.Fatalf("a keep-alive of a lease granted a moment ago: %v, %v", r, err)
			}
		}
	}
	if _, err := clients[1].KeepAliveOnce(within(t), 12345); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("a keep-alive of no lease: %v", err)
	}
	if r, err := clients[2].TimeToLive(within(t), 12345); err != nil || r.TTL != -1 {
		t.Errorf("the time of no lease: %v, %v", r, err)
	}
}
