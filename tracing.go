package holdfast

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
)

// tracing sends a span of each call that is traced to a collector. A nil *tracing traces nothing and costs nothing.
type tracing struct{ provider *trace.TracerProvider }

// lastSpans is how long the spans that wait may take to be sent when the member ends.
const lastSpans = 200 * time.Millisecond

// newTracing makes the tracing that the settings ask for, nil if they ask for none. It connects in the background: a
// collector that is away costs spans, not calls.
func newTracing(c *Config) (*tracing, error) {
	if !c.EnableDistributedTracing {
		return nil, nil
	}
	exporter, err := otlptracegrpc.New(context.Background(), otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(c.TracingAddress))
	if err != nil {
		return nil, fmt.Errorf("send traces to --distributed-tracing-address %s: %w", c.TracingAddress, err)
	}
	about := []attribute.KeyValue{attribute.String("service.name", c.TracingServiceName)}
	if c.TracingInstanceID != "" {
		about = append(about, attribute.String("service.instance.id", c.TracingInstanceID))
	}
	sampler := trace.NeverSample()
	if c.TracingSamplingRate > 0 {
		sampler = trace.TraceIDRatioBased(float64(c.TracingSamplingRate) / 1_000_000)
	}
	return &tracing{trace.NewTracerProvider(
		trace.WithBatcher(exporter),
		trace.WithResource(resource.NewSchemaless(about...)),
		trace.WithSampler(trace.ParentBased(sampler)),
	)}, nil
}

// serverOptions make a gRPC server trace its calls.
func (t *tracing) serverOptions() []grpc.ServerOption {
	if t == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(t.provider),
		otelgrpc.WithPropagators(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
	))}
}

// close sends the spans that wait, if that is soon done.
func (t *tracing) close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // spans that are lost are only spans
}
