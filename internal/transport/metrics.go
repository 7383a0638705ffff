package transport

import (
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/kind"
)

// metrics are those that etcd has for its peers, under its names and labels: ids in hexadecimal, bytes as they are on the
// connection before TLS.
type metrics struct {
	local string

	known, active                      *prometheus.GaugeVec
	disconnected                       *prometheus.CounterVec
	sentBytes, receivedBytes           *prometheus.CounterVec
	sentFailures, receivedFailures     *prometheus.CounterVec
	roundTrip                          *prometheus.HistogramVec
	snapshotsSent, snapshotsUnsent     *prometheus.CounterVec
	snapshotsSending                   *prometheus.GaugeVec
	snapshotSendSeconds                *prometheus.HistogramVec
	snapshotsReceived, snapshotsFailed *prometheus.CounterVec
	snapshotsReceiving                 *prometheus.GaugeVec
	snapshotReceiveSeconds             *prometheus.HistogramVec
}

func newMetrics(local kind.MemberID, r prometheus.Registerer) *metrics {
	var all []prometheus.Collector
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "etcd", Subsystem: "network", Name: name, Help: help}, labels)
		all = append(all, v)
		return v
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "etcd", Subsystem: "network", Name: name, Help: help}, labels)
		all = append(all, v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "etcd", Subsystem: "network", Name: name, Help: help, Buckets: buckets}, labels)
		all = append(all, v)
		return v
	}
	m := &metrics{
		local:                  local.String(),
		known:                  gauge("known_peers", "The other members that this one knows: 1 for each.", "Local", "Remote"),
		active:                 gauge("active_peers", "1 for a peer that is connected both ways and answers, else 0.", "Local", "Remote"),
		disconnected:           counter("disconnected_peers_total", "How often a peer stopped being active.", "Local", "Remote"),
		sentBytes:              counter("peer_sent_bytes_total", "The bytes sent to peers.", "To"),
		receivedBytes:          counter("peer_received_bytes_total", "The bytes received from peers.", "From"),
		sentFailures:           counter("peer_sent_failures_total", "The messages to peers that were dropped or may not have arrived.", "To"),
		receivedFailures:       counter("peer_received_failures_total", "The connections from peers that broke or were broken for what came over them.", "From"),
		roundTrip:              histogram("peer_round_trip_time_seconds", "The round trip to peers, as probes measure it.", prometheus.ExponentialBuckets(0.0001, 2, 16), "To"),
		snapshotsSent:          counter("snapshot_send_success", "The snapshots that were sent.", "To"),
		snapshotsUnsent:        counter("snapshot_send_failures", "The snapshots that could not be sent.", "To"),
		snapshotsSending:       gauge("snapshot_send_inflights_total", "The snapshots that are being sent.", "To"),
		snapshotSendSeconds:    histogram("snapshot_send_total_duration_seconds", "How long sending a snapshot took.", prometheus.ExponentialBuckets(0.1, 2, 10), "To"),
		snapshotsReceived:      counter("snapshot_receive_success", "The snapshots that were received.", "From"),
		snapshotsFailed:        counter("snapshot_receive_failures", "The snapshots that could not be received.", "From"),
		snapshotsReceiving:     gauge("snapshot_receive_inflights_total", "The snapshots that are being received.", "From"),
		snapshotReceiveSeconds: histogram("snapshot_receive_total_duration_seconds", "How long receiving a snapshot took.", prometheus.ExponentialBuckets(0.1, 2, 10), "From"),
	}
	if r != nil {
		r.MustRegister(all...)
	}
	return m
}

// peerMetrics are the metrics of one peer, looked up once.
type peerMetrics struct {
	active, known              prometheus.Gauge
	disconnected               prometheus.Counter
	sentBytes, receivedBytes   prometheus.Counter
	sentFailures, recvFailures prometheus.Counter
	roundTrip                  prometheus.Observer
}

func (m *metrics) of(id kind.MemberID) peerMetrics {
	remote := id.String()
	return peerMetrics{
		active:        m.active.WithLabelValues(m.local, remote),
		known:         m.known.WithLabelValues(m.local, remote),
		disconnected:  m.disconnected.WithLabelValues(m.local, remote),
		sentBytes:     m.sentBytes.WithLabelValues(remote),
		receivedBytes: m.receivedBytes.WithLabelValues(remote),
		sentFailures:  m.sentFailures.WithLabelValues(remote),
		recvFailures:  m.receivedFailures.WithLabelValues(remote),
		roundTrip:     m.roundTrip.WithLabelValues(remote),
	}
}
