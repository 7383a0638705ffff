package watch

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
)

// reader is the client of a stream: it takes at its own pace and remembers what every watcher was given.
type reader struct {
	t      testing.TB
	stream *Stream
	got    map[int64]*record
	most   kind.Revision // the last revision that a header of events has shown
}

// mark is a progress, and how much the watcher had been given when it was told.
type mark struct {
	rev   kind.Revision
	given int
}

// record is what one watcher was given.
type record struct {
	request   Request
	from      kind.Revision // the first revision that it is to be given
	changes   []change
	created   bool
	canceled  bool
	compacted kind.Revision
	progress  []mark
}

func (w *world) reader(t testing.TB) *reader {
	t.Helper()
	s, err := w.hub.NewStream("client")
	if err != nil {
		t.Fatal(err)
	}
	return &reader{t: t, stream: s, got: map[int64]*record{}}
}

// watch asks for a watcher and remembers the request under its id, which must not be 0.
func (r *reader) watch(q Request) *record {
	rec := &record{request: q, from: q.Start}
	r.got[q.ID] = rec
	r.stream.Watch(q)
	return rec
}

// take takes once, and reports whether there was something.
func (r *reader) take() bool {
	list := r.stream.Take(nil)
	for i := range list {
		r.note(&list[i])
	}
	return len(list) > 0
}

// note checks what can be checked of one response, and remembers it.
func (r *reader) note(response *Response) {
	r.t.Helper()
	if response.WatchID == AllWatchers {
		for _, rec := range r.got {
			if rec.created && !rec.canceled {
				rec.progress = append(rec.progress, mark{response.Revision, len(rec.changes)})
			}
		}
		return
	}
	rec := r.got[response.WatchID]
	switch {
	case rec == nil || rec.canceled:
		r.t.Fatalf("a response for watcher %d, which is none: %+v", response.WatchID, response)
	case response.Created:
		rec.created = true
		if rec.from == 0 {
			rec.from = response.Revision + 1
		}
		return
	case response.Canceled:
		rec.canceled, rec.compacted = true, response.CompactRevision
		return
	case !rec.created:
		r.t.Fatalf("events of watcher %d come before it is created", response.WatchID)
	case len(response.Events) == 0:
		rec.progress = append(rec.progress, mark{response.Revision, len(rec.changes)})
		return
	}
	last := kind.Revision(0)
	if n := len(rec.changes); n > 0 {
		last = rec.changes[n-1].rev
	}
	var events []*mvccpb.Event
	for _, b := range response.Events {
		var m etcdserverpb.WatchResponse
		if err := proto.Unmarshal(b, &m); err != nil || len(m.Events) == 0 || response.Fragment && len(m.Events) > 1 {
			r.t.Fatalf("%x is not what a piece holds: %v", b, err)
		}
		events = append(events, m.Events...)
	}
	if len(events) != response.Count {
		r.t.Fatalf("a response has %d events and counts %d", len(events), response.Count)
	}
	for _, e := range events {
		c := r.decode(e, rec.request.Before)
		if c.rev == last {
			r.t.Fatalf("watcher %d is given revision %d in two responses", response.WatchID, c.rev)
		}
		rec.changes = append(rec.changes, c)
		if c.rev > response.Revision {
			r.t.Fatalf("a header of revision %d stands over an event of %d", response.Revision, c.rev)
		}
	}
	if response.Revision < r.most {
		r.t.Fatalf("a header of revision %d comes after one of %d", response.Revision, r.most)
	}
	r.most = response.Revision
}

func (r *reader) decode(e *mvccpb.Event, before bool) change {
	c := change{rev: kind.Revision(e.Kv.ModRevision), key: string(e.Kv.Key), value: string(e.Kv.Value),
		create: kind.Revision(e.Kv.CreateRevision), version: e.Kv.Version, deleted: e.Type == mvccpb.Event_DELETE}
	if e.PrevKv != nil {
		c.existed, c.before = true, string(e.PrevKv.Value)
		if !before {
			r.t.Fatalf("%v has a previous version that was not asked for", c)
		}
	}
	return c
}

