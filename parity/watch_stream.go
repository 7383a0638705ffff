package parity

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A watchStream is one side's end of a long-lived stream. It sorts what arrives: answers to requests, which come in the order of the
// requests, and what comes by itself, whose order among different watches is free.
type watchStream struct {
	stream grpc.ClientStream
	cancel context.CancelFunc
	// polls counts the requests for progress whose answers, which may be none, nobody waits for any more.
	polls int
	// revisions has, for each watch, the revision of its last event, and open whether a fragment is to follow it.
	revisions map[int64]int64
	open      map[int64]*pb.ResponseHeader
	arrived   chan struct{} // holds a token after each arrival
	mu        struct {
		sync.Mutex
		answers   []*pb.WatchResponse
		news      []*pb.WatchResponse
		announced map[int64]bool
		broken    []string // what broke the rules of order
		err       error
	}
}

func openWatchStream(conn grpc.ClientConnInterface, md map[string]string) (*watchStream, error) {
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(context.Background(), metadata.New(md)))
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/etcdserverpb.Watch/Watch")
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open a stream of watches: %w", err)
	}
	w := &watchStream{stream: stream, cancel: cancel, revisions: map[int64]int64{}, open: map[int64]*pb.ResponseHeader{}, arrived: make(chan struct{}, 1)}
	w.mu.announced = map[int64]bool{}
	go w.receive()
	return w, nil
}

// receive ends with the stream.
func (w *watchStream) receive() {
	for {
		m := &pb.WatchResponse{}
		err := w.stream.RecvMsg(m)
		w.mu.Lock()
		switch {
		case err != nil:
			w.mu.err = err
		case m.Created || (m.Canceled && m.CompactRevision == 0):
			w.mu.answers = append(w.mu.answers, m)
			w.mu.announced[m.WatchId] = m.Created && !m.Canceled
		default:
			w.mu.news = append(w.mu.news, m)
			// A watch may have the id -1 by choice; etcd does not hold back the events of such a one.
			if m.WatchId != -1 && !w.mu.announced[m.WatchId] {
				w.mu.broken = append(w.mu.broken, fmt.Sprintf("watch %d is not there and has news: %s", m.WatchId, describe(m)))
			}
			if m.Canceled {
				w.mu.announced[m.WatchId] = false
			}
		}
		w.mu.Unlock()
		select {
		case w.arrived <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// await returns once done does, which is called with the lock held after each arrival, or false after the given time or when the stream has ended.
func (w *watchStream) await(within time.Duration, done func() bool) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		w.mu.Lock()
		ok, err := done(), w.mu.err
		w.mu.Unlock()
		if ok || err != nil {
			return ok
		}
		select {
		case <-w.arrived:
		case <-late.C:
			return false
		}
	}
}

// ping is a request that every server answers: a watch of an empty range. Its answer follows those to all requests before.
func ping() *pb.WatchRequest {
	return create(&pb.WatchCreateRequest{Key: []byte("z"), RangeEnd: []byte("a")})
}

// ask sends a request and returns the answers to it, which a ping behind it delimits.
func (w *watchStream) ask(request *pb.WatchRequest, within time.Duration) ([]*pb.WatchResponse, error) {
	pings := 1
	if request.GetCreateRequest() != nil {
		pings++ // it is answered as a ping is
	}
	for _, r := range []*pb.WatchRequest{request, ping()} {
		if err := w.stream.SendMsg(r); err != nil {
			return nil, fmt.Errorf("send on a stream of watches: %w", err)
		}
	}
	created := func(r *pb.WatchResponse) bool { return r.Created }
	end := 0
	if !w.await(within, func() bool {
		seen := 0
		end = slices.IndexFunc(w.mu.answers, func(r *pb.WatchResponse) bool {
			if created(r) {
				seen++
			}
			return seen == pings
		})
		return end >= 0
	}) {
		return nil, w.failure("an answer to " + describe(request))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	answers := w.mu.answers[:end]
	w.mu.answers = w.mu.answers[end+1:]
	return answers, nil
}

// takeNews waits for news of a kind and takes the first of it out.
func (w *watchStream) takeNews(within time.Duration, kind func(*pb.WatchResponse) bool) *pb.WatchResponse {
	var found *pb.WatchResponse
	w.await(within, func() bool {
		i := slices.IndexFunc(w.mu.news, kind)
		if i >= 0 {
			found = w.mu.news[i]
			w.mu.news = slices.Delete(w.mu.news, i, i+1)
		}
		return i >= 0
	})
	return found
}

// caughtUp returns once the server has said that all watches of the stream have caught up with the store.
func (w *watchStream) caughtUp(within time.Duration) error {
	const pause = 50 * time.Millisecond
	for range within/pause + 1 {
		w.polls++
		if err := w.stream.SendMsg(progress()); err != nil {
			return fmt.Errorf("send on a stream of watches: %w", err)
		}
		if w.takeNews(pause, isProgress) != nil {
			w.polls--
			return nil
		}
	}
	return w.failure("progress")
}

// isProgress reports whether a response tells only how far all watches of a stream are.
func isProgress(r *pb.WatchResponse) bool {
	return r.WatchId == -1 && len(r.Events) == 0 && !r.Canceled && !r.Created
}

func (w *watchStream) failure(what string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.err != nil {
		return fmt.Errorf("the stream of watches ended: %w", w.mu.err)
	}
	return fmt.Errorf("%s did not come", what)
}

// close ends the stream and returns when nothing of it is left.
func (w *watchStream) close() {
	w.cancel()
	w.await(time.Minute, func() bool { return w.mu.err != nil })
}
