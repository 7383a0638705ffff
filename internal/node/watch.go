package node

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// runWatchers serves the watchers that have fallen behind. Those who keep up are served by the applier.
func (n *Node) runWatchers(ctx context.Context) {
	if err := n.hub.Run(ctx); err != nil {
		n.Fail(err)
	}
}

// registerWatch registers the figures of the hub under etcd's names.
func (n *Node) registerWatch(r prometheus.Registerer) {
	gauge := func(name, help string, value func() int64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "etcd_debugging_mvcc_" + name, Help: help},
			func() float64 { return float64(value()) }))
	}
	gauge("watch_stream_total", "Total number of watch streams.", func() int64 { return n.hub.Counts().Streams })
	gauge("watcher_total", "Total number of watchers.", func() int64 { return n.hub.Counts().Watchers })
	gauge("slow_watcher_total", "Total number of unsynced slow watchers.", func() int64 { return n.hub.Counts().Lagging })
	gauge("pending_events_total", "Total number of pending events to be sent.", func() int64 { return n.hub.Counts().Pending })
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "etcd_debugging_mvcc_events_total",
		Help: "Total number of events sent by this member."}, func() float64 { return float64(n.hub.Counts().Sent) }))
}
