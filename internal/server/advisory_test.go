package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The security advisories of etcd that are about users and permissions, each with the test that fails if its cause is
// here.

// GHSA-xg4h-6gfc-h4m8: a watch was authorised for one key and delivered all keys from it on, because an empty
// range_end that was written out was read in two ways.
func TestAdvisoryGHSA_xg4h_6gfc_h4m8_WatchRangeEnd(t *testing.T) {
	w := newWorld(t, Options{}, permission(authpb.Permission_READ, "a", ""))
	create := func(end []byte) (grpc.BidiStreamingClient[pb.WatchRequest, pb.WatchResponse], *pb.WatchResponse) {
		stream, err := pb.NewWatchClient(w.conn).Watch(w.as("alice"))
		if err != nil {
			t.Fatal(err)
		}
		// The library leaves an empty range_end out, so it is written by hand.
		body := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte("a"))
		body = protowire.AppendBytes(protowire.AppendTag(body, 2, protowire.BytesType), end)
		var request pb.WatchRequest
		if err := proto.Unmarshal(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), body), &request); err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&request); err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return stream, r
	}
	stream, r := create([]byte{})
	if !r.Created || r.Canceled {
		t.Fatalf("a watch of the one key is answered %v", r)
	}
	for _, key := range []string{"b", "a"} {
		if _, err := w.kv.Put(w.as("root"), &pb.PutRequest{Key: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := stream.Recv(); err != nil || len(r.Events) != 1 || string(r.Events[0].Kv.Key) != "a" {
		t.Errorf("the watch of one key delivers %v, %v", r, err)
	}
	for _, end := range [][]byte{{0}, []byte("b\x00"), []byte("aa")} {
		if _, r := create(end); !r.Canceled || !strings.Contains(r.CancelReason, "permission denied") {
			t.Errorf("a watch up to %q is answered %v", end, r)
		}
	}
}

// CVE-2026-44283: a put inside a transaction read the previous value without the right to read, and attached the key to
// a lease whose other keys the user could not write.
func TestAdvisoryCVE_2026_44283_PutPrevKVInTxn(t *testing.T) {
	w := newWorld(t, Options{}, permission(authpb.Permission_WRITE, "a", ""))
	lease, err := pb.NewLeaseClient(w.conn).LeaseGrant(w.as("root"), &pb.LeaseGrantRequest{TTL: 1000})
	w.allowed("grant", err)
	_, err = w.kv.Put(w.as("root"), &pb.PutRequest{Key: []byte("secret"), Lease: lease.ID})
	w.allowed("attach", err)
	for name, put := range map[string]*pb.PutRequest{
		"prev_kv": {Key: []byte("a"), PrevKv: true},
		"lease":   {Key: []byte("a"), Lease: lease.ID},
	} {
		_, err := w.kv.Put(w.as("alice"), put)
		w.denied("put with "+name, err, "permission denied")
		for _, t := range []*pb.TxnRequest{
			{Success: []*pb.RequestOp{putOf(put)}},
			{Failure: []*pb.RequestOp{putOf(put)}},
			{Success: []*pb.RequestOp{txnOf(&pb.TxnRequest{Failure: []*pb.RequestOp{putOf(put)}})}},
		} {
			_, err := w.kv.Txn(w.as("alice"), t)
			w.denied(fmt.Sprintf("%s in %v", name, t), err, "permission denied")
		}
	}
	_, err = w.kv.Txn(w.as("alice"), &pb.TxnRequest{Success: []*pb.RequestOp{deleteOf(&pb.DeleteRangeRequest{Key: []byte("a"), PrevKv: true})}})
	w.denied("deletion with prev_kv", err, "permission denied")
	_, err = w.kv.Txn(w.as("alice"), &pb.TxnRequest{Success: []*pb.RequestOp{putOf(&pb.PutRequest{Key: []byte("a")})}})
	w.allowed("a plain put", err)
}

// CVE-2026-33343: the operations of nested transactions were not looked at.
func TestAdvisoryCVE_2026_33343_NestedTxn(t *testing.T) {
	w := newWorld(t, Options{}, permission(authpb.Permission_READWRITE, "a", ""))
	b := []byte("b")
	for name, inner := range map[string]*pb.TxnRequest{
		"put":     {Success: []*pb.RequestOp{putOf(&pb.PutRequest{Key: b})}},
		"range":   {Failure: []*pb.RequestOp{rangeOf(&pb.RangeRequest{Key: b})}},
		"delete":  {Success: []*pb.RequestOp{deleteOf(&pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("c")})}},
		"compare": {Compare: []*pb.Compare{{Key: b}}},
	} {
		outer := inner
		for depth := range 5 {
			if _, err := w.kv.Txn(w.as("root"), outer); err != nil {
				t.Fatal(err)
			}
			_, err := w.kv.Txn(w.as("alice"), outer)
			w.denied(fmt.Sprintf("%s at depth %d", name, depth), err, "permission denied")
			next := &pb.TxnRequest{Success: []*pb.RequestOp{txnOf(outer)}}
			if depth%2 == 1 {
				next = &pb.TxnRequest{Failure: []*pb.RequestOp{txnOf(outer)}}
			}
			outer = next
		}
	}
}

// requests has for each RPC a request that is well formed, so that what refuses it is its right.
var requests = map[string]proto.Message{
	"/etcdserverpb.KV/Range":       &pb.RangeRequest{Key: []byte("a")},
	"/etcdserverpb.KV/RangeStream": &pb.RangeRequest{Key: []byte("a")},
	"/etcdserverpb.KV/Put":         &pb.PutRequest{Key: []byte("a")},
	"/etcdserverpb.KV/DeleteRange": &pb.DeleteRangeRequest{Key: []byte("a")},
	"/etcdserverpb.KV/Txn":         &pb.TxnRequest{Success: []*pb.RequestOp{putOf(&pb.PutRequest{Key: []byte("a")})}},
	"/etcdserverpb.KV/Compact":     &pb.CompactionRequest{Revision: 2},
	"/etcdserverpb.Watch/Watch": &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte("a")}}},
	"/etcdserverpb.Lease/LeaseGrant":          &pb.LeaseGrantRequest{TTL: 100},
	"/etcdserverpb.Lease/LeaseRevoke":         &pb.LeaseRevokeRequest{ID: 7},
	"/etcdserverpb.Lease/LeaseKeepAlive":      &pb.LeaseKeepAliveRequest{ID: 7},
	"/etcdserverpb.Lease/LeaseTimeToLive":     &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true},
	"/etcdserverpb.Lease/LeaseLeases":         &pb.LeaseLeasesRequest{},
	"/etcdserverpb.Cluster/MemberAdd":         &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}},
	"/etcdserverpb.Cluster/MemberRemove":      &pb.MemberRemoveRequest{ID: 1},
	"/etcdserverpb.Cluster/MemberUpdate":      &pb.MemberUpdateRequest{ID: 1, PeerURLs: []string{"http://127.0.0.1:1"}},
	"/etcdserverpb.Cluster/MemberList":        &pb.MemberListRequest{},
	"/etcdserverpb.Cluster/MemberPromote":     &pb.MemberPromoteRequest{ID: 1},
	"/etcdserverpb.Maintenance/Alarm":         &pb.AlarmRequest{},
	"/etcdserverpb.Maintenance/Status":        &pb.StatusRequest{},
	"/etcdserverpb.Maintenance/Defragment":    &pb.DefragmentRequest{},
	"/etcdserverpb.Maintenance/Hash":          &pb.HashRequest{},
	"/etcdserverpb.Maintenance/HashKV":        &pb.HashKVRequest{},
	"/etcdserverpb.Maintenance/Snapshot":      &pb.SnapshotRequest{},
	"/etcdserverpb.Maintenance/MoveLeader":    &pb.MoveLeaderRequest{TargetID: 1},
	"/etcdserverpb.Maintenance/Downgrade":     &pb.DowngradeRequest{Version: "3.6.0"},
	"/etcdserverpb.Auth/AuthEnable":           &pb.AuthEnableRequest{},
	"/etcdserverpb.Auth/AuthDisable":          &pb.AuthDisableRequest{},
	"/etcdserverpb.Auth/AuthStatus":           &pb.AuthStatusRequest{},
	"/etcdserverpb.Auth/Authenticate":         &pb.AuthenticateRequest{Name: "bob", Password: "bob"},
	"/etcdserverpb.Auth/UserAdd":              &pb.AuthUserAddRequest{Name: "eve", Password: "eve"},
	"/etcdserverpb.Auth/UserGet":              &pb.AuthUserGetRequest{Name: "alice"},
	"/etcdserverpb.Auth/UserList":             &pb.AuthUserListRequest{},
	"/etcdserverpb.Auth/UserDelete":           &pb.AuthUserDeleteRequest{Name: "alice"},
	"/etcdserverpb.Auth/UserChangePassword":   &pb.AuthUserChangePasswordRequest{Name: "alice", Password: "x"},
	"/etcdserverpb.Auth/UserGrantRole":        &pb.AuthUserGrantRoleRequest{User: "alice", Role: "root"},
	"/etcdserverpb.Auth/UserRevokeRole":       &pb.AuthUserRevokeRoleRequest{Name: "alice", Role: "r"},
	"/etcdserverpb.Auth/RoleAdd":              &pb.AuthRoleAddRequest{Name: "x"},
	"/etcdserverpb.Auth/RoleGet":              &pb.AuthRoleGetRequest{Role: "r"},
	"/etcdserverpb.Auth/RoleList":             &pb.AuthRoleListRequest{},
	"/etcdserverpb.Auth/RoleDelete":           &pb.AuthRoleDeleteRequest{Role: "r"},
	"/etcdserverpb.Auth/RoleGrantPermission":  &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: permission(authpb.Permission_READ, "x", "")},
	"/etcdserverpb.Auth/RoleRevokePermission": &pb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("x")},
	"/v3lockpb.Lock/Lock":                     &pb.PutRequest{Key: []byte("a"), Value: nil}, // name 1
	"/v3lockpb.Lock/Unlock":                   &pb.PutRequest{Key: []byte("a/1")},           // key 1
	"/v3electionpb.Election/Campaign":         &pb.PutRequest{Key: []byte("a")},             // name 1
	"/v3electionpb.Election/Proclaim":         &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("a/1"), StartRevision: 1}}},
	"/v3electionpb.Election/Leader":           &pb.PutRequest{Key: []byte("a")}, // name 1
	"/v3electionpb.Election/Observe":          &pb.PutRequest{Key: []byte("a")}, // name 1
	"/v3electionpb.Election/Resign":           &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("a/1"), StartRevision: 1}}},
	"/holdfast.v1.Cluster/Change":             &pb.StatusResponse{Header: &pb.ResponseHeader{ClusterId: 4, MemberId: 1}}, // steps 1: op 1, id 2
	"/holdfast.v1.Cluster/Repair":             &pb.StatusRequest{},
	"/grpc.health.v1.Health/Check":            &pb.StatusRequest{},
	"/grpc.health.v1.Health/Watch":            &pb.StatusRequest{},
	"/grpc.health.v1.Health/List":             &pb.StatusRequest{},
}

