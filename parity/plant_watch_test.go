package parity

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestPlantedWatchIsCaught holds that a run fails when any field of a response of Watch is altered, and when one is lost or comes twice: those
// that answer a create, a cancel and a request for progress, that end a watch of compacted revisions, and those with events, live and from the past.
func TestPlantedWatchIsCaught(t *testing.T) {
	dir := t.TempDir()
	plant := &planter{}
	left := startEtcd(t, "left", dir, DefaultSettings)
	right, err := StartEtcd("right", dir+"/right", DefaultSettings, grpc.WithStreamInterceptor(plant.stream))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { right.Close() })
	run := func() *Run {
		t.Helper()
		r := &Run{Left: left, Right: right, Patience: 150 * time.Millisecond, Services: []Service{{Corners: []Corner{{"planted", []func(*State) Operation{
			send(put("p/1", "1")), send(put("p/2", "2")), send(watchOn(1, ranged("p", "q"))), send(then(putOp("p/1", "3"), deleteOp("p/2", ""))),
			onRevision(1, 0, ranged("p", "q")), send(progressOn(1)), send(cancelOn(1, 0)),
			func(s *State) Operation { return compact(s.Revision) }, send(watchOn(1, &pb.WatchCreateRequest{Key: []byte("p"), StartRevision: 1})), send(put("p/1", "4")),
		}}}}}}
		if err := r.Do(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := run(); len(r.Failures) > 0 {
		t.Fatalf("it differs without a plant: %v", r.Failures)
	}
	kinds := map[string]func(*pb.WatchResponse) bool{
		"created":   func(r *pb.WatchResponse) bool { return r.Created && !r.Canceled },
		"cancelled": func(r *pb.WatchResponse) bool { return r.Canceled && !r.Created && r.CompactRevision == 0 },
		"compacted": func(r *pb.WatchResponse) bool { return r.CompactRevision > 0 },
		"progress":  isProgress,
		"live":      func(r *pb.WatchResponse) bool { return len(r.Events) == 2 && r.WatchId == 0 },
		"past":      func(r *pb.WatchResponse) bool { return len(r.Events) > 0 && r.WatchId == 1 },
	}
	planted := 0
	for kind, is := range kinds {
		var sample *pb.WatchResponse
		plant.arm(watchMethod, func(reply proto.Message) error {
			if r := reply.(*pb.WatchResponse); sample == nil && is(r) {
				sample = proto.Clone(r).(*pb.WatchResponse)
			}
			return nil
		})
		run()
		if sample == nil {
			t.Fatalf("no response of the kind %q came", kind)
		}
		alter := func(what string, alter func(*pb.WatchResponse) error) {
			done := false
			plant.arm(watchMethod, func(reply proto.Message) error {
				// Progress is asked for more than once, and only the last is compared.
				if r := reply.(*pb.WatchResponse); (!done || kind == "progress") && is(r) {
					done = true
					return alter(r)
				}
				return nil
			})
			r := run()
			plant.disarm()
			planted++
			if len(r.Failures) == 0 {
				t.Errorf("%s: %s was planted and not caught", kind, what)
			}
		}
		seen := map[string]bool{}
		for n, m := range mutations(sample) {
			// What the header of a response with events may say depends on when it was read, but that of a live one.
			if m.Ignored || seen[m.Kind+m.Path] || (kind == "past" && m.Path == ".header.revision") {
				continue
			}
			// One event stands for all.
			if strings.Contains(m.Path, "events[1]") {
				continue
			}
			seen[m.Kind+m.Path] = true
			alter(m.Kind+" of "+m.Path, func(r *pb.WatchResponse) error { mutate(r, n); return nil })
		}
		alter("loss", func(*pb.WatchResponse) error { return errLost })
		if kind != "progress" { // of its answers only the last is compared, so one more may be no difference
			alter("repetition", func(*pb.WatchResponse) error { return errTwice })
		}
	}
	t.Logf("%d differences planted", planted)
}
