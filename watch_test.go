package holdfast_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/servertest"
)

// The tests of this file hold what etcd's users rely on in a watch, over real sockets.

// watched is a server with a client, and a raw stream of the Watch service.
type watched struct {
	*testing.T
	*servertest.Server
	conn   *grpc.ClientConn
	kv     pb.KVClient
	client *clientv3.Client
	ctx    context.Context
}

func startWatched(t *testing.T, flags ...string) *watched {
	t.Helper()
	s := servertest.Start(t, flags...)
	w := &watched{T: t, Server: s}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	w.ctx = ctx
	w.dial()
	return w
}

// dial opens a connection and a client.
func (w *watched) dial() {
	w.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(w.Endpoint(), "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		w.Fatal(err)
	}
	w.conn, w.kv = conn, pb.NewKVClient(conn)
	if w.client, err = clientv3.New(clientv3.Config{Endpoints: []string{w.Endpoint()}}); err != nil {
		w.Fatal(err)
	}
	client := w.client
	w.Cleanup(func() { _ = client.Close(); _ = conn.Close() })
}

func (w *watched) put(key, value string) int64 {
	w.Helper()
	r, err := w.kv.Put(w.ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if err != nil {
		w.Fatal(err)
	}
	return r.Header.Revision
}

func (w *watched) remove(key, end string) int64 {
	w.Helper()
	r, err := w.kv.DeleteRange(w.ctx, &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)})
	if err != nil {
		w.Fatal(err)
	}
	return r.Header.Revision
}

func (w *watched) compact(rev int64) {
	w.Helper()
	if _, err := w.kv.Compact(w.ctx, &pb.CompactionRequest{Revision: rev, Physical: true}); err != nil {
		w.Fatal(err)
	}
}

// rawStream is a stream of the Watch service without a client library between.
type rawStream struct {
	*watched
	pb.Watch_WatchClient
	got chan *pb.WatchResponse
	err chan error
}

func (w *watched) stream(options ...grpc.CallOption) *rawStream {
	w.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	w.Cleanup(cancel)
	return w.streamIn(ctx, options...)
}

func (w *watched) streamIn(ctx context.Context, options ...grpc.CallOption) *rawStream {
	w.Helper()
	c, err := pb.NewWatchClient(w.conn).Watch(ctx, options...)
	if err != nil {
		w.Fatal(err)
	}
	s := &rawStream{w, c, make(chan *pb.WatchResponse, 1<<16), make(chan error, 1)}
	go func() {
		for {
			r, err := c.Recv()
			if err != nil {
				s.err <- err
				return
			}
			s.got <- r
		}
	}()
	return s
}

func (s *rawStream) create(r *pb.WatchCreateRequest) {
	s.Helper()
	if err := s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}); err != nil {
		s.Fatal(err)
	}
}

// created creates a watcher and returns the answer.
func (s *rawStream) created(r *pb.WatchCreateRequest) *pb.WatchResponse {
	s.Helper()
	s.create(r)
	c := s.next()
	if !c.Created {
		s.Fatalf("the first answer is %v", c)
	}
	return c
}

func (s *rawStream) cancel(id int64) {
	s.Helper()
	if err := s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}); err != nil {
		s.Fatal(err)
	}
}

func (s *rawStream) progress() {
	s.Helper()
	if err := s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}); err != nil {
		s.Fatal(err)
	}
}

// next returns the next response.
func (s *rawStream) next() *pb.WatchResponse {
	s.Helper()
	select {
	case r := <-s.got:
		return r
	case err := <-s.err:
		s.Fatalf("the stream ended: %v", err)
	case <-s.ctx.Done():
		s.Fatal("no response came")
	}
	return nil
}

// quiet proves that nothing more comes: a watcher that is made now is the next thing heard of.
func (s *rawStream) quiet() {
	s.Helper()
	if r := s.created(&pb.WatchCreateRequest{Key: []byte("quiet")}); !r.Created || len(r.Events) > 0 {
		s.Fatalf("there was still %v", r)
	}
}

// events collects n events of a watcher, and checks that no header is behind them.
func (s *rawStream) events(id int64, n int) (all []*mvccpb.Event) {
	s.Helper()
	for len(all) < n {
		r := s.next()
		if r.WatchId != id || r.Canceled || r.Created {
			s.Fatalf("instead of events of %d came %v", id, r)
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision > r.Header.Revision {
				s.Fatalf("the header of %v is behind its events", r)
			}
		}
		all = append(all, r.Events...)
	}
	if len(all) > n {
		s.Fatalf("%d events came, want %d: %v", len(all), n, all)
	}
	return all
}

