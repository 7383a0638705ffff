package parity

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// logged is an event of the history, as far as it decides which watches see it.
type logged struct {
	revision int64
	key      []byte
	deleted  bool
}

func (l logged) String() string {
	if l.deleted {
		return fmt.Sprintf("%d deletes %q", l.revision, l.key)
	}
	return fmt.Sprintf("%d puts %q", l.revision, l.key)
}

// A watch is one that lives on both sides.
type watch struct {
	request *pb.WatchCreateRequest
	// first is the revision from which on the log says what it delivers: what is left of a compacted revision, the log does not know.
	first int64
	// next is the first entry of the log that has not been delivered.
	next int
	// live is whether the watch began at a revision to come. Others get what came before in responses of any size.
	live bool
}

// A watching is one long-lived stream on both sides.
type watching struct {
	as      string
	ends    [2]*watchStream
	watches map[int64]*watch
}

// watchings are all long-lived streams of a run.
type watchings struct {
	streams map[int]*watching
	log     []logged
	// complete is the revision from which the log has all events.
	complete int64
	patience time.Duration
}

func newWatchings(patience time.Duration) watchings {
	if patience == 0 {
		patience = 20 * time.Second
	}
	return watchings{streams: map[int]*watching{}, patience: patience}
}

// open returns the stream with the number, opened if it was not, or as somebody else.
func (w *watchings) open(number int, as string, r *Run) (*watching, error) {
	stream := w.streams[number]
	if stream != nil && (number != identityStream || stream.as == as) {
		return stream, nil
	}
	w.close(number, r.state)
	stream = &watching{as: as, watches: map[int64]*watch{}}
	for side, s := range []System{r.Left, r.Right} {
		end, err := openWatchStream(s.Conn(), r.identities.with(side, Operation{As: as}).Metadata)
		if err != nil {
			return nil, err
		}
		stream.ends[side] = end
	}
	w.streams[number] = stream
	return stream, nil
}

func (w *watchings) close(number int, state *State) {
	if stream := w.streams[number]; stream != nil {
		for _, end := range stream.ends {
			if end != nil {
				end.close()
			}
		}
	}
	delete(w.streams, number)
	delete(state.Watches, number)
}

func (w *watchings) closeAll(state *State) {
	for number := range w.streams {
		w.close(number, state)
	}
}

// ids are those of the watches, in an order in which they can be created again: 0 can only be had by leaving the choice to a new stream.
func (s *watching) ids() []int64 {
	return slices.SortedFunc(maps.Keys(s.watches), func(a, b int64) int {
		switch {
		case a == b:
			return 0
		case a == 0 || (b != 0 && a < b):
			return -1
		}
		return 1
	})
}

// do sends a request on one side and collects all that must follow it: the answers, and
//
//   - for a watch of compacted revisions its end, after which the client cancels it, too, as etcd needs before it forgets the id;
//   - for a watch of the past that it has caught up;
//   - for a request for progress what comes of it, if something must.
func (w *watchings) do(stream *watching, side int, o Operation, state *State) Answer {
	end, request := stream.ends[side], o.Request.(*pb.WatchRequest)
	var a Answer
	take := func(responses []*pb.WatchResponse, err error) bool {
		for _, r := range responses {
			a.Messages = append(a.Messages, r)
		}
		if err != nil {
			a.Status = status.New(codes.DeadlineExceeded, err.Error())
		}
		return err == nil
	}
	a.Status = status.New(codes.OK, "")
	answers, err := end.ask(request, w.patience)
	if !take(answers, err) {
		return a
	}
	if create := request.GetCreateRequest(); create != nil && len(answers) == 1 && !answers[0].Canceled {
		id := answers[0].WatchId
		switch start := create.StartRevision; {
		case start > 0 && start < state.Compacted:
			r := end.takeNews(w.patience, func(r *pb.WatchResponse) bool { return r.WatchId == id && r.Canceled })
			if r == nil {
				take(nil, end.failure("the end of a watch of compacted revisions"))
				return a
			}
			take([]*pb.WatchResponse{r}, nil)
			take(end.ask(cancel(id), w.patience))
		case start > 0 && start <= state.Revision:
			take(nil, end.caughtUp(w.patience))
		}
	}
	if request.GetProgressRequest() != nil && stream.tellsProgress(state) {
		r := end.takeNews(w.patience, isProgress)
		if r == nil {
			take(nil, end.failure("progress"))
			return a
		}
		take([]*pb.WatchResponse{r}, nil)
	}
	return a
}

// tellsProgress reports whether the stream answers a request for progress: it has watches, and none that begins at a revision to come.
func (s *watching) tellsProgress(state *State) bool {
	for _, watch := range s.watches {
		if watch.request.StartRevision > state.Revision {
			return false
		}
	}
	return len(s.watches) > 0
}

// learn takes in the answer to a request on a stream.
func (w *watchings) learn(number int, o Operation, a Answer, state *State) {
	stream, request := w.streams[number], o.Request.(*pb.WatchRequest)
	if len(a.Messages) == 0 || stream == nil {
		return
	}
	first := a.Messages[0].(*pb.WatchResponse)
	if create := request.GetCreateRequest(); create != nil && !first.Canceled && len(a.Messages) == 1 {
		made := &watch{request: proto.Clone(create).(*pb.WatchCreateRequest), next: len(w.log), first: state.Revision + 1, live: true}
		if start := create.StartRevision; start > 0 {
			made.live, made.first = start > state.Revision, max(start, state.Compacted+1)
			made.next, _ = slices.BinarySearchFunc(w.log, made.first, func(e logged, revision int64) int { return cmp.Compare(e.revision, revision) })
		}
		stream.watches[first.WatchId] = made
		for _, end := range stream.ends {
			delete(end.revisions, first.WatchId)
			delete(end.open, first.WatchId)
		}
	}
	if request.GetCancelRequest() != nil && first.Canceled {
		delete(stream.watches, first.WatchId)
	}
	state.Watches[number] = stream.ids()
}

// logFrom takes the events of the left reference watch into the log.
func (w *watchings) logFrom(events []*pb.WatchResponse) {
	for _, r := range events {
		for _, e := range r.Events {
			w.log = append(w.log, logged{e.Kv.ModRevision, e.Kv.Key, e.Type == mvccpb.Event_DELETE})
		}
	}
}

// expected counts the entries of the log that a watch has yet to deliver.
func (w *watchings) expected(watch *watch) (n int) {
	for _, e := range w.log[watch.next:] {
		if matches(watch.request, e) {
			n++
		}
	}
	return n
}

func (w *watch) String() string { return fmt.Sprintf("watch %s", describe(w.request)) }
