package holdfast

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	settingDesc = prometheus.NewDesc("holdfast_setting",
		"A setting that decides how a member fares: durations in seconds, sizes in bytes, switches as 1 or 0.", []string{"name"}, nil)
	freeDesc   = prometheus.NewDesc("holdfast_disk_free_bytes", "Bytes that are free on the file system of the data directory.", nil, nil)
	offsetDesc = prometheus.NewDesc("holdfast_peer_clock_offset_seconds",
		"How far the wall clock of a peer is ahead of this member's.", []string{"To"}, nil)
)

// ownFigures are what "holdfast doctor" reads of a member and etcd has no names for. Those that are asked of the disk and
// of the transport are asked for at each reading.
type ownFigures struct{ m *Member }

func (f ownFigures) Describe(out chan<- *prometheus.Desc) {
	out <- settingDesc
	out <- freeDesc
	out <- offsetDesc
}

func (f ownFigures) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	c := &f.m.config
	flag := func(on bool) float64 {
		if on {
			return 1
		}
		return 0
	}
	gauge(settingDesc, c.ElectionTimeout.Seconds(), "election-timeout")
	gauge(settingDesc, c.HeartbeatInterval.Seconds(), "heartbeat-interval")
	gauge(settingDesc, flag(c.UnsafeNoFsync), "unsafe-no-fsync")
	gauge(settingDesc, flag(c.AutoCompactionRetention != "0" && c.AutoCompactionRetention != "" || c.AutoCompactionRetentionRevisions > 0), "auto-compaction")
	gauge(settingDesc, float64(c.MinFreeBytes), "min-free-bytes")
	if usage, err := f.m.fs.GetDiskUsage(c.DataDir); err == nil {
		gauge(freeDesc, float64(usage.AvailBytes))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	members, err := f.m.node.Members(ctx, false)
	if err != nil {
		return
	}
	for _, peer := range members {
		if offset, _, ok := f.m.transport.ClockOffset(peer.ID); ok {
			gauge(offsetDesc, offset.Seconds(), peer.ID.String())
		}
	}
}
