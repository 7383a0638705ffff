package watch

import (
	"testing"

	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
)

// A watcher that the ring makes fall behind is put back by the catcher before the hub has heard that it fell: it is in
// the index of the live ones once, and nothing is given to it twice.
func TestCaughtUpBeforeItIsKnownToLag(t *testing.T) {
	w := newWorld(t, mvcc.Options{}, Options{})
	s, err := w.hub.NewStream("client")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var revs []kind.Revision
	for range promoteRevisions + 2 {
		w.do(w.put("v", "k"))
		revs = append(revs, w.kv.Revision())
	}
	s.Watch(Request{Interval: point("k"), Start: revs[0]})
	take := func() (n int) {
		for {
			got := s.Take(nil)
			if len(got) == 0 {
				return n
			}
			for i := range got {
				n += got[i].Count
			}
		}
	}
	c := &catcher{hub: w.hub}
	step := func() {
		if _, err := c.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for s.mu.watchers[0].state != live {
		step()
		take()
	}
	watcher := s.mu.watchers[0]
	if watcher.lag.group == nil {
		t.Fatal("the catcher has forgotten the watcher already; this test is about the moment before that")
	}
	// What Take does when the ring has dropped what waits, before it tells the hub.
	s.mu.Lock()
	watcher.epoch++
	watcher.next = w.kv.Revision()
	s.setState(watcher, lagging)
	s.mu.Unlock()
	for watcher.state != live {
		step()
	}
	w.hub.leave([]*Watcher{watcher})
	if n := take(); n != 1 {
		t.Fatalf("%d events were given again, want 1", n)
	}
	w.do(w.put("v", "k"))
	if n := take(); n != 1 {
		t.Fatalf("one event was given %d times", n)
	}
	if w.hub.mu.live.size != 1 {
		t.Fatalf("the index holds the one watcher %d times", w.hub.mu.live.size)
	}
}

// TestNoProgressOverWhatACompactionTook holds W4: what waits for a watcher is not given any more when a compaction cancels
// it, and then the progress that stands behind it is not told either.
func TestNoProgressOverWhatACompactionTook(t *testing.T) {
	w := newWorld(t, mvcc.Options{}, Options{})
	s, err := w.hub.NewStream("client")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Watch(Request{Interval: point("k")})
	s.Take(nil)
	for range 3 {
		w.do(w.put("v", "k"))
	}
	s.Progress()
	// The queue is full for what comes next: the watcher falls, with three events and the progress waiting.
	watcher := s.mu.watchers[0]
	s.mu.Lock()
	watcher.next = w.kv.Revision() + 1
	s.setState(watcher, lagging)
	s.mu.Unlock()
	c := &catcher{hub: w.hub, all: []*Watcher{watcher}}
	c.compact(watcher.next + 1)
	canceled := false
	for _, r := range s.Take(nil) {
		if r.isProgress() {
			t.Errorf("progress %d is told, and the events before it were dropped", r.Revision)
		}
		canceled = canceled || r.Canceled && r.CompactRevision > 0
	}
	if !canceled {
		t.Error("the watcher is not told that it was compacted")
	}
}
