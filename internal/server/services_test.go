package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
	"holdfast/internal/invariant"
	"holdfast/internal/machine"
	"holdfast/internal/node"
)

// Every RPC of the API module's descriptors is registered, with its directions, and the two services beside them.
func TestEveryRPCIsRegistered(t *testing.T) {
	s := New(newFakeNode(t), Options{})
	info := s.GRPCServer().GetServiceInfo()
	has := func(service, name string, client, server bool) {
		t.Helper()
		for _, m := range info[service].Methods {
			if m.Name == name {
				if m.IsClientStream != client || m.IsServerStream != server {
					t.Errorf("%s/%s is registered with the wrong directions", service, name)
				}
				return
			}
		}
		t.Errorf("%s/%s is not registered", service, name)
	}
	services := pb.File_rpc_proto.Services()
	if services.Len() != 6 {
		t.Fatalf("the API module has %d services, want 6", services.Len())
	}
	rpcs := 0
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			m := methods.Get(j)
			has(string(services.Get(i).FullName()), string(m.Name()), m.IsStreamingClient(), m.IsStreamingServer())
			rpcs++
		}
	}
	for _, name := range []string{"Lock", "Unlock"} {
		has("v3lockpb.Lock", name, false, false)
		rpcs++
	}
	for _, name := range []string{"Campaign", "Proclaim", "Leader", "Resign"} {
		has("v3electionpb.Election", name, false, false)
		rpcs++
	}
	has("v3electionpb.Election", "Observe", false, true)
	has("grpc.health.v1.Health", "Check", false, false)
	if rpcs++; rpcs != 49 {
		t.Errorf("the eight services have %d RPCs, want 49", rpcs)
	}
}

// What is not served says so, whatever kind of call it is, and hangs nobody.
func TestUnfinishedMethods(t *testing.T) {
	s, address := serve(t, newFakeNode(t), Options{})
	c := dial(t, address)
	for _, m := range s.methods {
		finished := strings.HasPrefix(m.full, "/etcdserverpb.KV/") || strings.HasPrefix(m.full, "/etcdserverpb.Lease/") ||
			strings.HasPrefix(m.full, "/etcdserverpb.Watch/") || strings.HasPrefix(m.full, "/v3lockpb.Lock/") || strings.HasPrefix(m.full, "/v3electionpb.Election/") ||
			strings.HasPrefix(m.full, "/holdfast.v1.Cluster/")
		for _, name := range served {
			finished = finished || name == m.full
		}
		if finished {
			continue
		}
		var err error
		if m.kind == "unary" {
			err = c.Invoke(timeout(t), m.full, &pb.StatusRequest{}, &pb.StatusResponse{})
		} else {
			var stream grpc.ClientStream
			stream, err = c.NewStream(timeout(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, m.full)
			if err == nil {
				err = stream.RecvMsg(&pb.StatusResponse{})
			}
		}
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), m.service+"/"+m.name) {
			t.Errorf("%s answers %v", m.full, err)
		}
	}
}

// The header of an answer says cluster, member, term and the revision of the command.
func TestHeader(t *testing.T) {
	_, address := serve(t, newFakeNode(t), Options{})
	r, err := pb.NewKVClient(dial(t, address)).Put(timeout(t), &pb.PutRequest{Key: []byte("k")})
	if err != nil {
		t.Fatal(err)
	}
	want := &pb.ResponseHeader{ClusterId: uint64(fakeCluster), MemberId: uint64(fakeMember), Revision: 7, RaftTerm: 3}
	if !proto.Equal(r.Header, want) {
		t.Errorf("the header is %v, want %v", r.Header, want)
	}
}

// The bytes that arrived go into the log when all of them are understood, and a canonical encoding otherwise.
func TestPayload(t *testing.T) {
	f := newFakeNode(t)
	var payload []byte
	f.propose = func(_ context.Context, c command.Command) (machine.Reply, error) {
		payload = c.Payload
		return machine.Reply{Revision: 2}, nil
	}
	_, address := serve(t, f, Options{})
	kv := pb.NewKVClient(dial(t, address))
	// The fields in an order that no encoder uses, and then with a field that nobody knows.
	value, key := []byte{0x12, 1, 'v'}, []byte{0x0a, 1, 'k'}
	for _, c := range []struct{ sent, want []byte }{
		{append(append([]byte(nil), value...), key...), append(append([]byte(nil), value...), key...)},
		{append(append(append([]byte(nil), value...), key...), 0xa8, 0x06, 1), append(append([]byte(nil), key...), value...)},
	} {
		r := &pb.PutRequest{}
		r.ProtoReflect().SetUnknown(c.sent)
		if _, err := kv.Put(timeout(t), r); err != nil {
			t.Fatal(err)
		}
		if string(payload) != string(c.want) {
			t.Errorf("% x went into the log as % x, want % x", c.sent, payload, c.want)
		}
	}
}