// call calls a method with its request of requests and returns how the first answer is.
func (w *world) call(ctx context.Context, m *method) error {
	request := requests[m.full]
	if m.kind == "unary" {
		return w.conn.Invoke(ctx, m.full, request, &pb.StatusRequest{})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, m.full)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil {
		return err
	}
	if m.kind == "server_stream" {
		if err := stream.CloseSend(); err != nil {
			return err
		}
	}
	if m.full != "/etcdserverpb.Watch/Watch" {
		return stream.RecvMsg(&pb.StatusRequest{})
	}
	var r pb.WatchResponse
	if err := stream.RecvMsg(&r); err != nil || !r.Canceled {
		return err
	}
	_, text, _ := strings.Cut(r.CancelReason, "desc = ")
	return status.Error(codes.Unknown, text)
}

// CVE-2026-33413: MemberList, Alarm, the Lease service and Compact asked for nothing. Every RPC that is registered is
// listed with what it asks, no other is listed, and each refuses whom it should, before it does anything.
func TestAdvisoryCVE_2026_33413_MethodsWithoutCheck(t *testing.T) {
	w := newWorld(t, Options{})
	s := New(w.node, Options{})
	listed := map[string]bool{}
	for _, m := range s.methods {
		if m.policy == denied {
			t.Errorf("%s has no policy", m.full)
		}
		if requests[m.full] == nil {
			t.Errorf("this test has no request for %s", m.full)
		}
		listed[m.full] = true
	}
	if len(policies) != len(s.methods) {
		t.Errorf("%d methods are registered, %d have a policy", len(s.methods), len(policies))
	}
	for name := range policies {
		if !listed[name] {
			t.Errorf("%s has a policy and is not registered", name)
		}
	}
	// What is open to more than the root role or the holders of permissions, written down a second time.
	open := map[string]policy{
		"/etcdserverpb.Auth/AuthStatus": anybody, "/etcdserverpb.Auth/Authenticate": public,
		"/grpc.health.v1.Health/Check": public, "/grpc.health.v1.Health/Watch": public, "/grpc.health.v1.Health/List": public,
		"/etcdserverpb.Lease/LeaseGrant": anyUser, "/etcdserverpb.Cluster/MemberList": anyUser,
		"/etcdserverpb.Maintenance/Alarm": anyUser, "/etcdserverpb.Maintenance/Status": anyUser,
	}
	for _, m := range s.methods {
		if want, is := open[m.full]; (m.policy == public || m.policy == anybody || m.policy == anyUser) != is || is && m.policy != want {
			t.Errorf("%s has policy %d, want %d", m.full, m.policy, want)
		}
	}
	revision := w.node.machine.State().Revision
	for _, m := range s.methods {
		err := w.call(w.as(""), m)
		code, text := status.Code(err), status.Convert(err).Message()
		if code == codes.Unimplemented {
			continue
		}
		if m.policy == public || m.policy == anybody {
			w.allowed(m.full+" of nobody", err)
		} else if text != "etcdserver: user name is empty" {
			t.Errorf("%s of nobody answers %v", m.full, err)
		}
		err = w.call(metadata.AppendToOutgoingContext(timeout(t), "token", "nonsense"), m)
		if code, text := status.Code(err), status.Convert(err).Message(); m.policy != public && text != "etcdserver: invalid auth token" {
			t.Errorf("%s with a wrong token answers %v: %v", m.full, code, err)
		}
		if m.policy == public || m.policy == anybody || m.policy == anyUser {
			w.allowed(m.full+" of a user without rights", w.call(w.as("bob"), m))
			continue
		}
		// A lease that does not exist may be known by everybody not to exist, and no lease has a key.
		err = w.call(w.as("bob"), m)
		text = status.Convert(err).Message()
		mayMiss := strings.HasPrefix(m.full, "/etcdserverpb.Lease/")
		if text != "etcdserver: permission denied" && !(mayMiss && (err == nil || text == "etcdserver: requested lease not found")) {
			t.Errorf("%s of a user without rights answers %v", m.full, err)
		}
	}
	if now := w.node.machine.State().Revision; now != revision {
		t.Errorf("refused calls have moved the revision from %d to %d", revision, now)
	}
	if users := w.node.Auth().Snapshot(); !users.Enabled() || len(users.Users()) != 3 || len(users.Roles()) != 1 {
		t.Error("refused calls have changed the users")
	}
}

