package grpcproxy

import (
	"context"
	"errors"
	"io"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// watchServer serves Watch. The watchers of its streams share those of the cluster.
type watchServer struct {
	pb.UnimplementedWatchServer
	p      *Proxy
	direct clientv3.KV // asks the cluster, whatever is kept here
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	shared map[string]*sharedWatch
	group  sync.WaitGroup
}

func newWatchServer(p *Proxy, direct clientv3.KV) *watchServer {
	ctx, cancel := context.WithCancel(p.client.Ctx())
	return &watchServer{p: p, direct: direct, ctx: ctx, cancel: cancel, shared: map[string]*sharedWatch{}}
}

func (s *watchServer) close() {
	s.cancel()
	s.group.Wait()
}

// forget makes room for another watch of the same name.
func (s *watchServer) forget(w *sharedWatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared[w.name] == w {
		delete(s.shared, w.name)
	}
}

// find returns the shared watch of the name, or nil when it has opened it for the watcher.
func (s *watchServer) find(ctx context.Context, name string, r *pb.WatchCreateRequest, to *watcher) *sharedWatch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.shared[name]; w != nil {
		return w
	}
	s.shared[name] = s.openShared(ctx, name, r, to)
	return nil
}

// Watch serves the watchers of one stream.
func (s *watchServer) Watch(stream grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]) error {
	ctx, cancel := context.WithCancel(outgoing(stream.Context()))
	defer cancel()
	w := &watchStream{server: s, ctx: ctx, ready: make(chan struct{}, 1), watchers: map[int64]*watcher{}, awaited: map[*watcher]struct{}{}}
	received := make(chan error, 1)
	go func() { received <- w.receive(stream) }()
	defer w.close()
	for {
		for {
			r, err := w.next()
			if err != nil {
				return err
			}
			if r == nil {
				break
			}
			if err := stream.Send(r); err != nil {
				return err
			}
		}
		select {
		case <-w.ready:
		case err := <-received:
			if err != nil {
				return err
			}
			received = nil // the client has no more to ask, but still listens
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-s.ctx.Done():
			return status.Error(codes.Unavailable, "the proxy is stopping")
		}
	}
}

func (w *watchStream) receive(stream grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch r := r.GetRequestUnion().(type) {
		case *pb.WatchRequest_CreateRequest:
			w.create(r.CreateRequest)
		case *pb.WatchRequest_CancelRequest:
			w.cancel(r.CancelRequest.GetWatchId())
		case *pb.WatchRequest_ProgressRequest:
			w.requestProgress()
		}
	}
}

// create begins a watcher. Where one is shared that is not open yet it waits for that, and the client's next requests with
// it.
func (w *watchStream) create(r *pb.WatchCreateRequest) {
	to, ok := w.add(r)
	if !ok {
		return
	}
	s, name := w.server, shareName(w.ctx, r)
	for {
		shared := s.find(w.ctx, name, r, to)
		if shared == nil {
			return
		}
		select {
		case <-shared.opened:
		case <-w.ctx.Done():
			return
		}
		var known int64
		if r.StartRevision == 0 {
			// What was written before the request must not come (P2).
			resp, err := s.direct.Get(w.ctx, s.p.o.Namespace+string(r.Key), clientv3.WithCountOnly())
			if err != nil {
				break // one of its own will tell it why
			}
			known = resp.Header.GetRevision()
		}
		switch shared.join(to, r.StartRevision, known) {
		case isIn:
			return
		case isOver:
			s.forget(shared)
			continue
		}
		break
	}
	s.openShared(w.ctx, "", r, to)
}