// Every refusal of the node and of the machine reaches the client with its code and text.
func TestRefusalsReachTheClient(t *testing.T) {
	f := newFakeNode(t)
	var reply machine.Reply
	var failure error
	f.propose = func(context.Context, command.Command) (machine.Reply, error) { return reply, failure }
	_, address := serve(t, f, Options{})
	kv := pb.NewKVClient(dial(t, address))
	for _, row := range refusals {
		for _, inReply := range []bool{false, true} {
			reply, failure = machine.Reply{}, fmt.Errorf("propose: %w", row.ours)
			if inReply {
				reply, failure = machine.Reply{Err: row.ours}, nil
			}
			_, err := kv.Put(timeout(t), &pb.PutRequest{Key: []byte("k")})
			if status.Code(err) != status.Code(row.etcds) || status.Convert(err).Message() != status.Convert(row.etcds).Message() {
				t.Errorf("%v reaches the client as %v, want %v", row.ours, err, row.etcds)
			}
		}
	}
}

// A client that wants a leader is turned away without one; a client version must be text; a learner serves only
// what its own state answers.
func TestAdmission(t *testing.T) {
	f := newFakeNode(t)
	_, address := serve(t, f, Options{})
	c := dial(t, address)
	kv := pb.NewKVClient(c)
	check := func(ctx context.Context, want string) {
		t.Helper()
		_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("k")})
		if got := status.Convert(err).Message(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	wantsLeader := metadata.AppendToOutgoingContext(timeout(t), "hasleader", "true")
	check(wantsLeader, "")
	check(metadata.AppendToOutgoingContext(timeout(t), "client-api-version", "3.7"), "")

	f.set(func(f *fakeNode) { f.mu.status.Leader = 0 })
	check(wantsLeader, "etcdserver: no leader")
	check(timeout(t), "")
	stream, err := kv.RangeStream(wantsLeader, &pb.RangeRequest{Key: []byte("k")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Convert(err).Message() != "etcdserver: no leader" {
		t.Errorf("a stream without a leader answers %v", err)
	}

	f.set(func(f *fakeNode) { f.mu.status.Learner = true })
	check(timeout(t), "etcdserver: rpc not supported for learner")
	if _, err := pb.NewMaintenanceClient(c).Status(timeout(t), &pb.StatusRequest{}); err != nil {
		t.Errorf("a learner refuses Status: %v", err)
	}
	if _, err := kv.Range(timeout(t), &pb.RangeRequest{Key: []byte("k")}); status.Convert(err).Message() != "etcdserver: rpc not supported for learner" {
		t.Errorf("a learner answers a linearizable Range with %v", err)
	}
	if _, err := kv.Range(timeout(t), &pb.RangeRequest{Key: []byte("k"), Serializable: true}); err != nil {
		t.Errorf("a learner refuses a serializable Range: %v", err)
	}
}

// A client version that is no text is refused; gRPC clients cannot send one, so the call is made below them.
func TestInvalidClientVersion(t *testing.T) {
	s := New(newFakeNode(t), Options{})
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("client-api-version", "\xff"))
	err := s.admit(ctx, s.methods[0], &s.unaryVersions)
	if status.Convert(err).Message() != "etcdserver: invalid client api version" || status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
}

// Without room, puts and transactions that hold one anywhere are refused; deleting goes on.
func TestNoSpace(t *testing.T) {
	f := newFakeNode(t)
	f.mu.space = node.ErrNoSpace
	_, address := serve(t, f, Options{})
	kv := pb.NewKVClient(dial(t, address))
	put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k")}}}
	nested := &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Failure: []*pb.RequestOp{put}}}}
	remove := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("k")}}}
	const full = "etcdserver: mvcc: database space exceeded"
	_, err := kv.Put(timeout(t), &pb.PutRequest{Key: []byte("k")})
	if status.Convert(err).Message() != full || status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a put answers %v", err)
	}
	if _, err := kv.Txn(timeout(t), &pb.TxnRequest{Success: []*pb.RequestOp{nested}}); status.Convert(err).Message() != full {
		t.Errorf("a nested put answers %v", err)
	}
	if _, err := kv.Txn(timeout(t), &pb.TxnRequest{Success: []*pb.RequestOp{remove}}); err != nil {
		t.Errorf("a transaction that deletes answers %v", err)
	}
	if _, err := kv.DeleteRange(timeout(t), &pb.DeleteRangeRequest{Key: []byte("k")}); err != nil {
		t.Errorf("a delete answers %v", err)
	}
}

