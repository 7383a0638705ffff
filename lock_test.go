package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/internal/servertest"
)

const (
	lockMethod     = "/v3lockpb.Lock/Lock"
	unlockMethod   = "/v3lockpb.Lock/Unlock"
	campaignMethod = "/v3electionpb.Election/Campaign"
	proclaimMethod = "/v3electionpb.Election/Proclaim"
	leaderMethod   = "/v3electionpb.Election/Leader"
	resignMethod   = "/v3electionpb.Election/Resign"
	observeMethod  = "/v3electionpb.Election/Observe"
)

// TestLockContention: calls of the Lock service and mutexes of clientv3 contend for one lock, and never have it at the
// same time; all of them get it.
func TestLockContention(t *testing.T) {
	s := servertest.Start(t)
	conn := dial(t, s)
	c := client(t, s.Endpoint())
	const rounds, contenders = 6, 8
	var inside, turns atomic.Int32
	enter := func() {
		if n := inside.Add(1); n != 1 {
			t.Errorf("%d have the lock", n)
		}
		turns.Add(1)
		<-time.After(time.Millisecond) // long enough for another to come in, if one can
		inside.Add(-1)
	}
	var group sync.WaitGroup
	for i := range contenders {
		group.Go(func() {
			session, err := concurrency.NewSession(c, concurrency.WithTTL(60))
			if err != nil {
				t.Error(err)
				return
			}
			defer session.Close()
			m := concurrency.NewMutex(session, "door")
			for range rounds {
				if i%2 == 0 {
					if err := m.Lock(within(t)); err != nil {
						t.Error(err)
						return
					}
					enter()
					if err := m.Unlock(within(t)); err != nil {
						t.Error(err)
					}
					continue
				}
				r, err := invoke(within(t), conn, lockMethod, 1, "door", 2, int64(session.Lease()))
				if err != nil {
					t.Error(err)
					return
				}
				if want := fmt.Sprintf("door/%x", session.Lease()); r[2] != want {
					t.Errorf("the key is %q, want %q", r[2], want)
				}
				enter()
				if _, err := invoke(within(t), conn, unlockMethod, 1, r[2]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if turns.Load() != rounds*contenders {
		t.Errorf("%d turns, want %d", turns.Load(), rounds*contenders)
	}
}

// keysOf waits until a prefix has so many keys.
func keysOf(t testing.TB, c *clientv3.Client, prefix string, want int64) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d keys below %s", want, prefix), func() bool {
		r, err := c.Get(within(t), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && r.Count == want
	})
}

// TestLockLeaves: a caller that gives up takes its key with it, one whose lease ends while it waits is told so, and the
// lock goes to the next in line all the same.
func TestLockLeaves(t *testing.T) {
	s := servertest.Start(t)
	conn, c := dial(t, s), client(t, s.Endpoint())
	holder := grant(t, c, 0, 600)
	if _, err := invoke(within(t), conn, lockMethod, 1, "a", 2, int64(holder)); err != nil {
		t.Fatal(err)
	}
	// Again with the same lease: it has it already.
	if r, err := invoke(within(t), conn, lockMethod, 1, "a", 2, int64(holder)); err != nil || r[2] != fmt.Sprintf("a/%x", holder) {
		t.Fatalf("the holder again: %v, %v", r, err)
	}
	wait := func(ctx context.Context, lease clientv3.LeaseID) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := invoke(ctx, conn, lockMethod, 1, "a", 2, int64(lease))
			done <- err
		}()
		return done
	}
	leaver, leave := context.WithCancel(within(t))
	left := wait(leaver, grant(t, c, 0, 600))
	keysOf(t, c, "a/", 2)
	expiring := grant(t, c, 0, 2)
	expired := wait(within(t), expiring)
	keysOf(t, c, "a/", 3)
	last := grant(t, c, 0, 600)
	got := wait(within(t), last)
	leave()
	if err := <-left; status.Code(err) != codes.Canceled {
		t.Errorf("the one that left: %v", err)
	}
	if err := <-expired; status.Code(err) != codes.Unknown || status.Convert(err).Message() != "mutex: session is expired" {
		t.Errorf("the one whose lease has ended: %v", err)
	}
	keysOf(t, c, "a/", 2)
	select {
	case err := <-got:
		t.Fatalf("the lock is given while it is held: %v", err)
	default:
	}
	if _, err := c.Revoke(within(t), holder); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("the next in line: %v", err)
	}
	// A name that begins like another is another lock.
	for _, name := range []string{"ab", "aa", "A", ""} {
		if _, err := invoke(within(t), conn, lockMethod, 1, name, 2, int64(last)); err != nil {
			t.Errorf("lock %q: %v", name, err)
		}
	}
}

