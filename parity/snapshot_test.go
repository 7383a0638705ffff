package parity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// makeHistory makes a history with everything in it that a snapshot has to carry: versions, deletes, transactions that change a
// key twice in one revision, leases with keys, users and roles, and a compaction in its middle.
func makeHistory(t *testing.T, conn *grpc.ClientConn, seed uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	kv, leases, users := pb.NewKVClient(conn), pb.NewLeaseClient(conn), pb.NewAuthClient(conn)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(seed, 1))
	key := func() []byte { return fmt.Appendf(nil, "k%02d", r.IntN(40)) }
	value := func() []byte { return bytes.Repeat([]byte{byte('a' + r.IntN(26))}, r.IntN(300)) }
	for id := int64(1); id <= 5; id++ {
		must(leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id * 1000, TTL: 1000 + id}))
	}
	put := func(k []byte) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: k, Value: value(), Lease: int64(r.IntN(3)) * 1000}}}
	}
	del := func(k []byte) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: k}}}
	}
	for i := range 600 {
		switch n := r.IntN(10); {
		case n < 5:
			must(kv.Put(ctx, put(key()).GetRequestPut()))
		case n < 7:
			must(kv.DeleteRange(ctx, del(key()).GetRequestDeleteRange()))
		case n < 8:
			must(kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("k1"), RangeEnd: []byte("k2")}))
		default:
			a, b := key(), key()
			for bytes.Equal(a, b) {
				b = key()
			}
			// A delete of everything does not collide with a put (see known.go), so a key may change twice.
			ops := []*pb.RequestOp{put(a), put(b)}
			if n == 9 {
				ops = []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("k3"), RangeEnd: []byte{0}}}}, put(a)}
			}
			must(kv.Txn(ctx, &pb.TxnRequest{Success: ops}))
		}
		if i == 300 {
			// etcd loses a key when the revision that it is compacted at deletes and puts it again; a put of its own is safe.
			p, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("marker")})
			must(p, err)
			must(kv.Compact(ctx, &pb.CompactionRequest{Revision: p.Header.Revision, Physical: true}))
		}
	}
	must(leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 2000}))
	must(users.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "reader"}))
	must(users.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "reader", Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte("a"), RangeEnd: []byte("z")}}))
	must(users.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "ann", Password: "secret"}))
	must(users.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "ann", Role: "reader"}))
	must(users.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "cert", Options: &authpb.UserAddOptions{NoPassword: true}}))
}

// makeMore changes keys, leases and users once more.
func makeMore(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	kv, users := pb.NewKVClient(conn), pb.NewAuthClient(conn)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		must(kv.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "k%02d", i), Value: []byte("more"), Lease: int64(i%2) * 3000}))
	}
	must(kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("k0"), RangeEnd: []byte("k1")}))
	must(pb.NewLeaseClient(conn).LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 1000}))
	must(users.UserChangePassword(ctx, &pb.AuthUserChangePasswordRequest{Name: "ann", Password: "other"}))
	must(users.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "bob", Password: "bob"}))
	must(users.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "writer"}))
	must(users.RoleRevokePermission(ctx, &pb.AuthRoleRevokePermissionRequest{Role: "reader", Key: []byte("a"), RangeEnd: []byte("z")}))
	must(users.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "ann", Role: "writer"}))
}

// saveSnapshot reads a snapshot as etcdctl does.
func saveSnapshot(t *testing.T, conn *grpc.ClientConn) string {
	t.Helper()
	stream, err := pb.NewMaintenanceClient(conn).Snapshot(t.Context(), &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "snapshot.db")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for last := ^uint64(0); ; {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if last != 0 {
				t.Errorf("%d bytes were still to come", last)
			}
			return path
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.RemainingBytes > last {
			t.Errorf("%d bytes remain after %d did", r.RemainingBytes, last)
		}
		last = r.RemainingBytes
		if _, err := f.Write(r.Blob); err != nil {
			t.Fatal(err)
		}
	}
}

