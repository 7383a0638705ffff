package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
)

// The index finds exactly the watchers whose interval has a key in it, whatever was added and removed.
func TestIndexAgreesWithScan(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	var x index
	var all []*Watcher
	for step := range 5000 {
		if len(all) > 0 && r.Intn(100) < 45+step/100 {
			i := r.Intn(len(all))
			x.remove(all[i], liveSlot)
			all = slices.Delete(all, i, i+1)
		} else {
			w := &Watcher{interval: randomInterval(r)}
			x.add(w, &w.live)
			all = append(all, w)
		}
		if x.size != len(all) {
			t.Fatalf("the index has %d watchers, want %d", x.size, len(all))
		}
		key := []byte(fmt.Sprintf("k%02d", r.Intn(32)))
		want := map[*Watcher]bool{}
		for _, w := range all {
			if w.interval.Contains(key) {
				want[w] = true
			}
		}
		found := 0
		for _, g := range x.match(key, nil) {
			for _, w := range g.watchers {
				if !want[w] {
					t.Fatalf("%q is found to be in %v", key, w.interval)
				}
				found++
			}
		}
		if found != len(want) {
			t.Fatalf("%d watchers of %q are found, want %d", found, key, len(want))
		}
		each := 0
		x.each(func(*Watcher) { each++ })
		if each != len(all) {
			t.Fatalf("each visits %d watchers, want %d", each, len(all))
		}
		if x.root != nil {
			x.root.check(t)
		}
	}
}

// check holds the order, the priorities and the greatest ends of a treap.
func (n *node) check(t *testing.T) {
	most := n.end
	for _, child := range [2]*node{n.left, n.right} {
		if child == nil {
			continue
		}
		child.check(t)
		if child.priority > n.priority {
			t.Fatal("a child has a higher priority than its parent")
		}
		if compareEnds(child.most, most) > 0 {
			most = child.most
		}
	}
	if n.left != nil && compareSpans(n.left.start, n.left.end, n) >= 0 || n.right != nil && compareSpans(n.right.start, n.right.end, n) <= 0 {
		t.Fatal("the spans are out of order")
	}
	if compareEnds(n.most, most) != 0 || (n.most == nil) != (most == nil) {
		t.Fatalf("the greatest end is %q, not %q", n.most, most)
	}
}

// The ring holds the last revisions without a gap and within its bound, and takes away what it drops.
func TestRing(t *testing.T) {
	x := ring{limit: 10}
	x.reset(5)
	var all []*revision
	for i := range 5000 {
		r := &revision{number: kind.Revision(5 + i), bytes: int64(1 + i%4)}
		r.content.Store(&content{events: make([]event, 1)})
		all = append(all, r)
		x.push(r)
		if x.next != r.number+1 || x.first() > r.number || x.bytes > x.limit {
			t.Fatalf("after %d the ring goes from %d to %d with %d bytes", r.number, x.first(), x.next, x.bytes)
		}
		for j, have := range x.from(x.first(), 100) {
			if have != all[int(x.first()-5)+j] {
				t.Fatalf("the ring has %d at the place of %d", have.number, x.first()+kind.Revision(j))
			}
		}
	}
	for _, r := range all {
		if kept := r.events() != nil; kept != (r.number >= x.first()) {
			t.Fatalf("revision %d is kept: %v; the ring begins at %d", r.number, kept, x.first())
		}
	}
	if x.push(&revision{number: x.next, bytes: 100}); x.first() != x.next-1 {
		t.Fatal("a revision larger than the ring is not kept alone")
	}
	if x.reset(9000); x.first() != 9000 || x.bytes != 0 || len(x.from(9000, 5)) != 0 {
		t.Fatal("a ring that was reset is not empty")
	}
}