// An RPC that nobody has listed is denied, also without authentication.
func TestUnlistedMethodIsDenied(t *testing.T) {
	s := New(newFakeNode(t), Options{})
	m := s.newMethod("etcdserverpb.KV", "New", "unary")
	if err := s.enter(context.Background(), m); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a method that is not listed answers %v", err)
	}
}

// CVE-2023-32082: LeaseTimeToLive named keys that the user could not read.
func TestAdvisoryCVE_2023_32082_LeaseTimeToLiveKeys(t *testing.T) {
	w := newWorld(t, Options{}, permission(authpb.Permission_READWRITE, "a", "b"))
	leases := pb.NewLeaseClient(w.conn)
	lease, err := leases.LeaseGrant(w.as("root"), &pb.LeaseGrantRequest{TTL: 1000})
	w.allowed("grant", err)
	_, err = w.kv.Put(w.as("alice"), &pb.PutRequest{Key: []byte("a1"), Lease: lease.ID})
	w.allowed("attach", err)
	r, err := leases.LeaseTimeToLive(w.as("alice"), &pb.LeaseTimeToLiveRequest{ID: lease.ID, Keys: true})
	if err != nil || len(r.Keys) != 1 {
		t.Errorf("own keys: %v, %v", r, err)
	}
	_, err = w.kv.Put(w.as("root"), &pb.PutRequest{Key: []byte("secret"), Lease: lease.ID})
	w.allowed("attach", err)
	_, err = leases.LeaseTimeToLive(w.as("alice"), &pb.LeaseTimeToLiveRequest{ID: lease.ID, Keys: true})
	w.denied("another's key", err, "permission denied")
	_, err = leases.LeaseLeases(w.as("alice"), &pb.LeaseLeasesRequest{})
	w.denied("all leases", err, "permission denied")
	r, err = leases.LeaseTimeToLive(w.as("alice"), &pb.LeaseTimeToLiveRequest{ID: lease.ID})
	if err != nil || len(r.Keys) != 0 {
		t.Errorf("without keys: %v, %v", r, err)
	}
	// Nor may alice end it, keep it alive, or hang more keys on it.
	_, err = leases.LeaseRevoke(w.as("alice"), &pb.LeaseRevokeRequest{ID: lease.ID})
	w.denied("revoke", err, "permission denied")
	_, err = w.kv.Put(w.as("alice"), &pb.PutRequest{Key: []byte("a2"), Lease: lease.ID})
	w.denied("attach", err, "permission denied")
	stream, err := leases.LeaseKeepAlive(w.as("alice"))
	if err == nil {
		if err = stream.Send(&pb.LeaseKeepAliveRequest{ID: lease.ID}); err == nil {
			_, err = stream.Recv()
		}
	}
	w.denied("keep alive", err, "permission denied")
	// When the key is gone they may.
	_, err = w.kv.DeleteRange(w.as("root"), &pb.DeleteRangeRequest{Key: []byte("secret")})
	w.allowed("delete", err)
	_, err = w.kv.Put(w.as("alice"), &pb.PutRequest{Key: []byte("a2"), Lease: lease.ID})
	w.allowed("attach", err)
	_, err = w.kv.Put(w.as("root"), &pb.PutRequest{Key: []byte("secret"), Lease: lease.ID})
	w.allowed("attach", err)
	_, err = w.kv.Put(w.as("alice"), &pb.PutRequest{Key: []byte("a3"), Lease: lease.ID})
	w.denied("attach after another did", err, "permission denied")
}

