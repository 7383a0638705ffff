package node

import "github.com/prometheus/client_golang/prometheus"

// snapshotMetrics are the figures about snapshots of other members. The transport has those about their transfer.
type snapshotMetrics struct {
	snapshotApplying prometheus.Gauge
	snapshotsAdopted prometheus.Counter
	snapshotBytes    prometheus.Counter
}

func newSnapshotMetrics(r prometheus.Registerer) snapshotMetrics {
	m := snapshotMetrics{
		snapshotApplying: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "etcd_server_snapshot_apply_in_progress_total", Help: "1 while a snapshot of another member takes the place of the store."}),
		snapshotsAdopted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_snapshots_adopted_total", Help: "Snapshots of other members that have taken the place of this member's store."}),
		snapshotBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_snapshot_received_bytes_total", Help: "Bytes of snapshots that other members have sent, given up ones included."}),
	}
	r.MustRegister(m.snapshotApplying, m.snapshotsAdopted, m.snapshotBytes)
	return m
}
