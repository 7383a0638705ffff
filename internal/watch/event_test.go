package watch

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"holdfast/internal/command"
	"holdfast/internal/mvcc"
)

// A transaction that deletes a key and puts it again gives two events: the delete shows the version before, and the put,
// which makes the key new, shows none. It is so live, from the ring, and from the history.
func TestNewKeyHasNoVersionBefore(t *testing.T) {
	w := newWorld(t, mvcc.Options{}, Options{}).run()
	all := Request{ID: 1, Interval: command.NewInterval([]byte("a"), []byte{0}), Before: true}
	live := w.reader(t)
	live.watch(all)
	live.take()
	w.do(w.put("1", "k"))
	w.do(func(wr *mvcc.Writer) {
		w.remove(command.NewInterval([]byte("k"), nil))(wr)
		wr.Put([]byte("k"), []byte("2"), 0)
	})
	fromRing := w.reader(t)
	past := all
	past.Start = 2
	fromRing.watch(past)
	w.hub.mu.Lock()
	w.hub.mu.ring.reset(w.hub.mu.ring.next)
	w.hub.mu.Unlock()
	fromHistory := w.reader(t)
	fromHistory.watch(past)
	for name, rd := range map[string]*reader{"live": live, "from the ring": fromRing, "from the history": fromHistory} {
		var events []*mvccpb.Event
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for len(events) < 3 {
			for _, r := range rd.stream.Take(nil) {
				for _, b := range r.Events {
					var m etcdserverpb.WatchResponse
					if err := proto.Unmarshal(b, &m); err != nil {
						t.Fatal(err)
					}
					events = append(events, m.Events...)
				}
			}
			if ctx.Err() != nil {
				t.Fatalf("%s: only %v came", name, events)
			}
		}
		if e := events[1]; e.Type != mvccpb.Event_DELETE || string(e.PrevKv.GetValue()) != "1" {
			t.Errorf("%s: the delete is %v", name, e)
		}
		if e := events[2]; e.Type != mvccpb.Event_PUT || e.PrevKv != nil || e.Kv.Version != 1 {
			t.Errorf("%s: the put is %v", name, e)
		}
	}
}
