package server

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"holdfast/internal/auth"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/machine"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/node"
	"holdfast/internal/watch"
)

var _ Node = (*node.Node)(nil)

// fakeNode is a member without a log: what a proposal is answered is up to the test.
type fakeNode struct {
	machine  *machine.Machine
	hub      *watch.Hub
	propose  func(ctx context.Context, c command.Command) (machine.Reply, error)
	members  []member.Member // what Members says; nil for the machine's
	follows  bool            // another member leads
	refusing chan struct{}   // closed while the state is wrong

	mu struct {
		sync.Mutex
		status    node.Status
		alarms    []machine.Alarm
		readIndex error
		space     error
		reads     int // calls of ReadIndex
		activity  member.Activity
	}
}

const (
	fakeCluster = kind.ClusterID(0xcdf818194e3a8c32)
	fakeMember  = kind.MemberID(0x8e9e05c52164694d)
)

func newFakeNode(t testing.TB) *fakeNode {
	f := &fakeNode{machine: openMachine(t), refusing: make(chan struct{})}
	f.hub = watch.New(f.machine.KV(), watch.Options{})
	f.propose = func(context.Context, command.Command) (machine.Reply, error) { return machine.Reply{Revision: 7}, nil }
	f.mu.status = node.Status{Leader: fakeMember, Term: 3, Index: 20, Applied: 19}
	f.members = []member.Member{{ID: fakeMember, Name: "default", PeerURLs: []string{"http://localhost:2380"},
		ClientURLs: []string{"http://localhost:2379"}}}
	return f
}

func (f *fakeNode) ClusterID() kind.ClusterID   { return fakeCluster }
func (f *fakeNode) MemberID() kind.MemberID     { return fakeMember }
func (f *fakeNode) Sizes() (disk, live int64)   { return 4096, 1024 }
func (f *fakeNode) Watch() *watch.Hub           { return f.hub }
func (f *fakeNode) KV() *mvcc.Store             { return f.machine.KV() }
func (f *fakeNode) Leases() *lease.Table        { return f.machine.Leases() }
func (f *fakeNode) ClusterTime() (uint64, bool) { return f.machine.State().Elapsed, true }
func (f *fakeNode) Auth() *auth.Store           { return f.machine.Auth() }
func (f *fakeNode) TokenUsed(*auth.Token)       {}
func (f *fakeNode) Status() node.Status         { f.mu.Lock(); defer f.mu.Unlock(); return f.mu.status }
func (f *fakeNode) Space() error                { f.mu.Lock(); defer f.mu.Unlock(); return f.mu.space }

// Alarms are those of the machine and those that the test has set.
func (f *fakeNode) Alarms() []machine.Alarm {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append(slices.Clone(f.machine.Alarms()), f.mu.alarms...)
}

func (f *fakeNode) Downgrading() bool {
	return slices.Contains(f.machine.Alarms(), machine.Alarm{Type: command.AlarmDowngrade})
}

func (f *fakeNode) Propose(ctx context.Context, c command.Command) (machine.Reply, error) {
	return f.propose(ctx, c)
}

func (f *fakeNode) ReadIndex(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.reads++
	return f.mu.readIndex
}

func (f *fakeNode) Members(ctx context.Context, linearizable bool) ([]member.Member, error) {
	if linearizable {
		if err := f.ReadIndex(ctx); err != nil {
			return nil, err
		}
	}
	if f.members == nil {
		return f.machine.Members(), nil
	}
	return f.members, nil
}

func (f *fakeNode) WaitCompacted(context.Context, kind.Revision) error { return nil }

func (f *fakeNode) Corrupt() bool {
	select {
	case <-f.Refusing():
		return true
	default:
		return false
	}
}

func (f *fakeNode) Refusing() <-chan struct{} { return f.refusing }

func (f *fakeNode) Quarantine() string {
	if f.Corrupt() {
		return "it differs"
	}
	return ""
}

func (f *fakeNode) Repair(context.Context) (node.Repaired, error) {
	if !f.Corrupt() {
		return node.Repaired{}, node.ErrNothingToRepair
	}
	return node.Repaired{Index: 9, Revision: 8, Took: 7}, nil
}

// set changes what the fake says, under its lock.
func (f *fakeNode) set(change func(*fakeNode)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeNode) readsMade() int { f.mu.Lock(); defer f.mu.Unlock(); return f.mu.reads }

// serve starts a server of n on a loopback port and returns it with its address. The end of the test stops it and
// fails if Serve did not end well.
func serve(t testing.TB, n Node, o Options) (*Server, string) {
	t.Helper()
	if o.Fail == nil {
		o.Fail = func(err error) { t.Errorf("the member was stopped: %v", err) }
	}
	s := New(n, o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.GracefulStop(ctx)
		if err := <-done; err != nil {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return s, l.Addr().String()
}

func dial(t testing.TB, address string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(address, append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func client(t testing.TB, address string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{address}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func timeout(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
