package server

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// counters are the counts of one method. They are found once, when the method is registered.
type counters struct {
	started  atomic.Uint64
	received atomic.Uint64
	sent     atomic.Uint64
	handled  [codes.Unauthenticated + 1]atomic.Uint64
}

// done counts the end of a call.
func (c *counters) done(err error) {
	code := codes.OK
	if err != nil {
		if code = status.Code(err); code == codes.Unknown {
			code = status.FromContextError(err).Code()
		}
		if int(code) >= len(c.handled) {
			code = codes.Unknown
		}
	}
	c.handled[code].Add(1)
}

// maxClientVersions bounds how many versions named by clients get a label of their own; the others share one.
const maxClientVersions = 64

// clientVersions counts requests by the version that clients say they have.
type clientVersions struct {
	mu struct {
		sync.RWMutex
		counts map[string]*atomic.Uint64
	}
}

func (v *clientVersions) add(version string) {
	v.mu.RLock()
	count := v.mu.counts[version]
	v.mu.RUnlock()
	if count == nil {
		count = v.enter(version)
	}
	count.Add(1)
}

func (v *clientVersions) enter(version string) *atomic.Uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mu.counts == nil {
		v.mu.counts = make(map[string]*atomic.Uint64)
	}
	if len(v.mu.counts) >= maxClientVersions || len(version) > 64 {
		version = "other"
	}
	count := v.mu.counts[version]
	if count == nil {
		count = new(atomic.Uint64)
		v.mu.counts[version] = count
	}
	return count
}

var (
	methodLabels = []string{"grpc_type", "grpc_service", "grpc_method"}
	startedDesc  = prometheus.NewDesc("grpc_server_started_total",
		"Total number of RPCs started on the server.", methodLabels, nil)
	handledDesc = prometheus.NewDesc("grpc_server_handled_total",
		"Total number of RPCs completed on the server, regardless of success or failure.",
		append(append([]string(nil), methodLabels...), "grpc_code"), nil)
	receivedDesc = prometheus.NewDesc("grpc_server_msg_received_total",
		"Total number of RPC stream messages received on the server.", methodLabels, nil)
	sentDesc = prometheus.NewDesc("grpc_server_msg_sent_total",
		"Total number of gRPC stream messages sent by the server.", methodLabels, nil)
	receivedBytesDesc = prometheus.NewDesc("etcd_network_client_grpc_received_bytes_total",
		"The total number of bytes received from grpc clients.", nil, nil)
	sentBytesDesc = prometheus.NewDesc("etcd_network_client_grpc_sent_bytes_total",
		"The total number of bytes sent to grpc clients.", nil, nil)
	clientRequestsDesc = prometheus.NewDesc("etcd_server_client_requests_total",
		"The total number of client requests per client version.", []string{"type", "client_api_version"}, nil)
	healthSuccessDesc = prometheus.NewDesc("etcd_server_health_success",
		"The total number of successful health checks.", nil, nil)
	healthFailuresDesc = prometheus.NewDesc("etcd_server_health_failures",
		"The total number of failed health checks.", nil, nil)
	healthChecksDesc = prometheus.NewDesc("etcd_server_healthchecks_total",
		"The total number of each kind of healthcheck.", []string{"type", "name", "status"}, nil)
	healthCheckDesc = prometheus.NewDesc("etcd_server_healthcheck",
		"The result of each kind of healthcheck.", []string{"type", "name"}, nil)
)

// handlingTimes makes the histogram of the time that each method takes, under the name and with the buckets that etcd's
// --metrics=extensive has.
func (s *Server) handlingTimes() prometheus.Collector {
	times := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "grpc_server_handling_seconds",
		Help:    "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
		Buckets: prometheus.DefBuckets,
	}, methodLabels)
	for _, m := range s.methods {
		m.times = times.WithLabelValues(m.kind, m.service, m.name)
	}
	return times
}

// collector shows the counts of a server to Prometheus.
type collector struct{ s *Server }

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{startedDesc, handledDesc, receivedDesc, sentDesc, receivedBytesDesc,
		sentBytesDesc, clientRequestsDesc, healthSuccessDesc, healthFailuresDesc, healthChecksDesc, healthCheckDesc} {
		out <- d
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for _, m := range c.s.methods {
		counter(startedDesc, m.counts.started.Load(), m.kind, m.service, m.name)
		counter(receivedDesc, m.counts.received.Load(), m.kind, m.service, m.name)
		counter(sentDesc, m.counts.sent.Load(), m.kind, m.service, m.name)
		for code := range m.counts.handled {
			counter(handledDesc, m.counts.handled[code].Load(), m.kind, m.service, m.name, codes.Code(code).String())
		}
	}
	counter(receivedBytesDesc, c.s.codec.received.Load())
	counter(sentBytesDesc, c.s.codec.sent.Load())
	for kind, versions := range map[string]*clientVersions{"unary": &c.s.unaryVersions, "stream": &c.s.streamVersions} {
		versions.mu.RLock()
		for version, count := range versions.mu.counts {
			counter(clientRequestsDesc, count.Load(), kind, version)
		}
		versions.mu.RUnlock()
	}
	c.s.health.collect(out)
}
