package server

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"holdfast/internal/auth"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
)

// appliedNode is a member whose log is applied at once, and whose clock is the test's.
type appliedNode struct {
	*fakeNode
	before func(*command.Command) // called before each command is applied, outside the lock; nil for nothing

	log struct {
		sync.Mutex
		index    kind.Index
		now      uint64
		entries  [][]byte
		used     []*auth.Token
		proposed []command.Kind
	}
}

func newAppliedNode(t testing.TB) *appliedNode {
	n := &appliedNode{fakeNode: newFakeNode(t)}
	n.log.index = 1
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.hub.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return n
}

// Propose applies c as an entry of its own.
func (n *appliedNode) Propose(_ context.Context, c command.Command) (machine.Reply, error) {
	if n.before != nil {
		n.before(&c)
	}
	return n.apply(c)
}

func (n *appliedNode) apply(c command.Command) (machine.Reply, error) {
	n.log.Lock()
	defer n.log.Unlock()
	n.log.index++
	n.log.proposed = append(n.log.proposed, c.Kind)
	c.Origin = command.Origin{Member: fakeMember, Boot: 1, Sequence: uint64(n.log.index)}
	data := command.AppendEntry(nil, &command.Entry{Elapsed: n.log.now, Commands: []command.Command{c}})
	n.log.entries = append(n.log.entries, data)
	p := n.machine.Begin(machine.Local{Member: fakeMember, Boot: 1})
	if err := p.Apply(machine.Entry{Position: kind.Position{Index: n.log.index, Term: 1}, Data: data}); err != nil {
		return machine.Reply{}, err
	}
	if err := p.Commit(); err != nil {
		return machine.Reply{}, err
	}
	n.hub.Publish(p.Changes())
	return p.Replies()[0], nil
}

// ClusterTime is the test's.
func (n *appliedNode) ClusterTime() (uint64, bool) {
	n.log.Lock()
	defer n.log.Unlock()
	return n.log.now, true
}

// pass lets time pass.
func (n *appliedNode) pass(nanoseconds uint64) {
	n.log.Lock()
	defer n.log.Unlock()
	n.log.now += nanoseconds
}

// TokenUsed keeps the token for flush.
func (n *appliedNode) TokenUsed(token *auth.Token) {
	n.log.Lock()
	defer n.log.Unlock()
	n.log.used = append(n.log.used, token)
}

// world is a served member with users: root (password root, role root), alice (password alice, role r) and bob
// (password bob, no role), and some keys.
type world struct {
	t    testing.TB
	node *appliedNode
	conn *grpc.ClientConn
	auth pb.AuthClient
	kv   pb.KVClient
	of   map[string]string // tokens by user
}

// newWorld makes a world whose role r has these permissions, and enables authentication.
func newWorld(t testing.TB, o Options, permissions ...*authpb.Permission) *world {
	t.Helper()
	w := &world{t: t, node: newAppliedNode(t), of: map[string]string{}}
	if o.BcryptCost == 0 {
		o.BcryptCost = 4
	}
	_, address := serve(t, w.node, o)
	w.conn = dial(t, address)
	w.auth, w.kv = pb.NewAuthClient(w.conn), pb.NewKVClient(w.conn)
	ctx := timeout(t)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"root", "alice", "bob"} {
		must(w.auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: name, Password: name}))
	}
	must(w.auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}))
	must(w.auth.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "r"}))
	must(w.auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "alice", Role: "r"}))
	for _, p := range permissions {
		must(w.auth.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: p}))
	}
	for _, key := range []string{"a", "b", "c"} {
		must(w.kv.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte("value of " + key)}))
	}
	must(w.auth.AuthEnable(ctx, &pb.AuthEnableRequest{}))
	for _, name := range []string{"root", "alice", "bob"} {
		w.login(name, name)
	}
	return w
}

func (w *world) login(name, password string) {
	w.t.Helper()
	r, err := w.auth.Authenticate(timeout(w.t), &pb.AuthenticateRequest{Name: name, Password: password})
	if err != nil {
		w.t.Fatalf("%s logs in: %v", name, err)
	}
	w.of[name] = r.Token
}

// as is the context of a user's call; of nobody's for "".
func (w *world) as(name string) context.Context {
	ctx, cancel := context.WithTimeout(timeout(w.t), 5*time.Second)
	w.t.Cleanup(cancel)
	if name == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "token", w.of[name])
}

// denied fails unless err is etcd's refusal with this text.
func (w *world) denied(what string, err error, text string) {
	w.t.Helper()
	if got := status.Convert(err).Message(); got != "etcdserver: "+text {
		w.t.Errorf("%s: %v, want %q", what, err, text)
	}
}

func (w *world) allowed(what string, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Errorf("%s: %v", what, err)
	}
}

func permission(t authpb.Permission_Type, key, end string) *authpb.Permission {
	return &authpb.Permission{PermType: t, Key: []byte(key), RangeEnd: []byte(end)}
}

func putOf(p *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}}
}
func rangeOf(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}
func deleteOf(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}
func txnOf(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}