// CVE-2021-28235, and the tokens in logs of July 2026: neither passwords nor tokens are in logs at any level, in
// metrics, in answers, or in what travels through the log of the cluster.
func TestAdvisoryCVE_2021_28235_SecretsInTracesAndLogs(t *testing.T) {
	var lines lockedBuffer
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), &lines, zap.DebugLevel)
	registry := prometheus.NewRegistry()
	w := newWorld(t, Options{Logger: zap.New(core), SlowRequest: 1, Registerer: registry, Gatherer: registry})
	secrets := []string{"S3cret-of-carol", "0ther-of-carol", "wr0ng-of-carol"}
	var texts []string
	note := func(_ any, err error) {
		if err != nil {
			texts = append(texts, err.Error())
		}
	}
	note(w.auth.UserAdd(w.as("root"), &pb.AuthUserAddRequest{Name: "carol", Password: secrets[0]}))
	note(w.auth.UserAdd(w.as("root"), &pb.AuthUserAddRequest{Name: "carol", Password: secrets[0]}))
	w.login("carol", secrets[0])
	secrets = append(secrets, w.of["carol"], w.of["root"], w.of["alice"])
	note(w.auth.Authenticate(timeout(t), &pb.AuthenticateRequest{Name: "carol", Password: secrets[2]}))
	note(w.auth.UserChangePassword(w.as("root"), &pb.AuthUserChangePasswordRequest{Name: "carol", Password: secrets[1]}))
	note(w.auth.UserChangePassword(w.as("root"), &pb.AuthUserChangePasswordRequest{Name: "nobody", Password: secrets[1]}))
	note(w.kv.Put(w.as("carol"), &pb.PutRequest{Key: []byte("a")})) // an ended token
	note(w.kv.Put(w.as("alice"), &pb.PutRequest{Key: []byte("a")}))
	w.login("carol", secrets[1])
	secrets = append(secrets, w.of["carol"])
	if len(texts) != 5 || !strings.Contains(lines.String(), "/etcdserverpb.Auth/Authenticate") {
		t.Fatalf("%d of the calls were refused: %v", len(texts), texts)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	places := map[string]string{"the log": lines.String(), "the answers": strings.Join(texts, "\n"), "the metrics": fmt.Sprint(families),
		"the entries": string(bytes.Join(w.node.log.entries, nil))}
	for place, text := range places {
		for _, secret := range secrets {
			for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), fmt.Sprintf("%x", secret)} {
				if strings.Contains(text, form) {
					t.Errorf("%s contain the secret %q", place, form)
				}
			}
		}
	}
}