// TestLockWords: what is refused, with etcd's words.
func TestLockWords(t *testing.T) {
	s := servertest.Start(t)
	conn, c := dial(t, s), client(t, s.Endpoint())
	lease := int64(grant(t, c, 0, 600))
	for _, refused := range []struct {
		method string
		fields []any
		want   string
	}{
		{lockMethod, []any{1, "n", 2, int64(77)}, "etcdserver: requested lease not found"},
		{unlockMethod, nil, "etcdserver: key is not provided"},
		{campaignMethod, []any{1, "n", 2, int64(77)}, "etcdserver: requested lease not found"},
		{leaderMethod, []any{1, "nobody"}, "election: no leader"},
		{proclaimMethod, []any{2, "v"}, `"leader" field must be provided`},
		{proclaimMethod, []any{1, "", 2, "v"}, "etcdserver: key is not provided"},
		{proclaimMethod, []any{1, string(message(2, "e/1", 3, int64(9), 4, lease)), 2, "v"}, "election: not leader"},
		{resignMethod, nil, `"leader" field must be provided`},
	} {
		_, err := invoke(within(t), conn, refused.method, refused.fields...)
		if status.Code(err) != codes.Unknown || status.Convert(err).Message() != refused.want {
			t.Errorf("%s %q: %v, want %q", refused.method, refused.fields, err, refused.want)
		}
	}
	// Without a lease one of 60 s is granted.
	r, err := invoke(within(t), conn, lockMethod, 1, "own")
	if err != nil {
		t.Fatal(err)
	}
	have, err := c.Get(within(t), r[2].(string))
	if err != nil || have.Count != 1 {
		t.Fatal(have, err)
	}
	if l, err := c.TimeToLive(within(t), clientv3.LeaseID(have.Kvs[0].Lease)); err != nil || l.GrantedTTL != 60 {
		t.Errorf("the lease of a caller without one: %+v, %v", l, err)
	}
	// Bytes that are no message are refused and end nothing.
	request, response := []byte{0xff, 1, 2}, []byte(nil)
	for _, method := range []string{lockMethod, unlockMethod, campaignMethod, proclaimMethod, leaderMethod, resignMethod} {
		if err := conn.Invoke(within(t), method, &request, &response, grpc.ForceCodec(bytesCodec{})); status.Code(err) != codes.Internal {
			t.Errorf("%s of broken bytes: %v", method, err)
		}
	}
}

// TestElection: campaigns of the service and of clientv3 elect one leader at a time, who proclaims and resigns;
// observers see each of its values, also over a compaction, and the leader after it.
func TestElection(t *testing.T) {
	s := servertest.Start(t)
	conn, c := dial(t, s), client(t, s.Endpoint())
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, observeMethod, grpc.ForceCodec(bytesCodec{}))
	if err != nil {
		t.Fatal(err)
	}
	request := message(1, "e")
	if err := errors.Join(stream.SendMsg(&request), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	seen := func(want string) {
		t.Helper()
		var b []byte
		if err := stream.RecvMsg(&b); err != nil {
			t.Fatalf("instead of %q: %v", want, err)
		}
		if kv := parts([]byte(parts(b)[2].(string))); kv[5] != want {
			t.Errorf("the observer sees %q, want %q", kv[5], want)
		}
	}
	lease := grant(t, c, 0, 600)
	r, err := invoke(within(t), conn, campaignMethod, 1, "e", 2, int64(lease), 3, "first")
	if err != nil {
		t.Fatal(err)
	}
	leader := parts([]byte(r[2].(string)))
	if leader[1] != "e" || leader[2] != fmt.Sprintf("e/%x", lease) || leader[4] != int64(lease) {
		t.Errorf("the leader is %v", leader)
	}
	seen("first")
	session, err := concurrency.NewSession(c)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	second := concurrency.NewElection(session, "e")
	elected := make(chan error, 1)
	go func() { elected <- second.Campaign(within(t), "second") }()
	keysOf(t, c, "e/", 2)
	revision := put(t, c, "other")
	if _, err := c.Compact(within(t), revision); err != nil {
		t.Fatal(err)
	}
	if _, err := invoke(within(t), conn, proclaimMethod, 1, r[2], 2, "more"); err != nil {
		t.Error(err)
	}
	seen("more")
	if have, err := second.Leader(within(t)); err != nil || string(have.Kvs[0].Value) != "more" {
		t.Errorf("clientv3 sees %v, %v", have, err)
	}
	// A campaign that is given up leaves nothing behind, and neither does one of a lease that ends.
	third := grant(t, c, 0, 600)
	early, giveUp := context.WithCancel(within(t))
	left := make(chan error, 1)
	go func() {
		_, err := invoke(early, conn, campaignMethod, 1, "e", 2, int64(third), 3, "third")
		left <- err
	}()
	keysOf(t, c, "e/", 3)
	giveUp()
	if err := <-left; status.Code(err) != codes.Canceled {
		t.Errorf("a campaign that is given up: %v", err)
	}
	keysOf(t, c, "e/", 2)
	select {
	case err := <-elected:
		t.Fatalf("there are two leaders: %v", err)
	default:
	}
	if _, err := invoke(within(t), conn, resignMethod, 1, r[2]); err != nil {
		t.Error(err)
	}
	if err := <-elected; err != nil {
		t.Fatal(err)
	}
	seen("second")
	if _, err := invoke(within(t), conn, proclaimMethod, 1, r[2], 2, "late"); err == nil || !strings.Contains(err.Error(), "not leader") {
		t.Errorf("one that has resigned proclaims: %v", err)
	}
	have, err := invoke(within(t), conn, leaderMethod, 1, "e")
	if err != nil || parts([]byte(have[2].(string)))[5] != "second" {
		t.Errorf("the leader is %v, %v", have, err)
	}
	cancel()
	var b []byte
	if err := stream.RecvMsg(&b); status.Code(err) != codes.Canceled {
		t.Errorf("after the end: %v", err)
	}
}

// TestElectionLeaseEnds: one whose lease ends while it waits is not elected.
func TestElectionLeaseEnds(t *testing.T) {
	s := servertest.Start(t)
	conn, c := dial(t, s), client(t, s.Endpoint())
	if _, err := invoke(within(t), conn, campaignMethod, 1, "e", 2, int64(grant(t, c, 0, 600)), 3, "leads"); err != nil {
		t.Fatal(err)
	}
	_, err := invoke(within(t), conn, campaignMethod, 1, "e", 2, int64(grant(t, c, 0, 2)), 3, "waits")
	if status.Code(err) != codes.Unknown || status.Convert(err).Message() != "election: not leader" {
		t.Errorf("one whose lease has ended: %v", err)
	}
}