// want is what the model says that a watcher must have been given up to rev. blind is the compacted revision at which
// prev_kv of its own changes is not shown; 0 for none.
func (w *world) want(rec *record, upTo kind.Revision) (out []change) {
	q := &rec.request
	for _, c := range w.log {
		if c.rev < rec.from || c.rev > upTo || !q.Interval.Contains([]byte(c.key)) || c.deleted && q.NoDelete || !c.deleted && q.NoPut {
			continue
		}
		if !q.Before {
			c.before, c.existed = "", false
		}
		out = append(out, c)
	}
	return out
}

// check compares what a watcher was given with the model. One that was compacted away has a front part of it. Where the
// revision of a change was just compacted, the version before it may be missing.
func (w *world) check(id int64, rec *record, upTo kind.Revision, compactions []kind.Revision) {
	w.t.Helper()
	want := w.want(rec, upTo)
	if rec.canceled {
		if len(rec.changes) > len(want) {
			w.t.Fatalf("watcher %d was given %d changes of %d", id, len(rec.changes), len(want))
		}
		if n := len(rec.changes); rec.compacted != 0 && n > 0 && rec.changes[n-1].rev >= rec.compacted {
			w.t.Fatalf("watcher %d was cancelled as compacted at %d, but was given %d", id, rec.compacted, rec.changes[n-1].rev)
		}
		want = want[:len(rec.changes)]
	}
	for i := range rec.changes {
		have := rec.changes[i]
		if i < len(want) && !have.existed && want[i].existed && slices.Contains(compactions, have.rev) {
			want[i].existed, want[i].before = false, ""
		}
		if i >= len(want) || have != want[i] {
			w.t.Fatalf("watcher %d of %v from %d: change %d is %v, want %v", id, rec.request, rec.from, i, have, want[min(i, len(want)-1):])
		}
	}
	for _, p := range rec.progress {
		if p.given < len(want) && want[p.given].rev <= p.rev {
			w.t.Fatalf("watcher %d was told of progress to %d before it was given %v", id, p.rev, want[p.given])
		}
	}
	if len(rec.changes) != len(want) {
		w.t.Fatalf("watcher %d of %v from %d was given %d changes up to %d, want %d; the first missing is %v", id, rec.request, rec.from,
			len(rec.changes), upTo, len(want), want[len(rec.changes)])
	}
}

// Every watcher is given what the model says, whatever the writers, the readers, the compactions and the bounds are:
// W1, W2, W6, W7.
func TestAgreesWithModel(t *testing.T) {
	seeds := []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	if s := os.Getenv("HOLDFAST_SEED"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []int64{n}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Logf("replay with HOLDFAST_SEED=%d go test -run TestAgreesWithModel ./internal/watch", seed)
			playModel(t, rand.New(rand.NewSource(seed)))
		})
	}
}