// 1: a start in the future is created at once, nothing comes before it, and the first response is of that revision.
func TestWatchFromTheFuture(t *testing.T) {
	w := startWatched(t)
	rev := w.put("a", "1")
	s := w.stream()
	c := s.created(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: rev + 5})
	if c.Header.Revision != rev || c.Canceled {
		t.Fatalf("created with %v", c)
	}
	for range 5 {
		w.put("a", "2")
	}
	r := s.next()
	if r.Header.Revision != rev+5 || len(r.Events) != 1 || r.Events[0].Kv.ModRevision != rev+5 {
		t.Fatalf("the first response is %v", r)
	}
}

// 2: an empty interval is refused and the stream goes on; from-key is none.
func TestWatchEmptyInterval(t *testing.T) {
	w := startWatched(t)
	s := w.stream()
	for _, end := range []string{"b", "a"} {
		s.create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte(end)})
		r := s.next()
		if !r.Created || !r.Canceled || r.WatchId != -1 || r.CancelReason != "mvcc: watcher range is empty" {
			t.Fatalf("[b, %s) is answered %v", end, r)
		}
	}
	c := s.created(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte{0}})
	if c.Canceled || c.WatchId != 0 {
		t.Fatalf("from-key is answered %v", c)
	}
	all := s.created(&pb.WatchCreateRequest{RangeEnd: []byte{0}})
	w.put("a", "1")
	w.put("z", "1")
	s.events(all.WatchId, 1)
	one, other := s.next(), s.next()
	if one.WatchId == other.WatchId || string(one.Events[0].Kv.Key) != "z" || string(other.Events[0].Kv.Key) != "z" {
		t.Fatalf("z is told by %v and %v", one, other)
	}
}

// 3: a start that was compacted is told with the compacted revision, also after a restart; a negative one too.
func TestWatchCompacted(t *testing.T) {
	w := startWatched(t)
	for range 10 {
		w.put("a", "1")
	}
	w.compact(8)
	check := func() {
		t.Helper()
		s := w.stream()
		c := s.created(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 3})
		if c.Canceled || c.WatchId != 0 {
			t.Fatalf("created with %v", c)
		}
		r := s.next()
		if !r.Canceled || r.CompactRevision != 8 || r.WatchId != 0 || len(r.Events) != 0 || r.CancelReason != "" || r.Header.Revision != 0 {
			t.Fatalf("compacted is told as %v", r)
		}
		s.quiet()
		s.created(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 8, PrevKv: true, WatchId: 9})
		events := s.events(9, 4)
		if events[0].Kv.ModRevision != 8 || events[0].PrevKv != nil || events[1].PrevKv == nil {
			t.Fatalf("from the compacted revision on: %v", events)
		}
		s.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: -1})
		if r := s.next(); !r.Created || !r.Canceled || r.WatchId != -1 || r.CancelReason != rpctypes.ErrCompacted.Error() {
			t.Fatalf("a negative start is answered %v", r)
		}
		s.quiet()
	}
	check()
	wch := w.client.Watch(w.ctx, "a", clientv3.WithRev(3))
	if r := <-wch; r.Err() != rpctypes.ErrCompacted || r.CompactRevision != 8 {
		t.Fatalf("the client is told %+v", r)
	}
	w.Restart()
	w.dial()
	check()
}

