package grpcproxy

import (
	"context"
	"fmt"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// sharedWatch is one watcher of the cluster and the watchers that get its events.
type sharedWatch struct {
	server *watchServer
	name   string // what it is found by; empty if nobody else may share it
	ctx    context.Context
	cancel context.CancelFunc
	opened chan struct{} // closed when the cluster has answered

	mu       sync.Mutex
	header   *pb.ResponseHeader
	handed   int64 // everything up to this revision has been handed out
	watchers map[*watcher]struct{}
	over     bool // nobody joins any more
}

// watcher is one watcher of a client.
type watcher struct {
	stream   *watchStream
	id       int64
	from     int64 // it gets changes from this revision on
	progress bool  // it wants to be told of revisions without changes
	fragment bool
	shared   *sharedWatch
}

// shareName tells the watchers that may share one (P3).
func shareName(ctx context.Context, r *pb.WatchCreateRequest) string {
	sent, _ := metadata.FromOutgoingContext(ctx)
	return fmt.Sprintf("%q %q %v %v %v %q", r.Key, r.RangeEnd, r.PrevKv, r.ProgressNotify, r.Filters, sent)
}

// openShared begins to watch for a first watcher, which gets the cluster's answer whatever it is. The context carries the
// caller's token, but does not end with the caller.
func (s *watchServer) openShared(ctx context.Context, name string, r *pb.WatchCreateRequest, opener *watcher) *sharedWatch {
	sent, _ := metadata.FromOutgoingContext(ctx)
	up, cancel := context.WithCancel(metadata.NewOutgoingContext(s.ctx, sent))
	w := &sharedWatch{server: s, name: name, ctx: up, cancel: cancel, opened: make(chan struct{}), watchers: map[*watcher]struct{}{opener: {}}}
	opener.stream.join(opener, w, r.StartRevision)
	opts := []clientv3.OpOption{clientv3.WithRev(r.StartRevision), clientv3.WithCreatedNotify(), clientv3.WithFragment()}
	if len(r.RangeEnd) > 0 {
		opts = append(opts, clientv3.WithRange(string(r.RangeEnd)))
	}
	if r.PrevKv {
		opts = append(opts, clientv3.WithPrevKV())
	}
	if r.ProgressNotify {
		opts = append(opts, clientv3.WithProgressNotify())
	}
	for _, f := range r.Filters {
		switch f {
		case pb.WatchCreateRequest_NOPUT:
			opts = append(opts, clientv3.WithFilterPut())
		case pb.WatchCreateRequest_NODELETE:
			opts = append(opts, clientv3.WithFilterDelete())
		}
	}
	responses := s.p.watcher.Watch(up, string(r.Key), opts...)
	s.group.Go(func() { w.run(responses, r.StartRevision) })
	return w
}

// run hands out what the cluster sends until the watch ends.
func (w *sharedWatch) run(responses clientv3.WatchChan, start int64) {
	defer w.cancel()
	for r := range responses {
		w.mu.Lock()
		first := w.header == nil
		if h := r.Header; h != nil {
			w.header = h
		}
		switch {
		case r.Canceled || r.Err() != nil:
			w.mu.Unlock()
			w.end(&r)
			return
		case r.Created && first:
			// Where the watch begins in the past, everything from there on is still to come.
			w.handed = w.header.GetRevision()
			if start > 0 {
				w.handed = start - 1
			}
			for opener := range w.watchers {
				opener.stream.created(opener, w.header, w.header.GetRevision())
			}
			close(w.opened)
		case r.IsProgressNotify():
			w.handed = max(w.handed, r.Header.GetRevision())
			for to := range w.watchers {
				to.stream.progressed(to, w.header, w.handed)
			}
		case len(r.Events) > 0:
			w.handOut(&r)
		}
		w.mu.Unlock()
	}
	w.end(&clientv3.WatchResponse{Canceled: true})
}

// handOut gives each watcher the events that are new to it (P2). Events of one revision never come in two responses, so
// whoever has everything up to a revision lacks all of the next.
func (w *sharedWatch) handOut(r *clientv3.WatchResponse) {
	last := r.Events[len(r.Events)-1].Kv.ModRevision
	for to := range w.watchers {
		events := make([]*clientv3.Event, 0, len(r.Events))
		for _, e := range r.Events {
			if e.Kv.ModRevision >= to.from {
				events = append(events, e)
			}
		}
		if len(events) > 0 {
			to.stream.events(to, r.Header, events)
		}
	}
	if n := len(w.watchers); n > 1 {
		w.server.p.metrics.shared.Add(float64((n - 1) * len(r.Events)))
	}
	w.handed = max(w.handed, last)
}

// end gives the watchers the last word of the cluster.
func (w *sharedWatch) end(r *clientv3.WatchResponse) {
	w.server.forget(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	was := true
	select {
	case <-w.opened:
	default:
		was = false
		close(w.opened)
	}
	w.over = true
	for to := range w.watchers {
		to.stream.canceled(to, w.header, r, was)
	}
	before := len(w.watchers)
	clear(w.watchers)
	w.count(before)
}

// What has become of an attempt to join.
type joined int

const (
	isIn    joined = iota
	tooLate        // what it asks for has been handed out before
	isOver         // the watch has ended
)

// join adds a watcher whose first revision is from or, if that is 0, that begins now, where everything up to known was
// written before. It tells the client where it begins. The watch must have been opened.
func (w *sharedWatch) join(to *watcher, from, known int64) joined {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over:
		return isOver
	case from > 0 && from <= w.handed:
		return tooLate
	}
	revision := max(w.header.GetRevision(), w.handed)
	if from == 0 {
		revision = max(w.handed, known)
		from = revision + 1
	}
	to.stream.join(to, w, from)
	before := len(w.watchers)
	w.watchers[to] = struct{}{}
	w.count(before)
	to.stream.created(to, w.header, revision)
	return isIn
}

// leave removes a watcher. A watch that nobody shares any more ends.
func (w *sharedWatch) leave(to *watcher) {
	w.mu.Lock()
	before := len(w.watchers)
	delete(w.watchers, to)
	w.count(before)
	last := len(w.watchers) == 0 && !w.over
	if last {
		w.over = true
	}
	w.mu.Unlock()
	if last {
		w.server.forget(w)
		w.cancel()
	}
}

// count keeps the number of watchers that share one, when there were before of them; mu is held.
func (w *sharedWatch) count(before int) {
	w.server.p.metrics.sharing.Add(float64(max(len(w.watchers)-1, 0) - max(before-1, 0)))
}
