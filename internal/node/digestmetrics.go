package node

import "github.com/prometheus/client_golang/prometheus"

// digestMetrics are the figures about whose state is right.
type digestMetrics struct {
	differing     prometheus.Counter
	quarantined   prometheus.Gauge
	scrubPasses   prometheus.Counter
	scrubBytes    prometheus.Counter
	scrubProblems prometheus.Counter
}

func newDigestMetrics(r prometheus.Registerer) digestMetrics {
	m := digestMetrics{
		differing: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_differing_members_total", Help: "How often a member, this one included, was found to have another state than the majority."}),
		quarantined: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "holdfast_quarantined", Help: "Whether this member refuses reads and writes because of its state: 1 or 0."}),
		scrubPasses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_scrub_passes_total", Help: "Passes in which the whole store was read over."}),
		scrubBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_scrub_bytes_total", Help: "Bytes that were read over."}),
		scrubProblems: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_scrub_problems_total", Help: "What was found to be damaged, or not to fit together."}),
	}
	r.MustRegister(m.differing, m.quarantined, m.scrubPasses, m.scrubBytes, m.scrubProblems)
	return m
}