// 4 and 5: events lie inside the interval; those of a transaction come together, live and from history, whatever
// else is watched on the stream.
func TestWatchIntervals(t *testing.T) {
	w := startWatched(t)
	live, all := w.stream(), []*pb.WatchCreateRequest{
		{Key: []byte("b"), WatchId: 1}, {Key: []byte("b"), RangeEnd: []byte("d"), WatchId: 2}, {Key: []byte("c"), RangeEnd: []byte{0}, WatchId: 3},
	}
	for _, r := range all {
		live.created(r)
	}
	op := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte("v")}}}
	}
	txn, err := w.kv.Txn(w.ctx, &pb.TxnRequest{Success: []*pb.RequestOp{op("d"), op("c"), op("b"), op("a")}})
	if err != nil {
		t.Fatal(err)
	}
	rev := txn.Header.Revision
	gone := w.remove("a", "e")
	want := map[int64]string{1: "b", 2: "cb", 3: "dc"}
	wantGone := map[int64]string{1: "b", 2: "bc", 3: "cd"}
	check := func(r *pb.WatchResponse, want map[int64]string, rev int64) {
		t.Helper()
		keys := ""
		for _, e := range r.Events {
			keys += string(e.Kv.Key)
			if e.Kv.ModRevision != rev {
				t.Fatalf("%v is not all of revision %d", r, rev)
			}
		}
		if keys != want[r.WatchId] {
			t.Fatalf("watcher %d was told of %q, want %q", r.WatchId, keys, want[r.WatchId])
		}
		delete(want, r.WatchId)
	}
	for range all {
		r := live.next()
		check(r, want, rev)
		if r.Header.Revision != rev {
			t.Fatalf("the header of %v is not that of its events", r)
		}
	}
	for range all {
		check(live.next(), wantGone, gone)
	}
	past := w.stream()
	want = map[int64]string{1: "bb", 2: "cbbc", 3: "dccd"}
	for _, r := range all {
		r.StartRevision = rev
		past.created(r)
		h := past.next()
		keys := ""
		for _, e := range h.Events {
			keys += string(e.Kv.Key)
		}
		if keys != want[h.WatchId] || h.Header.Revision != gone {
			t.Fatalf("from history watcher %d was told %v, want %q", h.WatchId, h, want[h.WatchId])
		}
	}
}

// 6: watchers that come at any moment see a sequence without a gap.
func TestWatchDuringWrites(t *testing.T) {
	w := startWatched(t)
	const puts = 2000
	first := w.put("k", "0")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range puts {
			if _, err := w.kv.Put(w.ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte(strconv.Itoa(i))}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	var streams []*rawStream
	var starts []int64
	for i := range 30 {
		s := w.stream()
		r := &pb.WatchCreateRequest{Key: []byte("k")}
		if i%2 == 0 {
			r.StartRevision = first
		}
		c := s.created(r)
		start := r.StartRevision
		if start == 0 {
			start = c.Header.Revision + 1
		}
		streams, starts = append(streams, s), append(starts, start)
	}
	<-done
	for i, s := range streams {
		if n := first + puts - starts[i] + 1; n > 0 {
			for j, e := range s.events(0, int(n)) {
				if e.Kv.ModRevision != starts[i]+int64(j) {
					t.Fatalf("watcher %d is given revision %d after %d", i, e.Kv.ModRevision, starts[i]+int64(j)-1)
				}
			}
		}
	}
}

// 7 and 8: progress counts writes to other keys, comes once for a request and only when every watcher of the stream
// has been given everything, and is told to idle watchers at the interval.
func TestWatchProgress(t *testing.T) {
	w := startWatched(t, "--watch-progress-notify-interval=100ms")
	s := w.stream()
	s.progress()
	s.quiet() // without a watcher there is no answer
	one := w.stream()
	one.created(&pb.WatchCreateRequest{Key: []byte("a")})
	rev := w.put("b", "1")
	one.progress()
	if r := one.next(); r.WatchId != -1 || r.Header.Revision != rev || r.Created || len(r.Events) != 0 {
		t.Fatalf("progress is answered %v", r)
	}
	one.created(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("c")})
	rev = w.put("z", "1")
	one.progress()
	if r := one.next(); r.WatchId != -1 || r.Header.Revision != rev {
		t.Fatalf("progress of two is answered %v", r)
	}
	one.quiet()
	// A watcher that has not begun keeps the stream from telling its progress.
	one.created(&pb.WatchCreateRequest{Key: []byte("f"), StartRevision: rev + 2, WatchId: 77})
	one.progress()
	one.quiet()
	w.put("z", "2")
	w.put("z", "3")
	one.progress()
	if r := one.next(); r.WatchId != -1 || r.Header.Revision != rev+2 {
		t.Fatalf("progress after the start is answered %v", r)
	}

	idle := w.stream()
	idle.created(&pb.WatchCreateRequest{Key: []byte("idle"), ProgressNotify: true, WatchId: 5})
	idle.created(&pb.WatchCreateRequest{Key: []byte("idle2"), WatchId: 6})
	for range 2 {
		if r := idle.next(); r.WatchId != 5 || r.Header.Revision != rev+2 || len(r.Events) != 0 {
			t.Fatalf("the idle watcher is told %v", r)
		}
	}
}

