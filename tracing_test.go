package holdfast_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// spans is a collector that keeps the names of the spans that it gets, and the attributes of whom they are from.
type spans struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	names map[string]int
	from  map[string]string
}

func (s *spans) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range r.ResourceSpans {
		for _, a := range resource.Resource.Attributes {
			s.from[a.Key] = a.Value.GetStringValue()
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				s.names[span.Name]++
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// collectSpans starts a collector.
func collectSpans(t *testing.T) (s *spans, address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = &spans{names: map[string]int{}, from: map[string]string{}}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, s)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return s, l.Addr().String()
}

// Calls are traced in the name of the settings: all with a rate of a million, with a rate of 0 only those that belong to a
// trace that is recorded. Without the flag there are no spans. A collector that is away changes nothing.
func TestTracing(t *testing.T) {
	for _, c := range []struct {
		name       string
		on, away   bool
		rate, want int
	}{{"all", true, false, 1_000_000, 3}, {"those of traces", true, false, 0, 1}, {"off", false, false, 1_000_000, 0}, {"away", true, true, 1_000_000, 0}} {
		t.Run(c.name, func(t *testing.T) {
			s, address := collectSpans(t)
			settings := settings()
			settings.EnableDistributedTracing, settings.TracingSamplingRate = c.on, int64(c.rate)
			settings.TracingAddress, settings.TracingServiceName, settings.TracingInstanceID = address, "store", "first"
			if c.away {
				settings.TracingAddress = "127.0.0.1:1"
			}
			m := start(t, settings, inMemory(vfs.NewMem()))
			kv := client(t, m.ClientEndpoints()[0])
			traced := metadata.AppendToOutgoingContext(within(t), "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
			for _, ctx := range []context.Context{within(t), traced, within(t)} {
				if _, err := kv.Put(ctx, "a", "b"); err != nil {
					t.Fatal(err)
				}
			}
			if err := m.Close(); err != nil { // it sends the spans that wait
				t.Fatal(err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if n := s.names["etcdserverpb.KV/Put"]; n != c.want {
				t.Errorf("%d spans of puts: %v", n, s.names)
			}
			if c.want > 0 && (s.from["service.name"] != "store" || s.from["service.instance.id"] != "first") {
				t.Errorf("spans are from %v", s.from)
			}
		})
	}
}