// compareAll asks both for everything, at every revision that is left.
func compareAll(t *testing.T, want, got *grpc.ClientConn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	all := func(conn *grpc.ClientConn, rev int64) *pb.RangeResponse {
		r, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev})
		if err != nil {
			return &pb.RangeResponse{Kvs: nil, Count: -1, Header: &pb.ResponseHeader{Revision: int64(len(err.Error()))}}
		}
		return r
	}
	latest := all(want, 0)
	if r := all(got, 0); r.Header.Revision != latest.Header.Revision {
		t.Fatalf("revision %d, want %d", r.Header.Revision, latest.Header.Revision)
	}
	compacted := 0
	for rev := int64(1); rev <= latest.Header.Revision+1; rev++ {
		w, g := all(want, rev), all(got, rev)
		if w.Count < 0 {
			compacted++
		}
		w.Header, g.Header = &pb.ResponseHeader{Revision: w.Header.Revision}, &pb.ResponseHeader{Revision: g.Header.Revision}
		if !proto.Equal(w, g) {
			t.Fatalf("revision %d: %v, want %v", rev, g, w)
		}
	}
	if compacted < 10 || compacted > int(latest.Header.Revision)-100 {
		t.Errorf("%d of %d revisions are compacted: too few or too many to show anything", compacted, latest.Header.Revision)
	}
	for id := int64(1); id <= 5; id++ {
		ask := &pb.LeaseTimeToLiveRequest{ID: id * 1000, Keys: true}
		w, err := pb.NewLeaseClient(want).LeaseTimeToLive(ctx, ask)
		if err != nil {
			t.Fatal(err)
		}
		g, err := pb.NewLeaseClient(got).LeaseTimeToLive(ctx, ask)
		if err != nil {
			t.Fatal(err)
		}
		for _, keys := range [][][]byte{w.Keys, g.Keys} {
			slices.SortFunc(keys, bytes.Compare) // etcd gives them in any order
		}
		if w.GrantedTTL != g.GrantedTTL || fmt.Sprintf("%q", w.Keys) != fmt.Sprintf("%q", g.Keys) {
			t.Errorf("lease %d: %v, want %v", id, g, w)
		}
	}
	for _, ask := range []func(*grpc.ClientConn) (proto.Message, error){
		func(c *grpc.ClientConn) (proto.Message, error) {
			r, err := pb.NewAuthClient(c).UserGet(ctx, &pb.AuthUserGetRequest{Name: "ann"})
			r.Header = nil
			return r, err
		},
		func(c *grpc.ClientConn) (proto.Message, error) {
			r, err := pb.NewAuthClient(c).RoleGet(ctx, &pb.AuthRoleGetRequest{Role: "reader"})
			r.Header = nil
			return r, err
		},
		func(c *grpc.ClientConn) (proto.Message, error) {
			r, err := pb.NewAuthClient(c).AuthStatus(ctx, &pb.AuthStatusRequest{})
			r.Header = nil
			return r, err
		},
	} {
		w, err := ask(want)
		if err != nil {
			t.Fatal(err)
		}
		if g, err := ask(got); err != nil || !proto.Equal(w, g) {
			t.Errorf("%v, %v, want %v", g, err, w)
		}
	}
	// What watchers from the compacted revision on are given.
	w, g := history(t, want, int64(compacted)+1), history(t, got, int64(compacted)+1)
	if w != g {
		t.Errorf("the histories differ:\n%s\nwant\n%s", g, w)
	}
	// Both go on where the file ends.
	for _, c := range []*grpc.ClientConn{want, got} {
		if p, err := pb.NewKVClient(c).Put(ctx, &pb.PutRequest{Key: []byte("later")}); err != nil || p.Header.Revision != latest.Header.Revision+1 {
			t.Errorf("a later put: %v, %v", p, err)
		}
	}
}

// history returns the events from a revision on, as text.
func history(t *testing.T, conn *grpc.ClientConn, from int64) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	latest, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: from}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for last := int64(0); last < latest.Header.Revision; {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.Canceled {
			t.Fatalf("the watch from %d was canceled: %v", from, r)
		}
		for _, e := range r.Events {
			last = e.Kv.ModRevision
			fmt.Fprintf(&b, "%v %d %q %q %d %d %d\n", e.Type, e.Kv.ModRevision, e.Kv.Key, e.Kv.Value, e.Kv.CreateRevision, e.Kv.Version, e.Kv.Lease)
		}
	}
	return b.String()
}

