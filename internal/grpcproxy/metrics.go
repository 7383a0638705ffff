package grpcproxy

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are those of a proxy, under etcd's names.
type metrics struct {
	registry *prometheus.Registry
	sharing  prometheus.Gauge   // watchers that share one, less the ones they share
	shared   prometheus.Counter // events that were sent without the cluster sending them
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		sharing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "etcd_grpc_proxy_watchers_coalescing_total", Help: "Watchers that share another's at present.",
		}),
		shared: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcd_grpc_proxy_events_coalescing_total", Help: "Events that reached a watcher over another's.",
		}),
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.sharing, m.shared)
	for name, help := range map[string]string{
		"etcd_grpc_proxy_cache_keys_total":   "Always 0: answers are not kept here.",
		"etcd_grpc_proxy_cache_hits_total":   "Always 0: answers are not kept here.",
		"etcd_grpc_proxy_cache_misses_total": "Always 0: answers are not kept here.",
	} {
		m.registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help}))
	}
	return m
}
