package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/node"
	"holdfast/internal/store"
)

// openMachine opens the machine of a new store in memory.
func openMachine(t testing.TB) *machine.Machine { return openMachineWith(t, mvcc.Options{}) }

func openMachineWith(t testing.TB, o mvcc.Options) *machine.Machine {
	t.Helper()
	fs, id := vfs.NewMem(), kind.Identity{Cluster: fakeCluster, Member: fakeMember, Incarnation: 1}
	members := []member.Member{{ID: fakeMember, Name: "default", PeerURLs: []string{"http://localhost:2380"}}}
	if err := store.Create(fs, "store", id, func(set func(key, value []byte)) error {
		machine.Genesis(set, members)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(fs, "store", id, store.Options{BlockCacheBytes: 1 << 20, OnFailure: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	kv, err := mvcc.Open(db, o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := machine.Open(db, kv, machine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Close(), db.Close(false)); err != nil {
			t.Error(err)
		}
	})
	return m
}

// execute makes the node execute what is proposed, each command as an entry of its own.
func (f *fakeNode) execute() *fakeNode {
	var mu sync.Mutex
	f.propose = func(_ context.Context, c command.Command) (machine.Reply, error) {
		mu.Lock()
		defer mu.Unlock()
		c.Origin = command.Origin{Member: fakeMember, Boot: 1, Sequence: 1}
		p := f.machine.Begin(machine.Local{Member: fakeMember, Boot: 1})
		at := f.machine.Applied()
		at.Index++
		data := command.AppendCommand(command.AppendEntryHeader(nil, 0, 0, 1), &c)
		if err := p.Apply(machine.Entry{Position: at, Data: data}); err != nil {
			return machine.Reply{}, err
		}
		reply := p.Replies()[0]
		return reply, p.Commit()
	}
	return f
}

// etcd's own client does what it does with etcd.
func TestClient(t *testing.T) {
	f := newFakeNode(t).execute()
	_, address := serve(t, f, Options{})
	c := client(t, address)
	ctx := timeout(t)
	for i := range 25 {
		if _, err := c.Put(ctx, fmt.Sprintf("key%02d", i), strings.Repeat("v", i)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := c.Get(ctx, "key", clientv3.WithPrefix(), clientv3.WithLimit(3), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	if err != nil {
		t.Fatal(err)
	}
	if r.Count != 25 || !r.More || len(r.Kvs) != 3 || string(r.Kvs[0].Key) != "key24" || len(r.Kvs[0].Value) != 24 {
		t.Errorf("a list answers %v", r)
	}
	if r.Header.Revision != 26 || r.Header.ClusterId != uint64(fakeCluster) || r.Header.RaftTerm != 3 {
		t.Errorf("its header is %v", r.Header)
	}
	put, err := c.Put(ctx, "key00", "new", clientv3.WithPrevKV())
	if err != nil || put.Header.Revision != 27 || string(put.PrevKv.GetKey()) != "key00" {
		t.Errorf("a put answers %v, %v", put, err)
	}
	txn, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Value("key00"), "=", "new")).
		Then(clientv3.OpPut("key00", "newer"), clientv3.OpGet("key00")).Else(clientv3.OpGet("key01")).Commit()
	if err != nil || !txn.Succeeded || txn.Header.Revision != 28 || string(txn.Responses[1].GetResponseRange().Kvs[0].Value) != "newer" {
		t.Errorf("a transaction answers %v, %v", txn, err)
	}
	if _, err := c.Compact(ctx, 20, clientv3.WithCompactPhysical()); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(ctx, "key", clientv3.WithRev(19)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("a compacted read answers %v", err)
	}
	if _, err := c.Get(ctx, "key", clientv3.WithRev(1000)); !errors.Is(err, rpctypes.ErrFutureRev) {
		t.Errorf("a read of the future answers %v", err)
	}
	deleted, err := c.Delete(ctx, "key", clientv3.WithPrefix())
	if err != nil || deleted.Deleted != 25 || deleted.Header.Revision != 29 {
		t.Errorf("a delete answers %v, %v", deleted, err)
	}
}

// A transaction that only reads makes no entry, and asks for a read index unless all its reads are serializable; the
// same holds for ranges.
func TestReadsDoNotPropose(t *testing.T) {
	f := newFakeNode(t)
	f.propose = func(context.Context, command.Command) (machine.Reply, error) {
		return machine.Reply{}, errors.New("a read was proposed")
	}
	_, address := serve(t, f, Options{})
	c := client(t, address)
	for _, q := range []struct {
		reads int
		ask   func() error
	}{
		{1, func() error { _, err := c.Get(timeout(t), "a"); return err }},
		{0, func() error { _, err := c.Get(timeout(t), "a", clientv3.WithSerializable()); return err }},
		{1, func() error {
			r, err := c.Txn(timeout(t)).If(clientv3.Compare(clientv3.Version("a"), "=", 0)).Then(clientv3.OpGet("a")).Commit()
			if err == nil && (!r.Succeeded || len(r.Responses) != 1 || r.Header.Revision != 1) {
				err = fmt.Errorf("the answer is %v", r)
			}
			return err
		}},
		{0, func() error {
			_, err := c.Txn(timeout(t)).Then(clientv3.OpGet("a", clientv3.WithSerializable())).Commit()
			return err
		}},
		{0, func() error { _, err := c.Txn(timeout(t)).Commit(); return err }},
	} {
		before := f.readsMade()
		if err := q.ask(); err != nil {
			t.Error(err)
		}
		if n := f.readsMade() - before; n != q.reads {
			t.Errorf("%d read indexes were asked for, want %d", n, q.reads)
		}
	}
}

// A stream brings the same keys as a list, its header only at the end, and the refusals before anything.
func TestRangeStream(t *testing.T) {
	f := newFakeNode(t).execute()
	_, address := serve(t, f, Options{MaxRequestBytes: 64 << 10})
	kv := pb.NewKVClient(dial(t, address))
	for i := range 100 {
		if _, err := kv.Put(timeout(t), &pb.PutRequest{Key: fmt.Appendf(nil, "key%03d", i), Value: make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	stream := func(r *pb.RangeRequest) (chunks []*pb.RangeResponse, err error) {
		s, err := kv.RangeStream(timeout(t), r)
		if err != nil {
			t.Fatal(err)
		}
		for {
			chunk, err := s.Recv()
			if err == io.EOF {
				return chunks, nil
			}
			if err != nil {
				return chunks, err
			}
			chunks = append(chunks, chunk.RangeResponse)
		}
	}
	for _, r := range []*pb.RangeRequest{
		{Key: []byte("key"), RangeEnd: []byte("kez")},
		{Key: []byte("key"), RangeEnd: []byte("kez"), Limit: 25},
		{Key: []byte("key"), RangeEnd: []byte("kez"), Revision: 50},
		{Key: []byte("key"), RangeEnd: []byte("kez"), CountOnly: true},
		{Key: []byte("none")},
	} {
		want, err := kv.Range(timeout(t), r)
		if err != nil {
			t.Fatal(err)
		}
		chunks, err := stream(r)
		if err != nil || len(chunks) == 0 {
			t.Fatalf("%v: %d chunks, %v", r, len(chunks), err)
		}
		got := &pb.RangeResponse{}
		for i, chunk := range chunks {
			if last := i == len(chunks)-1; last != (chunk.Header != nil) || !last && (chunk.More || chunk.Count != 0) {
				t.Errorf("%v: chunk %d of %d has header %v, more %v, count %d", r, i, len(chunks), chunk.Header, chunk.More, chunk.Count)
			}
			proto.Merge(got, chunk)
		}
		if !proto.Equal(got, want) {
			t.Errorf("%v: a stream and a list differ", r)
		}
	}
	if chunks, _ := stream(&pb.RangeRequest{Key: []byte("key"), RangeEnd: []byte("kez")}); len(chunks) < 3 || len(chunks[0].Kvs) != 10 || len(chunks[1].Kvs) != 20 {
		t.Errorf("100 keys come in %d chunks, the first of %d keys", len(chunks), len(chunks[0].Kvs))
	}
	for _, c := range []struct {
		r    *pb.RangeRequest
		code codes.Code
		text string
	}{
		{&pb.RangeRequest{}, codes.InvalidArgument, "etcdserver: key is not provided"},
		{&pb.RangeRequest{Key: []byte("k"), SortOrder: pb.RangeRequest_DESCEND}, codes.Unimplemented, "RangeStream does not support custom sort orders"},
		{&pb.RangeRequest{Key: []byte("k"), MinModRevision: 1}, codes.Unimplemented, "RangeStream does not support revision filters"},
		{&pb.RangeRequest{Key: []byte("k"), Revision: 1000}, codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision"},
	} {
		_, err := stream(c.r)
		if status.Code(err) != c.code || status.Convert(err).Message() != c.text {
			t.Errorf("%v is answered %v", c.r, err)
		}
	}
}

// A client that does not read its stream is cut off, and the view that the stream stood on is closed (the store
// would not close otherwise).
func TestStalledStream(t *testing.T) {
	f := newFakeNode(t).execute()
	server, address := serve(t, f, Options{MaxStreamAge: 100 * time.Millisecond})
	kv := pb.NewKVClient(dial(t, address))
	for i := range 20 {
		if _, err := kv.Put(timeout(t), &pb.PutRequest{Key: fmt.Appendf(nil, "key%03d", i), Value: make([]byte, 100<<10)}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := kv.RangeStream(timeout(t), &pb.RangeRequest{Key: []byte("key"), RangeEnd: []byte("kez")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	for !cutOff(server) {
		time.Sleep(time.Millisecond)
	}
	for err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "read faster") {
		t.Errorf("the stream ended with %v", err)
	}
}

// TestUnreadStreamsCount: what the transport has queued for a client that does not read its stream counts against the
// budget of large answers; otherwise many such streams take memory without bound. The stream's end frees it.
func TestUnreadStreamsCount(t *testing.T) {
	f := newFakeNode(t)
	f.machine = openMachineWith(t, mvcc.Options{AnswerBudgetBytes: 1 << 20})
	f.execute()
	_, address := serve(t, f, Options{})
	kv := pb.NewKVClient(dial(t, address))
	if _, err := kv.Put(timeout(t), &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 800<<10)}); err != nil {
		t.Fatal(err)
	}
	unread, end := context.WithCancel(timeout(t))
	defer end()
	s, err := kv.RangeStream(unread, &pb.RangeRequest{Key: []byte("k")})
	if err == nil {
		_, err = s.Header()
	}
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := kv.Range(soon, &pb.RangeRequest{Key: []byte("k")}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("beside a stream that holds most of the budget: %v", err)
	}
	end()
	if _, err := kv.Range(timeout(t), &pb.RangeRequest{Key: []byte("k")}); err != nil {
		t.Errorf("after the end of the stream: %v", err)
	}
}

// cutOff reports whether a stream has ended because it was too old.
func cutOff(s *Server) bool {
	for _, m := range s.methods {
		if m.name == "RangeStream" {
			return m.counts.handled[codes.DeadlineExceeded].Load() > 0
		}
	}
	return false
}

// Status, alarms, hashes, members and the rest of what is served beside KV.
func TestMaintenanceAndCluster(t *testing.T) {
	f := newFakeNode(t).execute()
	_, address := serve(t, f, Options{})
	conn := dial(t, address)
	m, ctx := pb.NewMaintenanceClient(conn), timeout(t)
	if _, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	now := &pb.ResponseHeader{ClusterId: uint64(fakeCluster), MemberId: uint64(fakeMember), Revision: 2, RaftTerm: 3}
	got, err := m.Status(ctx, &pb.StatusRequest{})
	want := &pb.StatusResponse{Header: now, Version: "3.7.3", DbSize: 4096, DbSizeInUse: 1024, Leader: uint64(fakeMember), RaftIndex: 20,
		RaftTerm: 3, RaftAppliedIndex: 19, StorageVersion: "3.7.0", DbSizeQuota: 2147483648, DowngradeInfo: &pb.DowngradeInfo{}}
	if err != nil || !proto.Equal(got, want) {
		t.Errorf("Status is %v, %v\nwant %v", got, err, want)
	}
	f.set(func(f *fakeNode) {
		f.mu.status.Leader = 0
		f.mu.alarms = []machine.Alarm{{Member: 5, Type: command.AlarmNoSpace}, {Member: 6, Type: command.AlarmCorrupt}}
	})
	got, err = m.Status(ctx, &pb.StatusRequest{})
	if err != nil || strings.Join(got.Errors, "; ") != "etcdserver: no leader; memberID:5 alarm:NOSPACE; memberID:6 alarm:CORRUPT" {
		t.Errorf("the errors of Status are %q, %v", got.GetErrors(), err)
	}
	alarms, err := m.Alarm(ctx, &pb.AlarmRequest{Alarm: pb.AlarmType_CORRUPT})
	if err != nil || !proto.Equal(alarms, &pb.AlarmResponse{Header: now, Alarms: []*pb.AlarmMember{{MemberID: 6, Alarm: pb.AlarmType_CORRUPT}}}) {
		t.Errorf("the alarms are %v, %v", alarms, err)
	}
	if alarms, err = m.Alarm(ctx, &pb.AlarmRequest{}); err != nil || len(alarms.Alarms) != 2 {
		t.Errorf("all alarms are %v, %v", alarms, err)
	}
	if _, err := m.Alarm(ctx, &pb.AlarmRequest{Action: 7}); status.Code(err) != codes.Unimplemented {
		t.Errorf("an action that is none answers %v", err)
	}
	if r, err := m.Defragment(ctx, &pb.DefragmentRequest{}); err != nil || r.Header != nil {
		t.Errorf("Defragment answers %v, %v", r, err)
	}
	if r, err := m.Hash(ctx, &pb.HashRequest{}); err != nil || !proto.Equal(r.Header, now) || r.Hash == 0 {
		t.Errorf("Hash answers %v, %v", r, err)
	}
	if r, err := m.HashKV(ctx, &pb.HashKVRequest{}); err != nil || r.HashRevision != 2 || r.CompactRevision != -1 || r.Hash == 0 {
		t.Errorf("HashKV answers %v, %v", r, err)
	}
	if _, err := m.HashKV(ctx, &pb.HashKVRequest{Revision: 9}); status.Code(err) != codes.OutOfRange {
		t.Errorf("HashKV of the future answers %v", err)
	}
	cluster := pb.NewClusterClient(conn)
	before := f.readsMade()
	members, err := cluster.MemberList(ctx, &pb.MemberListRequest{})
	list := &pb.MemberListResponse{Header: &pb.ResponseHeader{ClusterId: uint64(fakeCluster), MemberId: uint64(fakeMember), RaftTerm: 3},
		Members: []*pb.Member{{ID: uint64(fakeMember), Name: "default", PeerURLs: []string{"http://localhost:2380"}, ClientURLs: []string{"http://localhost:2379"}}}}
	if err != nil || !proto.Equal(members, list) || f.readsMade() != before {
		t.Errorf("MemberList answers %v, %v", members, err)
	}
	f.set(func(f *fakeNode) { f.mu.readIndex = node.ErrNoLeader })
	if _, err := cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: true}); status.Convert(err).Message() != "etcdserver: no leader" {
		t.Errorf("a linearizable MemberList without a leader answers %v", err)
	}
	f.set(func(f *fakeNode) { f.mu.readIndex = nil })
	auth, err := pb.NewAuthClient(conn).AuthStatus(ctx, &pb.AuthStatusRequest{})
	if err != nil || auth.Enabled || auth.AuthRevision != 1 {
		t.Errorf("AuthStatus answers %v, %v", auth, err)
	}
}

// Raising and clearing an alarm answers as etcd does, and everybody sees it.
func TestAlarmChanges(t *testing.T) {
	f := newFakeNode(t).execute()
	_, address := serve(t, f, Options{})
	m, ctx := pb.NewMaintenanceClient(dial(t, address)), timeout(t)
	header := &pb.ResponseHeader{ClusterId: uint64(fakeCluster), MemberId: uint64(fakeMember), Revision: 1, RaftTerm: 3}
	one := []*pb.AlarmMember{{MemberID: 7, Alarm: pb.AlarmType_CORRUPT}}
	for i, step := range []struct {
		request *pb.AlarmRequest
		want    []*pb.AlarmMember
	}{
		{&pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 7, Alarm: pb.AlarmType_CORRUPT}, nil},
		{&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 7}, nil},
		{&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 7, Alarm: pb.AlarmType_CORRUPT}, one},
		{&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 7, Alarm: pb.AlarmType_CORRUPT}, one},
		{&pb.AlarmRequest{}, one},
		{&pb.AlarmRequest{Alarm: pb.AlarmType_NOSPACE}, nil},
		{&pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 8, Alarm: pb.AlarmType_CORRUPT}, nil},
		{&pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 7, Alarm: pb.AlarmType_CORRUPT}, one},
		{&pb.AlarmRequest{}, nil},
	} {
		got, err := m.Alarm(ctx, step.request)
		if err != nil || !proto.Equal(got, &pb.AlarmResponse{Header: header, Alarms: step.want}) {
			t.Errorf("step %d: %v, %v", i, got, err)
		}
	}
}