// 7: a watcher that reads the history hears the store's revision in every header, and of progress only afterwards.
func TestWatchProgressWhileCatchingUp(t *testing.T) {
	w := startWatched(t)
	first := w.put("k", "0")
	last := first
	for range 3000 {
		last = w.put("k", "1")
	}
	s := w.stream()
	s.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: first})
	s.progress()
	next := first
	if !s.next().Created {
		t.Fatal("it was not created first")
	}
	for next <= last {
		r := s.next()
		if len(r.Events) == 0 {
			t.Fatalf("progress %v comes before revision %d", r, next)
		}
		if r.Header.Revision != last {
			t.Fatalf("a header says %d, the store is at %d", r.Header.Revision, last)
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision != next {
				t.Fatalf("revision %d comes instead of %d", e.Kv.ModRevision, next)
			}
			next++
		}
	}
	for {
		s.progress()
		select {
		case r := <-s.got:
			if r.WatchId != -1 || r.Header.Revision != last || len(r.Events) != 0 {
				t.Fatalf("progress is answered %v", r)
			}
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// 9: the version before is there for changes and deletes, not for creations, and only for those who ask.
func TestWatchPrevKV(t *testing.T) {
	w := startWatched(t)
	first := w.put("other", "0") + 1
	s := w.stream()
	s.created(&pb.WatchCreateRequest{Key: []byte("k"), PrevKv: true, WatchId: 1})
	s.created(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: 2})
	w.put("k", "1")
	w.put("k", "2")
	w.remove("k", "")
	w.put("k", "")
	check := func(with, without []*mvccpb.Event) {
		t.Helper()
		for i, want := range []string{"-", "1", "2", "-"} {
			have := "-"
			if p := with[i].PrevKv; p != nil {
				have = string(p.Value)
				if p.ModRevision != first+int64(i)-1 || string(p.Key) != "k" || p.CreateRevision != first || p.Version != int64(i) {
					t.Fatalf("the version before is %v", p)
				}
			}
			if have != want {
				t.Fatalf("event %d has %q before it, want %q", i, have, want)
			}
			if without[i].PrevKv != nil {
				t.Fatalf("%v has what nobody asked for", without[i])
			}
			if with[i].IsCreate() != (want == "-") || with[i].Type == mvccpb.Event_DELETE != (i == 2) {
				t.Fatalf("event %d is %v", i, with[i])
			}
			if k := with[i].Kv; i == 2 && !proto.Equal(k, &mvccpb.KeyValue{Key: []byte("k"), ModRevision: first + 2}) {
				t.Fatalf("a delete says %v", k)
			}
		}
	}
	got := map[int64][]*mvccpb.Event{}
	for len(got[1])+len(got[2]) < 8 {
		r := s.next()
		got[r.WatchId] = append(got[r.WatchId], r.Events...)
	}
	check(got[1], got[2])
	past, plain := w.stream(), w.stream()
	past.created(&pb.WatchCreateRequest{Key: []byte("k"), PrevKv: true, StartRevision: first})
	plain.created(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: first})
	check(past.events(0, 4), plain.events(0, 4))
}

// 10: filters leave out what they name and nothing else, live and from history.
func TestWatchFilters(t *testing.T) {
	w := startWatched(t)
	s := w.stream()
	noPut := &pb.WatchCreateRequest{Key: []byte("k"), WatchId: 1, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}}
	noDelete := &pb.WatchCreateRequest{Key: []byte("k"), WatchId: 2, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}}
	for _, r := range []*pb.WatchCreateRequest{noPut, noDelete} {
		s.created(r)
	}
	first := w.put("k", "1")
	w.remove("k", "")
	w.put("k", "2")
	check := func(got map[int64][]*mvccpb.Event) {
		t.Helper()
		if len(got[1]) != 1 || got[1][0].Kv.ModRevision != first+1 || got[1][0].Type != mvccpb.Event_DELETE {
			t.Fatalf("without puts there are %v", got[1])
		}
		if len(got[2]) != 2 || got[2][0].Kv.ModRevision != first || got[2][1].Kv.ModRevision != first+2 {
			t.Fatalf("without deletes there are %v", got[2])
		}
	}
	got := map[int64][]*mvccpb.Event{}
	for range 3 {
		r := s.next()
		got[r.WatchId] = append(got[r.WatchId], r.Events...)
	}
	check(got)
	past := w.stream()
	noPut.StartRevision, noDelete.StartRevision = first, first
	past.created(noPut)
	got = map[int64][]*mvccpb.Event{1: past.events(1, 1)}
	past.created(noDelete)
	got[2] = past.events(2, 2)
	check(got)
}