// A handler that panics stops the member and is not answered.
func TestPanicStopsTheMember(t *testing.T) {
	for _, value := range []any{invariant.Violation{Message: "planted"}, "planted"} {
		f := newFakeNode(t)
		f.propose = func(context.Context, command.Command) (machine.Reply, error) { panic(value) }
		failed := make(chan error, 1)
		_, address := serve(t, f, Options{Fail: func(err error) { failed <- err }})
		ctx, cancel := context.WithCancel(timeout(t))
		answered := make(chan error, 1)
		kv := pb.NewKVClient(dial(t, address))
		go func() {
			_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("k")})
			answered <- err
		}()
		if err := <-failed; !strings.Contains(err.Error(), "planted") {
			t.Errorf("the member was stopped because of %v", err)
		}
		select {
		case err := <-answered:
			t.Errorf("the call was answered: %v", err)
		default:
		}
		cancel()
		if err := <-answered; status.Code(err) != codes.Canceled {
			t.Errorf("the call ended with %v", err)
		}
	}
}

// A message over the receive limit and a command over the request limit have etcd's codes and texts.
func TestTooLarge(t *testing.T) {
	f := newFakeNode(t)
	f.propose = func(_ context.Context, c command.Command) (machine.Reply, error) {
		if len(c.Payload) > 1000 {
			return machine.Reply{}, node.ErrRequestTooLarge
		}
		return machine.Reply{}, nil
	}
	_, address := serve(t, f, Options{MaxRequestBytes: 1000})
	kv := pb.NewKVClient(dial(t, address))
	_, err := kv.Put(timeout(t), &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 2000)})
	if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "etcdserver: request is too large" {
		t.Errorf("a large command answers %v", err)
	}
	_, err = kv.Put(timeout(t), &pb.PutRequest{Key: []byte("k"), Value: make([]byte, grpcOverheadBytes+1000)})
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "received message larger than max") {
		t.Errorf("a large message answers %v", err)
	}
}

// The metrics have the names and labels that dashboards know, and count what happened.
func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	_, address := serve(t, newFakeNode(t), Options{Registerer: registry})
	c := dial(t, address)
	kv := pb.NewKVClient(c)
	for range 3 {
		if _, err := kv.Put(timeout(t), &pb.PutRequest{Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kv.Put(timeout(t), &pb.PutRequest{}); err == nil {
		t.Fatal("a put without a key succeeded")
	}
	if _, err := healthpb.NewHealthClient(c).Check(timeout(t), &healthpb.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string, labels ...string) float64 {
		for _, f := range families {
			if f.GetName() != name {
				continue
			}
			for _, m := range f.Metric {
				if hasLabels(m, labels) {
					return m.GetCounter().GetValue()
				}
			}
		}
		return -1
	}
	put := []string{"grpc_type", "unary", "grpc_service", "etcdserverpb.KV", "grpc_method", "Put"}
	with := func(code string) []string { return append(append([]string(nil), put...), "grpc_code", code) }
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"grpc_server_started_total", put, 4},
		{"grpc_server_msg_received_total", put, 4},
		{"grpc_server_msg_sent_total", put, 3},
		{"grpc_server_handled_total", with("OK"), 3},
		{"grpc_server_handled_total", with("InvalidArgument"), 1},
		{"grpc_server_handled_total", with("DataLoss"), 0},
		{"grpc_server_started_total", []string{"grpc_type", "bidi_stream", "grpc_service", "etcdserverpb.Watch", "grpc_method", "Watch"}, 0},
		{"etcd_server_client_requests_total", []string{"type", "unary", "client_api_version", "unknown"}, 5},
	} {
		if got := value(c.name, c.labels...); got != c.want {
			t.Errorf("%s%v is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	if n := value("etcd_network_client_grpc_received_bytes_total"); n != 9 {
		t.Errorf("%v bytes were received, want 9", n)
	}
	if n := value("etcd_network_client_grpc_sent_bytes_total"); n <= 0 {
		t.Errorf("%v bytes were sent", n)
	}
}

func hasLabels(m *dto.Metric, labels []string) bool {
	if len(m.Label) != len(labels)/2 {
		return false
	}
	for i := 0; i < len(labels); i += 2 {
		found := false
		for _, l := range m.Label {
			found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

// A client that names ever new versions does not make ever new labels.
func TestClientVersionsAreBounded(t *testing.T) {
	var v clientVersions
	for i := range 1000 {
		v.add(fmt.Sprint(i))
	}
	if n := len(v.mu.counts); n > maxClientVersions+1 {
		t.Errorf("1000 versions made %d labels", n)
	}
}

// The call whose handler panicked hangs until its connection ends.
func TestPanicIsNeverAnswered(t *testing.T) {
	s := New(newFakeNode(t), Options{Fail: func(error) {}})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		ended := false
		go func() {
			_ = s.panicked(ctx, s.methods[0], "planted")
			ended = true
		}()
		synctest.Wait()
		if ended {
			t.Error("the call was answered")
		}
		cancel()
		synctest.Wait()
		if !ended {
			t.Error("the call outlives its connection")
		}
	})
}
