package server

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// openStream opens a stream that stays open until ctx ends, and returns the error of its first answer.
func openStream(ctx context.Context, conn *grpc.ClientConn) error {
	stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

// A client that opens streams without end gets a clear error, and takes nothing from a call that is no stream; the
// places come back when its streams end.
func TestStreamsWithoutEnd(t *testing.T) {
	s, address := serve(t, newFakeNode(t), Options{MaxStreams: 100})
	conn := dial(t, address)
	ctx, cancel := context.WithCancel(timeout(t))
	for i := range 200 {
		err := openStream(ctx, conn)
		switch {
		case i < 75 && err != nil:
			t.Fatalf("stream %d: %v", i, err)
		case i >= 75 && (status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "too many open streams from this address")):
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	if _, err := healthpb.NewHealthClient(conn).Check(timeout(t), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("a call that is no stream: %v", err)
	}
	cancel()
	waitUntil(t, "all streams have ended", func() bool {
		s.streams.mu.Lock()
		defer s.streams.mu.Unlock()
		return s.streams.mu.open == 0 && len(s.streams.mu.of) == 0
	})
	if err := openStream(timeout(t), conn); err != nil {
		t.Errorf("after the others have ended: %v", err)
	}
}

// All addresses together are bounded too.
func TestStreamsOfAll(t *testing.T) {
	s := newStreams(4)
	for range 4 {
		if _, err := s.begin(context.Background()); err != nil { // from no address, as over a unix socket
			t.Fatal(err)
		}
	}
	if _, err := s.begin(context.Background()); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the fifth of four: %v", err)
	}
}

// BenchmarkIdleStream is the memory of a stream that waits, on both sides.
func BenchmarkIdleStream(b *testing.B) {
	_, address := serve(b, newFakeNode(b), Options{})
	conn := dial(b, address)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const many = 5000
	for range many {
		if err := openStream(ctx, conn); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	for b.Loop() {
	}
	b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/many, "bytes/stream")
}