// CVE-2020-15115: an empty password was a password. A user may exist without one, and then nobody is let in.
func TestAdvisoryCVE_2020_15115_EmptyPassword(t *testing.T) {
	w := newWorld(t, Options{})
	_, err := w.auth.UserAdd(w.as("root"), &pb.AuthUserAddRequest{Name: "empty"})
	w.allowed("add", err)
	_, err = w.auth.UserAdd(w.as("root"), &pb.AuthUserAddRequest{Name: "certificate", Options: &authpb.UserAddOptions{NoPassword: true}})
	w.allowed("add", err)
	_, err = w.auth.UserChangePassword(w.as("root"), &pb.AuthUserChangePasswordRequest{Name: "alice"})
	w.allowed("change", err)
	_, err = w.auth.UserChangePassword(w.as("root"), &pb.AuthUserChangePasswordRequest{Name: "certificate", Password: "x"})
	w.allowed("change", err)
	hash, err := bcrypt.GenerateFromPassword(nil, 4)
	w.allowed("hash", err)
	_, err = w.auth.UserAdd(w.as("root"), &pb.AuthUserAddRequest{Name: "brought", HashedPassword: base64.StdEncoding.EncodeToString(hash)})
	w.allowed("add", err)
	for _, name := range []string{"empty", "certificate", "alice", "nobody", "", "brought"} {
		for _, password := range []string{"", "x", "nobody"} {
			_, err := w.auth.Authenticate(timeout(t), &pb.AuthenticateRequest{Name: name, Password: password})
			w.denied(fmt.Sprintf("%q with %q", name, password), err, "authentication failed, invalid user ID or password")
		}
	}
}

