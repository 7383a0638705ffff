package sim

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/peer"

	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
)

// watching is the number under which watchers say who they are.
const watching = -1

// watcher is a client that watches. When its stream ends it makes another one elsewhere, which takes its place.
type watcher struct {
	check.Watcher
	w      *World
	life   *life // nil when its stream has ended
	cancel context.CancelFunc
	slow   time.Duration // it takes up to so much longer to read a response
	last   kind.Revision // of the last event, or that at which it was made
	then   func(x *watcher)
}

// Watch makes a watcher at a member: r says of what. then is called when its stream has ended.
func (w *World) Watch(h *host, client int, r check.Watcher, slow time.Duration, then func(*watcher)) *watcher {
	x := &watcher{Watcher: r, w: w, slow: slow, then: then}
	x.ID = len(w.watches)
	x.Client = client
	x.Member = h.id
	x.Request = w.moment()
	w.watches = append(w.watches, x)
	w.record("watcher %d at %s: %q %q from %d", x.ID, h.name, x.Key, x.End, x.Start)
	s := w.source(fmt.Sprint("watcher ", x.ID))
	l := h.life
	if !l.serves() {
		s.after(time.Millisecond, nil, "connection refused", func() { x.finish("connection refused") })
		x.life = nil
		return x
	}
	x.life = l
	var ctx context.Context
	ctx, x.cancel = context.WithCancel(w.proving(peer.NewContext(l.ctx, &peer.Peer{Addr: clientAddress(fmt.Sprint("watcher ", x.ID))}), watching))
	s.after(s.between(50*time.Microsecond, 2*time.Millisecond), l, "watch", func() {
		l.work(func(context.Context) { x.read(ctx, l, s) })
	})
	return x
}

// read takes what the stream brings, one response after the other: the next one when the client has read the one before.
func (x *watcher) read(ctx context.Context, l *life, s *source) {
	stream, err := pb.NewWatchClient(l.conn()).Watch(ctx)
	if err == nil {
		r := &pb.WatchCreateRequest{Key: []byte(x.Key), RangeEnd: []byte(x.End), StartRevision: int64(x.Start), PrevKv: x.PrevKV,
			ProgressNotify: true, Fragment: x.Fragment}
		if x.NoPut {
			r.Filters = append(r.Filters, pb.WatchCreateRequest_NOPUT)
		}
		if x.NoDelete {
			r.Filters = append(r.Filters, pb.WatchCreateRequest_NODELETE)
		}
		err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
	}
	for err == nil {
		var a *pb.WatchResponse
		if a, err = stream.Recv(); err != nil {
			break
		}
		read := make(chan struct{})
		d := s.between(50*time.Microsecond, 2*time.Millisecond)
		if x.slow > 0 {
			d += s.between(0, x.slow)
		}
		s.after(d, l, "watch response", func() {
			defer close(read)
			x.take(a)
		})
		select {
		case <-read:
		case <-l.ended:
			return
		}
	}
	s.after(time.Millisecond, l, "watch ends", func() { x.finish(err.Error()) })
}

// take records a response.
func (x *watcher) take(a *pb.WatchResponse) {
	if x.life == nil {
		return
	}
	r := check.WatchResponse{Moment: x.w.moment(), Revision: revisionOf(a.GetHeader()), Created: a.GetCreated(), Canceled: a.GetCanceled(),
		CompactRevision: kind.Revision(a.GetCompactRevision()), Fragment: a.GetFragment()}
	r.Progress = !r.Created && !r.Canceled && len(a.GetEvents()) == 0
	if r.Created && x.Start == 0 {
		x.last = r.Revision
	}
	for _, e := range a.GetEvents() {
		event := check.WatchEvent{Delete: e.GetType() == mvccpb.Event_DELETE, KV: rowOf(e.GetKv()), Prev: prevOf(e.GetPrevKv())}
		r.Events = append(r.Events, event)
		x.last = max(x.last, event.KV.ModRevision)
	}
	x.Responses = append(x.Responses, r)
	x.w.record("watcher %d: revision %d, %d events, up to %d, canceled %v %d", x.ID, r.Revision, len(r.Events), x.last, r.Canceled, r.CompactRevision)
	switch {
	case r.CompactRevision > 0:
		x.w.count("compacted watchers")
	case r.Progress:
		x.w.count("progress notifications")
	}
	if r.Canceled {
		x.finish("canceled")
	}
}

// finish ends the watcher's stream.
func (x *watcher) finish(why string) {
	if !x.ended() {
		x.life = nil
		x.Ended = x.w.moment()
		if x.cancel != nil {
			x.cancel()
		}
		x.w.record("watcher %d ends: %s", x.ID, why)
		if x.then != nil {
			x.then(x)
		}
	}
}

func (x *watcher) ended() bool { return x.Ended != check.Moment{} }

// next is what a watcher that takes the place of x asks for. compacted tells it that what it has missed is gone.
func (x *watcher) next() (r check.Watcher, lost bool) {
	r = check.Watcher{Resumes: x.ID, Key: x.Key, End: x.End, Start: x.Start, PrevKV: x.PrevKV, NoPut: x.NoPut, NoDelete: x.NoDelete, Fragment: x.Fragment}
	if x.last > 0 {
		r.Start = x.last + 1
	}
	for _, a := range x.Responses {
		if a.CompactRevision > 0 {
			r.Start, r.Resumes, lost = a.CompactRevision, -1, true
		}
	}
	return r, lost
}