// 11: what is too large for a client that limits what it receives fails, unless it takes fragments.
func TestWatchFragments(t *testing.T) {
	w := startWatched(t)
	first := w.put("other", "0") + 1
	for i := range 10 {
		w.put(fmt.Sprintf("k%d", i), strings.Repeat("x", 1<<20))
	}
	request := &pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), StartRevision: first}
	limit := grpc.MaxCallRecvMsgSize(3 << 20)

	whole := w.stream()
	whole.created(request)
	if r := whole.next(); len(r.Events) != 10 || r.Fragment {
		t.Fatalf("%d events came in the first response", len(r.Events))
	}
	limited := w.stream(limit)
	limited.create(request)
	for {
		select {
		case r := <-limited.got:
			if len(r.Events) > 0 {
				t.Fatalf("%d events passed the limit", len(r.Events))
			}
			continue
		case err := <-limited.err:
			if status.Code(err) != codes.ResourceExhausted {
				t.Fatalf("the limit ends the stream with %v", err)
			}
		}
		break
	}
	request.Fragment = true
	parts := w.stream(limit)
	parts.created(request)
	events := 0
	for {
		r := parts.next()
		for _, e := range r.Events {
			if want := fmt.Sprintf("k%d", events); string(e.Kv.Key) != want {
				t.Fatalf("a fragment has %s instead of %s", e.Kv.Key, want)
			}
			events++
		}
		if r.Fragment != (events < 10) {
			t.Fatalf("after %d events fragment is %v", events, r.Fragment)
		}
		if !r.Fragment {
			break
		}
	}
	wch := w.client.Watch(w.ctx, "k", clientv3.WithPrefix(), clientv3.WithRev(first), clientv3.WithFragment())
	if r := <-wch; len(r.Events) != 10 || r.Err() != nil {
		t.Fatalf("the client put together %d events: %v", len(r.Events), r.Err())
	}
}

// 12: a cancelled watcher is acknowledged once and says nothing more; unknown ids are not answered; ids may be chosen,
// not twice; the gauges come back.
func TestWatchCancel(t *testing.T) {
	w := startWatched(t)
	s := w.stream()
	s.created(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 42})
	s.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 42})
	if r := s.next(); !r.Created || !r.Canceled || r.WatchId != -1 || r.CancelReason != "mvcc: duplicate watch ID provided on the WatchStream" {
		t.Fatalf("an id given twice is answered %v", r)
	}
	rev := w.put("a", "1")
	s.events(42, 1)
	s.cancel(42)
	if r := s.next(); !r.Canceled || r.WatchId != 42 || r.Created || r.Header.Revision != rev || r.CancelReason != "" {
		t.Fatalf("cancel is answered %v", r)
	}
	s.cancel(42)
	s.cancel(4711)
	w.put("a", "2")
	if r := s.created(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 42}); r.WatchId != 42 || r.Canceled {
		t.Fatalf("an id that is free again is answered %v", r)
	}
	for i := range int64(1000) {
		if c := s.created(&pb.WatchCreateRequest{Key: []byte("n")}); c.WatchId != i+b2i(i >= 42) {
			t.Fatalf("watcher %d gets id %d", i, c.WatchId)
		}
	}
	w.gauge("etcd_debugging_mvcc_watcher_total", 1001)
	for i := range int64(1001) {
		s.cancel(i)
		if r := s.next(); !r.Canceled || r.WatchId != i {
			t.Fatalf("cancel of %d is answered %v", i, r)
		}
	}
	w.gauge("etcd_debugging_mvcc_watcher_total", 0)
	w.gauge("etcd_debugging_mvcc_watch_stream_total", 1)
	ctx, cancel := context.WithCancel(w.ctx)
	w.streamIn(ctx).created(&pb.WatchCreateRequest{Key: []byte("a")})
	w.gauge("etcd_debugging_mvcc_watch_stream_total", 2)
	cancel()
	w.gauge("etcd_debugging_mvcc_watch_stream_total", 1)
	w.gauge("etcd_debugging_mvcc_watcher_total", 0)
	w.gauge("etcd_debugging_mvcc_slow_watcher_total", 0)
	w.gauge("etcd_debugging_mvcc_pending_events_total", 0)
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// gauge waits until a metric has a value.
func (w *watched) gauge(name string, want float64) {
	w.Helper()
	have := ""
	for w.ctx.Err() == nil {
		r, err := http.Get(w.Endpoint() + "/metrics")
		if err != nil {
			w.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			w.Fatal(err)
		}
		for line := range strings.Lines(string(body)) {
			if value, ok := strings.CutPrefix(line, name+" "); ok {
				have = strings.TrimSpace(value)
			}
		}
		if v, err := strconv.ParseFloat(have, 64); err == nil && v == want {
			return
		}
	}
	w.Fatalf("%s is %q, want %v", name, have, want)
}