// importInto makes a data directory of what etcd has left, with the binary.
func importInto(t *testing.T, binary, from, dir, peer string, args ...string) string {
	t.Helper()
	args = append([]string{"import", from, "--data-dir", dir, "--initial-cluster", "default=http://" + peer,
		"--initial-advertise-peer-urls", "http://" + peer}, args...)
	out, err := exec.Command(binary, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

func startImported(t *testing.T, binary, dir, peer string) *Holdfast {
	t.Helper()
	client, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	h := &Holdfast{binary: binary, dir: dir, settings: DefaultSettings, client: client, peer: peer}
	if err := h.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// TestImport brings an etcd over: by a snapshot, and by the data directory of one that has stopped.
func TestImport(t *testing.T) {
	binary, err := Binary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	e, err := StartEtcd("etcd", filepath.Join(t.TempDir(), "etcd"), DefaultSettings)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	makeHistory(t, e.Conn(), 7)
	file := saveSnapshot(t, e.Conn())
	peer, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	byFile := filepath.Join(t.TempDir(), "by-file")
	importInto(t, binary, file, byFile, peer)
	t.Run("snapshot", func(t *testing.T) {
		h := startImported(t, binary, byFile, peer)
		compareAll(t, e.Conn(), h.Conn())
	})
	// The writes of the comparison are in the directory now.
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	byDir := filepath.Join(t.TempDir(), "by-directory")
	importInto(t, binary, e.dir, byDir, peer)
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	t.Run("directory", func(t *testing.T) {
		h := startImported(t, binary, byDir, peer)
		compareAll(t, e.Conn(), h.Conn())
	})
	t.Run("killed", func(t *testing.T) {
		// An etcd that is killed leaves a backend that lacks what its log holds: here one of an earlier day.
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		backend := filepath.Join(e.dir, "member", "snap", "db")
		old, err := os.ReadFile(backend)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.start(); err != nil {
			t.Fatal(err)
		}
		makeMore(t, e.Conn())
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		left := filepath.Join(t.TempDir(), "left")
		if err := os.CopyFS(left, os.DirFS(e.dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(left, "member", "snap", "db"), old, 0o600); err != nil {
			t.Fatal(err)
		}
		byLog := filepath.Join(t.TempDir(), "by-log")
		said := importInto(t, binary, left, byLog, peer)
		if !strings.Contains(said, "commands came from etcd's log") {
			t.Errorf("it said:\n%s", said)
		}
		if err := e.start(); err != nil {
			t.Fatal(err)
		}
		h := startImported(t, binary, byLog, peer)
		compareAll(t, e.Conn(), h.Conn())
	})
	t.Run("flipped", func(t *testing.T) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		bad := filepath.Join(t.TempDir(), "bad.db")
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(binary, "import", bad, "--data-dir", filepath.Join(t.TempDir(), "d")).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "checksum") {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// TestExport goes back: etcd's own tool checks and restores a snapshot of Holdfast, and etcd serves it.
func TestExport(t *testing.T) {
	binary, err := Binary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h, err := StartHoldfast(binary, filepath.Join(t.TempDir(), "holdfast"), DefaultSettings)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	makeHistory(t, h.Conn(), 8)
	file := saveSnapshot(t, h.Conn())
	tool := snapshot.NewV3(zap.NewNop())
	status, err := tool.Status(file)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, "snapshot", "status", file).CombinedOutput()
	if want := fmt.Sprintf("%x, %d, %d, ", status.Hash, status.Revision, status.TotalKey); err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("status: %v %s, want %s", err, out, want)
	}
	peer, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	client, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "etcd")
	err = tool.Restore(snapshot.RestoreConfig{
		SnapshotPath: file, Name: "default", OutputDataDir: dir, PeerURLs: []string{"http://" + peer},
		InitialCluster: "default=http://" + peer, InitialClusterToken: "etcd-cluster",
	})
	if err != nil {
		t.Fatal(err)
	}
	e := &Etcd{name: "etcd", dir: dir, settings: DefaultSettings, client: client, peer: peer}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	compareAll(t, h.Conn(), e.Conn())
	if entries, err := os.ReadDir(filepath.Join(h.dir, "scratch")); err == nil && len(entries) > 0 {
		t.Errorf("the snapshot has left %v", entries)
	}
}