// A client that does not read costs a bounded queue, whatever happens, and the others are given everything meanwhile;
// when it comes back it is given everything too (W6).
func TestSlowReader(t *testing.T) {
	w := newWorld(t, mvcc.Options{}, Options{RingBytes: 64 << 10}).run()
	slow, quick := w.reader(t), w.reader(t)
	for id := range int64(5) {
		slow.watch(Request{ID: 1 + id, Interval: point("k")})
		quick.watch(Request{ID: 1 + id, Interval: point("k"), Before: true})
	}
	for i := range 5000 {
		w.do(w.put(fmt.Sprintf("%d-%s", i, strings.Repeat("x", 1000)), "k"))
		quick.take()
		slow.stream.mu.Lock()
		waiting, room := slow.stream.mu.items.len(), slow.stream.room()
		slow.stream.mu.Unlock()
		if waiting > room+slow.stream.mu.controls+2 {
			t.Fatalf("%d items wait for a client that does not read", waiting)
		}
	}
	w.hub.mu.Lock()
	held := w.hub.mu.ring.bytes
	w.hub.mu.Unlock()
	if held > 64<<10 {
		t.Errorf("the ring holds %d bytes", held)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, rd := range []*reader{quick, slow} {
		rd.drain(ctx)
		for id, rec := range rd.got {
			w.check(id, rec, w.kv.Revision(), nil)
		}
	}
}

// What is asked for beyond a limit is refused, and said why; what was refused costs nothing.
func TestLimits(t *testing.T) {
	w := newWorld(t, mvcc.Options{}, Options{Streams: 3, StreamsPerClient: 2, Watchers: 4, WatchersPerStream: 3, WatcherBytes: 20_000})
	a, err := w.hub.NewStream("one")
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.hub.NewStream("one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.hub.NewStream("one"); !errors.Is(err, ErrTooManyOfClient) {
		t.Errorf("a third stream of a connection gives %v", err)
	}
	c, err := w.hub.NewStream("two")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.hub.NewStream("three"); !errors.Is(err, ErrTooManyStreams) {
		t.Errorf("a fourth stream gives %v", err)
	}
	ask := func(s *Stream, key string, want error) {
		t.Helper()
		s.Watch(Request{Interval: point(key)})
		r := s.Take(nil)
		if len(r) != 1 || !r[0].Created || r[0].Canceled != (want != nil) || want != nil && r[0].Reason != want.Error() {
			t.Errorf("a watch is answered %+v, want %v", r, want)
		}
	}
	for range 3 {
		ask(a, "k", nil)
	}
	ask(a, "k", errTooManyOfStream)
	ask(b, strings.Repeat("k", 9000), errTooManyKeysBytes)
	ask(b, "k", nil)
	ask(b, "k", errTooManyWatchers)
	a.Cancel(1)
	ask(b, "k", nil)
	for _, s := range []*Stream{a, b, c} {
		s.Close()
		s.Close()
	}
	if w.hub.mu.cost != 0 || w.hub.mu.watchers != 0 || w.hub.mu.streams != 0 || len(w.hub.mu.clients) != 0 || w.hub.mu.live.size != 0 {
		t.Errorf("after all are closed the hub has %d bytes, %d watchers, %d streams", w.hub.mu.cost, w.hub.mu.watchers, w.hub.mu.streams)
	}
}

// A client that asks and does not read has to wait before more is read from it.
func TestAdmit(t *testing.T) {
	w := newWorld(t, mvcc.Options{}, Options{})
	s, err := w.hub.NewStream("client")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range maxControls {
		if err := s.Admit(context.Background()); err != nil {
			t.Fatal(err)
		}
		s.Refuse("no")
	}
	admitted := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	go func() { admitted <- s.Admit(ctx) }()
	select {
	case err := <-admitted:
		t.Fatalf("request %d is admitted: %v", maxControls+1, err)
	default:
	}
	for len(s.Take(nil)) > 0 {
	}
	if err := <-admitted; err != nil {
		t.Fatal(err)
	}
}

// All who watch the same are sent the same bytes, made once.
func TestBytesAreShared(t *testing.T) {
	w := newWorld(t, mvcc.Options{}, Options{})
	var first []byte
	var streams []*Stream
	for range 3 {
		s, err := w.hub.NewStream("client")
		if err != nil {
			t.Fatal(err)
		}
		s.Watch(Request{Interval: command.NewInterval([]byte("a"), []byte{0})})
		s.Take(nil)
		streams = append(streams, s)
	}
	w.do(w.put("v", "k"))
	for _, s := range streams {
		r := s.Take(nil)
		if len(r) != 1 || len(r[0].Events) != 1 || !bytes.Contains(r[0].Events[0], []byte("k")) {
			t.Fatalf("a watcher is given %+v", r)
		}
		if first == nil {
			first = r[0].Events[0]
		} else if &first[0] != &r[0].Events[0][0] {
			t.Error("the bytes of an event are made twice")
		}
		s.Close()
	}
}

// Ten thousand streams that nobody reads hold no more than their queues and the ring (W6).
func TestManyWhoNeverRead(t *testing.T) {
	w := newWorld(t, mvcc.Options{}, Options{RingBytes: 1 << 20}).run()
	const streams = 10_000
	var all []*Stream
	for i := range streams {
		s, err := w.hub.NewStream("client")
		if err != nil {
			t.Fatal(err)
		}
		q := Request{Interval: span("k", "l")}
		if i%2 == 0 {
			q.Start = 1
		}
		s.Watch(q)
		all = append(all, s)
	}
	before := heap()
	value := strings.Repeat("x", 10_000)
	for range 1000 {
		w.do(w.put(value, "k"))
	}
	if grown := heap() - before; grown > 200<<20 {
		t.Errorf("%d streams that nobody reads hold %d MiB", streams, grown>>20)
	}
	// One that comes back is given everything.
	s := all[0]
	n := 0
	deadline := time.After(30 * time.Second)
	for n < 1000 {
		for _, r := range s.Take(nil) {
			n += r.Count
		}
		if n < 1000 {
			select {
			case <-s.Ready():
			case <-deadline:
				t.Fatalf("only %d events came", n)
			}
		}
	}
	for _, s := range all {
		s.Close()
	}
}
