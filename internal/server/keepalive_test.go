package server

import (
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A keep-alive that is refused ends the stream, and takes none of those with it that were asked for before it, although
// they may have become one command.
func TestRefusedKeepAliveSparesThoseBefore(t *testing.T) {
	w := newWorld(t, Options{}, permission(authpb.Permission_READWRITE, "a", "b"))
	leases := pb.NewLeaseClient(w.conn)
	own, err := leases.LeaseGrant(w.as("root"), &pb.LeaseGrantRequest{TTL: 1000})
	w.allowed("grant", err)
	other, err := leases.LeaseGrant(w.as("root"), &pb.LeaseGrantRequest{TTL: 1000})
	w.allowed("grant", err)
	_, err = w.kv.Put(w.as("root"), &pb.PutRequest{Key: []byte("secret"), Lease: other.ID})
	w.allowed("attach", err)
	stream, err := leases.LeaseKeepAlive(w.as("alice"))
	w.allowed("open the stream", err)
	const before = 200
	for i := range before + 1 {
		id := own.ID
		if i == before {
			id = other.ID
		}
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range before {
		if r, err := stream.Recv(); err != nil || r.ID != own.ID || r.TTL != own.TTL {
			t.Fatalf("keep-alive %d: %v, %v", i, r, err)
		}
	}
	_, err = stream.Recv()
	w.denied("another's lease", err, "permission denied")
}
