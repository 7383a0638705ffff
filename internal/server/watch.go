package server

import (
	"context"
	"errors"
	"hash/fnv"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"holdfast/internal/auth"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/watch"
)

// The Watch service. A stream has two goroutines: one reads requests and puts watchers into the hub, the other, which is
// the handler, takes what the hub has for the client and sends it. A client that has closed its side is still told
// what its watchers are given, as with etcd.

// watch serves Watch.Watch.
func (s *Server) watch(_ any, stream grpc.ServerStream) error {
	ctx := stream.Context()
	w, err := s.node.Watch().NewStream(connectionOf(ctx))
	if err != nil {
		return status.Error(codes.ResourceExhausted, "etcdserver: "+err.Error())
	}
	defer w.Close()
	received := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				s.stopFor("/etcdserverpb.Watch/Watch", p)
			}
		}()
		received <- s.readWatchRequests(ctx, stream, w)
	}()
	// Progress is not told to all clients in the same moment, even if they have come together.
	interval := s.o.WatchProgressInterval
	progress := time.NewTicker(interval + spread(connectionOf(ctx), interval/10))
	defer progress.Stop()
	leader := s.watchLeader(ctx)
	defer leader.stop()

	more := make(chan struct{})
	close(more)
	sender := watchSender{s: s, stream: stream}
	var responses []watch.Response
	refusing := s.node.Refusing()
	for {
		responses = w.Take(responses[:0])
		for i := range responses {
			if err := sender.send(&responses[i]); err != nil {
				return watchEnded(ctx, err)
			}
		}
		again := more
		if len(responses) == 0 {
			again = nil
			if cap(responses) > responsesKept {
				responses = nil
			}
		}
		clear(responses)
		// A client that reads slowly lets a tick and responses come together. select would take either; two runs of a
		// simulated world are to take the same.
		select {
		case <-progress.C:
			w.Tick()
		default:
		}
		select {
		case <-again:
		case <-w.Ready():
		case err := <-received:
			if err != nil {
				return watchEnded(ctx, err)
			}
			received = nil
		case <-progress.C:
			w.Tick()
		case <-leader.tick:
			if leader.lost(s) {
				return rpctypes.ErrGRPCNoLeader
			}
		case <-s.stopping:
			return rpctypes.ErrGRPCStopped
		case <-refusing:
			return rpctypes.ErrGRPCCorrupt
		case <-ctx.Done():
			return watchEnded(ctx, ctx.Err())
		}
	}
}

// spread is a duration below d that a connection has always, and that differs from connection to connection. No dice are
// thrown for it: streams would throw them in the order in which their goroutines happen to run, and the simulator's worlds
// have to be the same each time.
func spread(connection string, d time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = io.WriteString(h, connection) // never fails; see its documentation
	return time.Duration(h.Sum64() % uint64(max(d, 1)))
}

// responsesKept is how many places for responses a stream at rest keeps after a burst, as when its watchers are made.
const responsesKept = 8

// connectionOf names the connection of a call.
func connectionOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}

// watchEnded is the error with which a stream ends because of err.
func watchEnded(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(ctx.Err(), context.Canceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return toStatus(err)
}

// readWatchRequests does what the client asks for until it has closed its side, which is no error, or the stream ends.
func (s *Server) readWatchRequests(ctx context.Context, stream grpc.ServerStream, w *watch.Stream) error {
	for {
		var r pb.WatchRequest
		if err := stream.RecvMsg(&r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := w.Admit(ctx); err != nil {
			return err
		}
		switch u := r.RequestUnion.(type) {
		case *pb.WatchRequest_CreateRequest:
			if u.CreateRequest != nil {
				s.createWatch(ctx, w, u.CreateRequest)
			}
		case *pb.WatchRequest_CancelRequest:
			if u.CancelRequest != nil {
				w.Cancel(u.CancelRequest.WatchId)
			}
		case *pb.WatchRequest_ProgressRequest:
			if u.ProgressRequest != nil {
				w.Progress()
			}
		}
	}
}

// createWatch makes a watcher or says why there is none. The interval that is authorised is the one that is watched.
func (s *Server) createWatch(ctx context.Context, w *watch.Stream, r *pb.WatchCreateRequest) {
	key := r.Key
	if len(key) == 0 {
		key = []byte{0} // the smallest key
	}
	if r.StartRevision < 0 {
		w.Refuse(rpctypes.ErrCompacted.Error())
		return
	}
	q := watch.Request{
		ID:       r.WatchId,
		Interval: command.NewInterval(key, r.RangeEnd),
		Start:    kind.Revision(r.StartRevision),
		Before:   r.PrevKv,
		Fragment: r.Fragment,
		Progress: r.ProgressNotify,
	}
	for _, f := range r.Filters {
		switch f {
		case pb.WatchCreateRequest_NOPUT:
			q.NoPut = true
		case pb.WatchCreateRequest_NODELETE:
			q.NoDelete = true
		}
	}
	if err := s.authoriseWatch(ctx, q.Interval); err != nil {
		w.Refuse(err.Error())
		return
	}
	w.Watch(q)
}

// authoriseWatch decides whether the client behind ctx may watch iv. The error has the text that clients know.
func (s *Server) authoriseWatch(ctx context.Context, iv command.Interval) error {
	_, err := authorise(ctx, s, &auth.Read{Interval: iv})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, auth.ErrInvalidToken), errors.Is(err, auth.ErrOldRevision), errors.Is(err, auth.ErrUserEmpty):
		return toStatus(err)
	}
	return rpctypes.ErrGRPCPermissionDenied
}