// CVE-2018-16886: the name in the certificate with which a gateway calls the member became the user of everybody who
// came through the gateway.
func TestAdvisoryCVE_2018_16886_GatewayCommonName(t *testing.T) {
	w := newWorld(t, Options{})
	with := func(auth bool, names []string, headers ...string) string {
		s := New(w.node, Options{ClientCertAuth: auth})
		info := credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{}}}
		for _, name := range names {
			info.State.VerifiedChains = append(info.State.VerifiedChains, []*x509.Certificate{{Subject: pkix.Name{CommonName: name}}})
		}
		ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(headers...))
		who, err := s.identify(peer.NewContext(ctx, &peer.Peer{AuthInfo: info}))
		if err != nil {
			return err.Error()
		}
		return who.id.Name
	}
	for _, c := range []struct {
		auth    bool
		names   []string
		headers []string
		want    string
	}{
		{true, []string{"root"}, nil, "root"},
		{true, []string{"alice", "root"}, nil, "alice"},
		{true, nil, nil, ""},
		{false, []string{"root"}, nil, ""},
		{true, []string{"root"}, []string{"grpcgateway-accept", "*/*"}, ""},
		{true, []string{"root"}, []string{"token", w.of["bob"]}, "bob"},
		{true, []string{"root"}, []string{"token", "nonsense"}, "invalid auth token"},
		{true, []string{"root"}, []string{"authorization", "Bearer " + w.of["bob"]}, "bob"},
		{true, []string{"root"}, []string{"grpcgateway-accept", "*/*", "authorization", w.of["bob"]}, "bob"},
	} {
		if got := with(c.auth, c.names, c.headers...); got != c.want {
			t.Errorf("names %q and headers %q make %q, want %q", c.names, c.headers, got, c.want)
		}
	}
}

// lockedBuffer is where a logger writes from many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) Sync() error { return nil }

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
