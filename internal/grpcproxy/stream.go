package grpcproxy

import (
	"context"
	"maps"
	"math"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	// noWatcher is the id in answers that belong to no watcher, or to all.
	noWatcher = -1
	// queueMessages and queueBytes bound what waits for a client that does not read (P4).
	queueMessages, queueBytes = 10_000, 64 << 20
	// fragmentBytes is about how large a message may be for a client that has asked for fragments.
	fragmentBytes = 1 << 20
)

// watchStream is the watchers of one stream of a client, and what waits to be sent to it.
type watchStream struct {
	server *watchServer
	ctx    context.Context
	ready  chan struct{}

	mu       sync.Mutex
	closed   bool
	watchers map[int64]*watcher
	nextID   int64
	queue    []*pb.WatchResponse
	bytes    int
	failure  error

	// A request for progress is answered when all watchers have been told how far they are.
	asked    bool
	awaited  map[*watcher]struct{}
	reached  int64
	lastHead *pb.ResponseHeader
}

// send puts a message into the queue; mu is held.
func (w *watchStream) send(r *pb.WatchResponse) {
	if w.closed || w.failure != nil {
		return
	}
	w.queue = append(w.queue, r)
	w.bytes += proto.Size(r)
	if len(w.queue) > queueMessages || w.bytes > queueBytes {
		w.queue, w.failure = nil, status.Error(codes.ResourceExhausted, "the client does not read its events; watch again from the last revision it has seen")
	}
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// next takes a message out of the queue, nil if there is none.
func (w *watchStream) next() (*pb.WatchResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure != nil || len(w.queue) == 0 {
		return nil, w.failure
	}
	r := w.queue[0]
	w.queue[0] = nil
	w.queue = w.queue[1:]
	w.bytes -= proto.Size(r)
	return r, nil
}

// add makes a watcher with the id that was asked for, or the next. It refuses one that is taken.
func (w *watchStream) add(r *pb.WatchCreateRequest) (*watcher, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := r.WatchId
	if id == 0 {
		for w.watchers[w.nextID] != nil {
			w.nextID++
		}
		id = w.nextID
		w.nextID++
	}
	if w.watchers[id] != nil {
		w.send(&pb.WatchResponse{Header: head(w.lastHead, 0), WatchId: noWatcher, Created: true, Canceled: true,
			CancelReason: "mvcc: duplicate watch ID provided on the WatchStream"})
		return nil, false
	}
	to := &watcher{stream: w, id: id, progress: r.ProgressNotify, fragment: r.Fragment}
	w.watchers[id] = to
	return to, true
}

// join notes which watch a watcher shares, and from which revision on.
func (w *watchStream) join(to *watcher, shared *sharedWatch, from int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	to.shared, to.from = shared, from
	if w.closed {
		go shared.leave(to) // the caller holds the lock of the watch
	}
}

// cancel ends a watcher as the client asks for.
func (w *watchStream) cancel(id int64) {
	w.mu.Lock()
	to := w.watchers[id]
	if to == nil {
		w.mu.Unlock()
		return
	}
	shared := to.shared
	w.mu.Unlock()
	if shared != nil {
		shared.leave(to)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watchers[id] == to {
		w.remove(to)
		w.send(&pb.WatchResponse{Header: head(w.lastHead, 0), WatchId: id, Canceled: true})
	}
}

// remove forgets a watcher; mu is held.
func (w *watchStream) remove(to *watcher) {
	delete(w.watchers, to.id)
	delete(w.awaited, to)
	w.answerProgress()
}

// close leaves all watches.
func (w *watchStream) close() {
	w.mu.Lock()
	w.closed, w.queue = true, nil
	watchers := maps.Clone(w.watchers)
	clear(w.watchers)
	shared := map[*watcher]*sharedWatch{}
	for _, to := range watchers {
		if to.shared != nil {
			shared[to] = to.shared
		}
	}
	w.mu.Unlock()
	for to, s := range shared {
		s.leave(to)
	}
}

// head is a header with another revision; 0 leaves the one it has.
func head(h *pb.ResponseHeader, revision int64) *pb.ResponseHeader {
	h = proto.CloneOf(h)
	if h != nil && revision > 0 {
		h.Revision = revision
	}
	return h
}

func (w *watchStream) created(to *watcher, h *pb.ResponseHeader, revision int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastHead = head(h, revision)
	w.send(&pb.WatchResponse{Header: head(h, revision), WatchId: to.id, Created: true})
}

// canceled passes the last word of the cluster on to a watcher, which was told before that it exists if created is set.
func (w *watchStream) canceled(to *watcher, h *pb.ResponseHeader, r *clientv3.WatchResponse, created bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watchers[to.id] != to {
		return
	}
	w.remove(to)
	m := &pb.WatchResponse{Header: head(h, 0), WatchId: to.id, Canceled: true, CompactRevision: r.CompactRevision, CancelReason: r.CancelReason}
	if m.CancelReason == "" && r.Err() != nil {
		m.CancelReason = r.Err().Error()
	}
	if !created {
		m.WatchId, m.Created = noWatcher, true
	}
	w.send(m)
}

// events sends a watcher its events, in several messages if it wants fragments and they are large.
func (w *watchStream) events(to *watcher, h *pb.ResponseHeader, events []*clientv3.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastHead = h
	m := &pb.WatchResponse{Header: h, WatchId: to.id}
	size := 0
	for _, e := range events {
		event := (*mvccpb.Event)(e)
		n := proto.Size(event)
		if to.fragment && size > 0 && size+n > fragmentBytes {
			m.Fragment = true
			w.send(m)
			m, size = &pb.WatchResponse{Header: h, WatchId: to.id}, 0
		}
		m.Events = append(m.Events, event)
		size += n
	}
	w.send(m)
}

// requestProgress answers with a revision up to which all watchers of the stream have been sent everything.
func (w *watchStream) requestProgress() {
	w.mu.Lock()
	idle := len(w.watchers) == 0
	if !idle {
		w.asked, w.reached = true, math.MaxInt64
		clear(w.awaited)
		for _, to := range w.watchers {
			w.awaited[to] = struct{}{}
		}
	}
	w.mu.Unlock()
	if !idle {
		_ = w.server.p.watcher.RequestProgress(w.ctx) // an answer is not promised; the client asks again
		return
	}
	s, err := pb.NewMaintenanceClient(w.server.p.client.ActiveConnection()).Status(w.ctx, &pb.StatusRequest{})
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.send(&pb.WatchResponse{Header: s.Header, WatchId: noWatcher})
}

// progressed says that a watcher has been sent everything up to a revision.
func (w *watchStream) progressed(to *watcher, h *pb.ResponseHeader, revision int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastHead = h
	if _, waiting := w.awaited[to]; waiting && w.asked {
		delete(w.awaited, to)
		w.reached = min(w.reached, revision)
		w.answerProgress()
		return
	}
	if to.progress {
		w.send(&pb.WatchResponse{Header: head(h, revision), WatchId: to.id})
	}
}

// answerProgress answers when nobody is awaited any more; mu is held.
func (w *watchStream) answerProgress() {
	if !w.asked || len(w.awaited) > 0 || w.reached == math.MaxInt64 {
		return
	}
	w.asked = false
	w.send(&pb.WatchResponse{Header: head(w.lastHead, w.reached), WatchId: noWatcher})
}
