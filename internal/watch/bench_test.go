package watch

import (
	"fmt"
	"testing"

	"holdfast/internal/command"
	"holdfast/internal/mvcc"
)

// changesOf makes a put in the store and returns its changes, which the hub is not told.
func (w *world) changesOf(key string) mvcc.Changes {
	wr := w.kv.Begin(w.b, nil)
	wr.BeginCommand()
	wr.Put([]byte(key), make([]byte, 100), 0)
	wr.EndCommand()
	w.commit(wr)
	return wr.Changes()
}

// A put that no watcher wants costs at most a microsecond, however many there are.
func BenchmarkPublish(b *testing.B) {
	intervals := map[string]func(i int) command.Interval{
		"points": func(i int) command.Interval { return point(fmt.Sprintf("watched/%08d", i)) },
		"spans": func(i int) command.Interval {
			return span(fmt.Sprintf("watched/%08d/", i), fmt.Sprintf("watched/%08d0", i))
		},
	}
	for _, kinds := range []string{"points", "spans"} {
		for _, n := range []int{0, 1, 1000, 100_000} {
			b.Run(fmt.Sprintf("%s=%d", kinds, n), func(b *testing.B) {
				w := newWorld(b, mvcc.Options{}, Options{})
				s, err := w.hub.NewStream("bench")
				if err != nil {
					b.Fatal(err)
				}
				for i := range n {
					s.Watch(Request{Interval: intervals[kinds](i)})
				}
				rev := w.hub.mu.rev
				changes := w.changesOf("watched/00050000x")
				b.ReportAllocs()
				for b.Loop() {
					rev++
					changes.Events[0].Revision, changes.Last = rev, rev
					w.hub.Publish(changes)
				}
				s.Close()
			})
		}
	}
}

// What one event costs on its way to each of a thousand streams that watch its key, without the sending.
func BenchmarkFanOut(b *testing.B) {
	const streams = 1000
	w := newWorld(b, mvcc.Options{}, Options{})
	var all []*Stream
	for range streams {
		s, err := w.hub.NewStream("bench")
		if err != nil {
			b.Fatal(err)
		}
		s.Watch(Request{Interval: point("k")})
		all = append(all, s)
	}
	rev := w.hub.mu.rev
	changes := w.changesOf("k")
	var buffer []Response
	for _, s := range all {
		buffer = s.Take(buffer[:0])
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		rev++
		changes.Events[0].Revision, changes.Last = rev, rev
		w.hub.Publish(changes)
		for _, s := range all {
			<-s.Ready()
			buffer = s.Take(buffer[:0])
			n += len(buffer)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/delivery")
	for _, s := range all {
		s.Close()
	}
}

// What a watcher takes in memory, with its share of a stream of a hundred.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		const streams, each = 1000, 100
		w := newWorld(b, mvcc.Options{}, Options{})
		before := heap()
		var all []*Stream
		for i := range streams {
			s, err := w.hub.NewStream("bench")
			if err != nil {
				b.Fatal(err)
			}
			for j := range each {
				s.Watch(Request{Interval: point(fmt.Sprintf("registry/pods/%03d/%03d", i, j))})
			}
			for len(s.Take(nil)) > 0 {
			}
			all = append(all, s)
		}
		b.ReportMetric(float64(heap()-before)/(streams*each), "bytes/watcher")
		for _, s := range all {
			s.Close()
		}
	}
}