func playModel(t *testing.T, r *rand.Rand) {
	o := Options{
		RingBytes:    []int64{1, 2 << 10, 1 << 20}[r.Intn(3)],
		ChunkChanges: 1 + r.Intn(50),
		ChunkBytes:   1 + r.Intn(4000),
		HistoryBytes: []int64{1, 1 << 20}[r.Intn(2)],
	}
	mo := mvcc.Options{EventBytes: []int{300, 2000, 1 << 20}[r.Intn(3)]}
	w := newWorld(t, mo, o).run()
	var readers []*reader
	for range 4 {
		readers = append(readers, w.reader(t))
	}
	var compactions []kind.Revision
	next := int64(0)
	for range 400 {
		switch n := r.Intn(100); {
		case n < 50:
			var commands []func(*mvcc.Writer)
			for range 1 + r.Intn(4) {
				commands = append(commands, w.randomCommand(r))
			}
			w.do(commands...)
		case n < 70:
			next++
			q := Request{ID: next, Interval: randomInterval(r), Before: r.Intn(2) == 0, Fragment: r.Intn(5) == 0,
				Progress: r.Intn(3) == 0, NoPut: r.Intn(6) == 0, NoDelete: r.Intn(6) == 0}
			switch r.Intn(4) {
			case 0:
			case 1:
				q.Start = w.kv.Revision() + kind.Revision(r.Intn(30))
			default:
				q.Start = max(1, w.kv.Revision()-kind.Revision(r.Intn(200)))
			}
			readers[r.Intn(len(readers))].watch(q)
		case n < 90:
			rd := readers[r.Intn(len(readers))]
			for range r.Intn(4) {
				rd.take()
			}
		case n < 92 && next > 0:
			rd := readers[r.Intn(len(readers))]
			rd.stream.Cancel(1 + r.Int63n(next))
		case n < 94 && w.kv.Revision() > w.kv.Compacted()+5:
			at := max(w.kv.Compacted()+1, w.kv.Revision()-kind.Revision(r.Intn(60)))
			compactions = append(compactions, at)
			w.compact(at)
		case n < 97:
			readers[r.Intn(len(readers))].stream.Progress()
		case n < 98:
			readers[r.Intn(len(readers))].stream.Tick()
		default:
			// The catcher gets a turn, however much it makes of it.
			for range r.Intn(50) {
				runtime.Gosched()
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, rd := range readers {
		rd.drain(ctx)
		for id, rec := range rd.got {
			if !rec.created {
				t.Errorf("watcher %d was never created", id)
			}
			w.check(id, rec, w.kv.Revision(), compactions)
		}
		rd.stream.Close()
	}
	if c := w.hub.Counts(); c.Streams != 0 || c.Watchers != 0 || c.Lagging != 0 || c.Pending != 0 {
		t.Errorf("after all streams are closed the counts are %+v", c)
	}
	if n := w.hub.counts.private.Load(); n != 0 {
		t.Errorf("%d bytes of chunks are still counted", n)
	}
}

// drain takes until every watcher has been given everything.
func (r *reader) drain(ctx context.Context) {
	r.t.Helper()
	for {
		for r.take() {
		}
		r.stream.mu.Lock()
		quiet := r.stream.mu.lagging == 0 && r.stream.mu.items.len() == 0
		r.stream.mu.Unlock()
		if quiet {
			return
		}
		select {
		case <-r.stream.Ready():
		case <-ctx.Done():
			r.t.Fatal("a stream never came to rest")
		}
	}
}

func (w *world) randomCommand(r *rand.Rand) func(*mvcc.Writer) {
	key := func() string { return fmt.Sprintf("k%02d", r.Intn(30)) }
	value := func() string { return fmt.Sprintf("%d-%s", r.Intn(1000), strings.Repeat("x", r.Intn(100))) }
	switch r.Intn(6) {
	case 0:
		return w.remove(point(key()))
	case 1:
		start := r.Intn(30)
		return w.remove(span(fmt.Sprintf("k%02d", start), fmt.Sprintf("k%02d", start+r.Intn(5))))
	case 2:
		keys := map[string]bool{}
		for range 1 + r.Intn(8) {
			keys[key()] = true
		}
		var list []string
		for k := range keys {
			list = append(list, k)
		}
		slices.Sort(list)
		return w.put(value(), list...)
	default:
		return w.put(value(), key())
	}
}

func randomInterval(r *rand.Rand) command.Interval {
	start := r.Intn(30)
	switch r.Intn(4) {
	case 0:
		return point(fmt.Sprintf("k%02d", start))
	case 1:
		return span(fmt.Sprintf("k%02d", start), "\x00")
	default:
		return span(fmt.Sprintf("k%02d", start), fmt.Sprintf("k%02d", start+1+r.Intn(15)))
	}
}
