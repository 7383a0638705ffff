package server

import (
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"holdfast/internal/kind"
)

// 36: a keep-alive stream that wants a leader ends when there has been none for three election timeouts, not before, and
// one that does not want it stays; so with the streams of every service.
func TestStreamsWithoutLeader(t *testing.T) {
	const election = 20 * time.Millisecond
	f := newFakeNode(t).execute()
	s, address := serve(t, f, Options{ElectionTimeout: election})
	c := dial(t, address)
	led := metadata.AppendToOutgoingContext(timeout(t), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	wants, err := pb.NewLeaseClient(c).LeaseKeepAlive(led)
	if err != nil {
		t.Fatal(err)
	}
	stays, err := pb.NewLeaseClient(c).LeaseKeepAlive(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	alive := func(s pb.Lease_LeaseKeepAliveClient) error {
		if err := s.Send(&pb.LeaseKeepAliveRequest{ID: 5}); err != nil {
			return err
		}
		_, err := s.Recv()
		return err
	}
	for range 3 {
		if err := alive(wants); err != nil {
			t.Fatal(err)
		}
		if err := alive(stays); err != nil {
			t.Fatal(err)
		}
	}
	lost := time.Now()
	f.set(func(f *fakeNode) { f.mu.status.Leader = 0 })
	if _, err := wants.Recv(); !sameStatus(err, rpctypes.ErrGRPCNoLeader) {
		t.Errorf("without a leader the stream ends with %v", err)
	}
	if took := time.Since(lost); took < 2*election {
		t.Errorf("it ended after %v", took)
	}
	if err := alive(stays); err != nil {
		t.Errorf("the other stream ends with %v", err)
	}
	late, err := pb.NewLeaseClient(c).LeaseKeepAlive(led)
	if err == nil {
		_, err = late.Recv()
	}
	if !sameStatus(err, rpctypes.ErrGRPCNoLeader) {
		t.Errorf("a new stream ends with %v", err)
	}
	// A leader that comes back in time saves the streams.
	l := s.watchLeader(metadata.NewIncomingContext(t.Context(), metadata.Pairs(rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)))
	defer l.stop()
	for i, leader := range []kind.MemberID{0, 0, fakeMember, 0, 0, fakeMember, 0, 0} {
		f.set(func(f *fakeNode) { f.mu.status.Leader = leader })
		if l.lost(s) {
			t.Errorf("the leader comes and goes, and at %d it is lost", i)
		}
	}
	if !l.lost(s) {
		t.Error("the leader does not come back, and is not lost")
	}
}
