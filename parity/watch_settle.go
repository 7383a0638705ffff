package parity

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// settleWatches waits until every watch of both sides has delivered all that it owes, compares the events of each watch one by one, between
// the sides and with the history, and holds each side's responses to the rules of order. It reports whether the run has seen enough.
func (r *Run) settleWatches(title string) bool {
	w := &r.watchings
	for _, number := range slices.Sorted(maps.Keys(w.streams)) {
		stream := w.streams[number]
		var news [2][]*pb.WatchResponse
		var reasons []string
		r.both(func(side int, s System) error {
			end := stream.ends[side]
			end.await(w.patience, func() bool { return w.settled(number, stream, end.mu.news, r.state.Revision) })
			return nil
		})
		for side, s := range []System{r.Left, r.Right} {
			end := stream.ends[side]
			end.mu.Lock()
			news[side], end.mu.news = end.mu.news, nil
			for _, b := range end.mu.broken {
				reasons = append(reasons, s.Name()+": "+b)
			}
			end.mu.broken = nil
			if end.mu.err != nil {
				reasons = append(reasons, fmt.Sprintf("%s: the stream ended: %v", s.Name(), end.mu.err))
			}
			for _, answer := range end.mu.answers {
				reasons = append(reasons, fmt.Sprintf("%s: an answer that nothing asked for: %s", s.Name(), describe(answer)))
			}
			end.mu.answers = nil
			end.mu.Unlock()
			reasons = append(reasons, w.rules(s.Name(), stream, end, news[side], r.state.Revision)...)
		}
		if number == referenceStream {
			w.logFrom(news[0])
		}
		o := Operation{Method: watchMethod, Stream: number, Request: (*pb.WatchRequest)(nil)}
		left, right := events(news[0]), events(news[1])
		for _, d := range unexcused(r.state, o, left, right) {
			reasons = append(reasons, d.String())
		}
		reasons = append(reasons, w.againstLog(stream, left)...)
		r.Outcomes.count("Watch, events", "ok", len(left.Messages), len(right.Messages))
		if len(reasons) > 0 {
			r.Failures = append(r.Failures, Failure{r.Seed, r.index, title, o, left, right, reasons})
			if len(r.Failures) >= max(1, r.MaxFailures) {
				return true
			}
		}
	}
	return false
}

// settled reports whether news hold all that the watches of a stream owe at the revision.
func (w *watchings) settled(number int, stream *watching, news []*pb.WatchResponse, revision int64) bool {
	if number == referenceStream {
		last := w.complete - 1
		if len(w.log) > 0 {
			last = w.log[len(w.log)-1].revision
		}
		for _, r := range news {
			for _, e := range r.Events {
				last = max(last, e.GetKv().GetModRevision())
			}
		}
		return last >= revision
	}
	delivered := map[int64]int{}
	for _, r := range news {
		delivered[r.WatchId] += len(r.Events)
	}
	for id, watch := range stream.watches {
		if delivered[id] < w.expected(watch) {
			return false
		}
	}
	return true
}

// events puts the events of some responses into messages of one event each, by watch: how a server packs them is its own affair.
func events(news []*pb.WatchResponse) Answer {
	a := Answer{Status: status.New(codes.OK, "")}
	for _, r := range news {
		for _, e := range r.Events {
			a.Messages = append(a.Messages, &pb.WatchResponse{WatchId: r.WatchId, Events: []*mvccpb.Event{e}})
		}
	}
	slices.SortStableFunc(a.Messages, func(a, b proto.Message) int {
		return cmp.Compare(a.(*pb.WatchResponse).WatchId, b.(*pb.WatchResponse).WatchId)
	})
	return a
}

// againstLog holds that each watch has delivered what the history says, and counts it as delivered.
func (w *watchings) againstLog(stream *watching, delivered Answer) (broken []string) {
	got := map[int64][]logged{}
	for _, m := range delivered.Messages {
		r := m.(*pb.WatchResponse)
		e := r.Events[0]
		if from := stream.watches[r.WatchId]; e.Kv.ModRevision >= w.complete && (from == nil || e.Kv.ModRevision >= from.first) {
			got[r.WatchId] = append(got[r.WatchId], logged{e.Kv.ModRevision, e.Kv.Key, e.Type == mvccpb.Event_DELETE})
		}
	}
	for _, id := range stream.ids() {
		watch := stream.watches[id]
		var want []logged
		for _, e := range w.log[watch.next:] {
			if matches(watch.request, e) {
				want = append(want, e)
			}
		}
		watch.next = len(w.log)
		if !slices.EqualFunc(got[id], want, func(a, b logged) bool {
			return a.revision == b.revision && slices.Equal(a.key, b.key) && a.deleted == b.deleted
		}) {
			broken = append(broken, fmt.Sprintf("%s with id %d: the history has %v for it, delivered was %v", watch, id, want, got[id]))
		}
		delete(got, id)
	}
	for id := range got {
		broken = append(broken, fmt.Sprintf("there is no watch %d, and it delivered %v", id, got[id]))
	}
	return broken
}

// fragmentBytes is the size from which responses are split for a watch that asked for it.
const fragmentBytes = 1536<<10 + 512<<10

// rules returns what the responses of one side break of the rules that need no other side. The revision is the store's.
func (w *watchings) rules(name string, stream *watching, end *watchStream, news []*pb.WatchResponse, revision int64) (broken []string) {
	for _, r := range news {
		complain := func(format string, args ...any) {
			broken = append(broken, fmt.Sprintf("%s: %s, in watch %d %.500s", name, fmt.Sprintf(format, args...), r.WatchId, describe(r)))
		}
		if isProgress(r) {
			if end.polls--; end.polls < 0 {
				complain("progress that nothing asked for")
			}
			continue
		}
		watch := stream.watches[r.WatchId]
		if watch == nil || len(r.Events) == 0 || r.Created || r.Canceled || r.CompactRevision != 0 || r.CancelReason != "" ||
			len(r.ProtoReflect().GetUnknown())+len(r.Header.ProtoReflect().GetUnknown()) > 0 {
			complain("not a response with events of a watch")
			continue
		}
		first, last := r.Events[0].GetKv().GetModRevision(), r.Events[len(r.Events)-1].GetKv().GetModRevision()
		if !slices.IsSortedFunc(r.Events, func(a, b *mvccpb.Event) int { return int(a.GetKv().GetModRevision() - b.GetKv().GetModRevision()) }) {
			complain("events out of order")
		}
		h := r.Header
		if h.GetClusterId() == 0 || h.GetMemberId() == 0 || h.GetRaftTerm() == 0 {
			complain("the header lacks an identity or the term")
		}
		if h.GetRevision() < last || h.GetRevision() > revision || (watch.live && h.GetRevision() != last && end.open[r.WatchId] == nil && !r.Fragment) {
			complain("the header has revision %d, events are of %d to %d, the store is at %d", h.GetRevision(), first, last, revision)
		}
		before := end.open[r.WatchId]
		if before != nil && !proto.Equal(before, h) {
			complain("the parts of one response have different headers")
		}
		if first < end.revisions[r.WatchId] || (before == nil && first == end.revisions[r.WatchId]) {
			complain("the events of revision %d were delivered before", first)
		}
		end.revisions[r.WatchId], end.open[r.WatchId] = last, nil
		if r.Fragment {
			end.open[r.WatchId] = h
		}
		if watch.request.Fragment && len(r.Events) > 1 && proto.Size(r) >= fragmentBytes {
			complain("%d bytes in one response", proto.Size(r))
		}
		if r.Fragment && !watch.request.Fragment {
			complain("a fragment that was not asked for")
		}
	}
	return broken
}
