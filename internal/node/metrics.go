package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/store"
)

// Metrics are the node's figures, under the names that etcd's dashboards and alerts know.
type Metrics struct {
	LogSync         prometheus.Histogram
	Commit          prometheus.Histogram
	ProposalsFailed prometheus.Counter
	hasLeader       prometheus.Gauge
	isLeader        prometheus.Gauge
	leaderChanges   prometheus.Counter
	committed       prometheus.Gauge
	appliedIndex    prometheus.Gauge
	isLearner       prometheus.Gauge
	heartbeatsLost  prometheus.Counter
	readsFailed     prometheus.Counter
	readsSlow       prometheus.Counter
	leaseMetrics
	snapshotMetrics
	digestMetrics
}

// NewMetrics makes the figures and registers them with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	// From 1 ms doubling up to 8 s, as etcd's buckets, and below it down to where a good disk lives.
	buckets := append([]float64{0.0001, 0.00025, 0.0005}, prometheus.ExponentialBuckets(0.001, 2, 14)...)
	m := &Metrics{
		LogSync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "etcd_disk_wal_fsync_duration_seconds", Help: "The latency of a sync of the log.", Buckets: buckets}),
		Commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "etcd_disk_backend_commit_duration_seconds", Help: "The latency of applying a batch of entries to the store.", Buckets: buckets}),
		ProposalsFailed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcd_server_proposals_failed_total", Help: "Commands that were not applied: refused by a full queue, or out of time."}),
		hasLeader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "etcd_server_has_leader", Help: "Whether a leader is known: 1 or 0."}),
		isLeader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "etcd_server_is_leader", Help: "Whether this member leads: 1 or 0."}),
		leaderChanges: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcd_server_leader_changes_seen_total", Help: "Changes of the leader that this member has seen."}),
		committed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "etcd_server_proposals_committed_total", Help: "The index of the last committed entry."}),
		appliedIndex: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "etcd_server_proposals_applied_total", Help: "The index of the last applied entry."}),
	}
	m.isLearner = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "etcd_server_is_learner", Help: "Whether this member is a learner: 1 or 0."})
	m.heartbeatsLost = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "etcd_server_heartbeat_send_failures_total", Help: "Heartbeats that this member, as leader, was late to send because it was held up."})
	m.readsFailed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "etcd_server_read_indexes_failed_total", Help: "Linearizable reads that got no index in time."})
	m.readsSlow = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "etcd_server_slow_read_indexes_total", Help: "Attempts to learn a read index that brought nothing and were made again."})
	m.leaseMetrics = newLeaseMetrics(r)
	m.digestMetrics = newDigestMetrics(r)
	m.snapshotMetrics = newSnapshotMetrics(r)
	r.MustRegister(m.LogSync, m.Commit, m.ProposalsFailed, m.hasLeader, m.isLeader, m.leaderChanges, m.committed, m.appliedIndex,
		m.isLearner, m.heartbeatsLost, m.readsFailed, m.readsSlow)
	return m
}

// Register registers with r the figures that are read from the node when they are asked for.
func (n *Node) Register(r prometheus.Registerer) {
	n.registerWatch(r)
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("etcd_server_proposals_pending", "Commands of this member that are undecided.", func() float64 { return float64(n.queue.pending()) })
	gauge("holdfast_snapshots_sending", "Members to which a snapshot is on its way.", func() float64 { return float64(n.Sending()) })
	gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of the store on disk.", func() float64 { return float64(n.DB().Usage()) })
	gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of the live keys and values.", func() float64 { return float64(n.applied.Load().LiveBytes) })
	gauge("etcd_debugging_mvcc_current_revision", "The revision of the store.", func() float64 { return float64(n.applied.Load().Revision) })
	gauge("etcd_debugging_mvcc_compact_revision", "The compacted revision.", func() float64 { return float64(n.applied.Load().Compacted) })
	gauge("etcd_debugging_mvcc_keys_total", "The number of keys.", func() float64 { return float64(n.applied.Load().LiveKeys) })
}

func (m *Metrics) applied(a store.Applied) { m.appliedIndex.Set(float64(a.Position.Index)) }

func (m *Metrics) status(old, s *Status) {
	m.committed.Set(float64(s.Index))
	m.hasLeader.Set(oneIf(s.Leader != 0))
	m.isLeader.Set(oneIf(s.Leading))
	m.isLearner.Set(oneIf(s.Learner))
	if old != nil && s.Leader != 0 && old.Leader != s.Leader {
		m.leaderChanges.Inc()
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