// 14: a key that ends with its lease is a delete, an empty value is a put, and create and modify can be told apart.
func TestWatchKinds(t *testing.T) {
	w := startWatched(t)
	s := w.stream()
	s.created(&pb.WatchCreateRequest{Key: []byte("k"), PrevKv: true})
	lease, err := pb.NewLeaseClient(w.conn).LeaseGrant(w.ctx, &pb.LeaseGrantRequest{TTL: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := w.kv.Put(w.ctx, &pb.PutRequest{Key: []byte("k"), Lease: lease.ID}); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range s.events(0, 3) {
		if e.Type == mvccpb.Event_DELETE != (i == 2) || e.IsCreate() != (i == 0) || e.IsModify() != (i == 1) || (e.PrevKv == nil) != (i == 0) {
			t.Errorf("event %d is %v", i, e)
		}
		if i < 2 && e.Kv.Lease != lease.ID || i == 2 && e.PrevKv.GetLease() != lease.ID {
			t.Errorf("event %d does not know the lease: %v", i, e)
		}
	}
}

// 15: a watch that is denied says why, and does not touch the others on its stream.
func TestWatchDenied(t *testing.T) {
	w := startWatched(t)
	auth := w.client.Auth
	_, err := auth.UserAdd(w.ctx, "root", "r")
	steps := []func() error{
		func() error { _, err := auth.UserGrantRole(w.ctx, "root", "root"); return err },
		func() error { _, err := auth.UserAdd(w.ctx, "u", "u"); return err },
		func() error { _, err := auth.RoleAdd(w.ctx, "r"); return err },
		func() error {
			_, err := auth.RoleGrantPermission(w.ctx, "r", "a", "c", clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := auth.UserGrantRole(w.ctx, "u", "r"); return err },
		func() error { _, err := auth.AuthEnable(w.ctx); return err },
	}
	for _, step := range steps {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	token, err := pb.NewAuthClient(w.conn).Authenticate(w.ctx, &pb.AuthenticateRequest{Name: "u", Password: "u"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(w.ctx, "token", token.Token))
	defer cancel()
	s := w.streamIn(ctx)
	if c := s.created(&pb.WatchCreateRequest{Key: []byte("a")}); c.Canceled || c.WatchId != 0 {
		t.Fatalf("an allowed watch is answered %v", c)
	}
	for _, r := range []*pb.WatchCreateRequest{
		{Key: []byte("c")}, {Key: []byte("a"), RangeEnd: []byte("d")}, {Key: []byte("a"), RangeEnd: []byte{0}}, {RangeEnd: []byte{0}},
	} {
		s.create(r)
		if c := s.next(); !c.Created || !c.Canceled || c.WatchId != -1 || c.CancelReason != rpctypes.ErrGRPCPermissionDenied.Error() {
			t.Fatalf("a denied watch is answered %v", c)
		}
	}
	if _, err := w.kv.Put(ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	s.events(0, 1)
	for reason, ctx := range map[error]context.Context{
		rpctypes.ErrGRPCUserEmpty:        w.ctx,
		rpctypes.ErrGRPCInvalidAuthToken: metadata.AppendToOutgoingContext(w.ctx, "token", "nonsense"),
	} {
		other := w.streamIn(ctx)
		other.create(&pb.WatchCreateRequest{Key: []byte("a")})
		if c := other.next(); !c.Created || !c.Canceled || c.WatchId != -1 || c.CancelReason != reason.Error() {
			t.Errorf("a watch is answered %v, want %v", c, reason)
		}
	}
}

// A client goes on where it was over a restart of the member: nothing is lost and nothing comes twice.
func TestWatchOverRestart(t *testing.T) {
	w := startWatched(t)
	wch := w.client.Watch(clientv3.WithRequireLeader(w.ctx), "k", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	if r := <-wch; !r.Created {
		t.Fatalf("the client is told %+v", r)
	}
	next := w.put("k", "0")
	for range 3 {
		for range 20 {
			w.put("k", "1")
		}
		w.Kill()
		w.Restart()
		w.dial()
	}
	last := w.put("k", "end")
	for next <= last {
		r := <-wch
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision != next {
				t.Fatalf("revision %d comes instead of %d", e.Kv.ModRevision, next)
			}
			next++
		}
	}
}
