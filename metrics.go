package holdfast

import (
	"os"
	"runtime"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/config"
	"holdfast/internal/server"
)

// registerFacts registers what dashboards want to know about a member beside what it does: who it is, what it runs, what
// it is allowed. quota is what Status reports.
func (m *Member) registerFacts(quota int64) {
	label := func(name, help, label, value string) {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{label})
		g.WithLabelValues(value).Set(1)
		m.registry.MustRegister(g)
	}
	id := m.below.Dir().Identity()
	label("etcd_server_version", "Which version of etcd's API is served; 1 for the label server_version.", "server_version", server.EtcdVersion)
	label("etcd_cluster_version", "Which version all members agree on; 1 for the label cluster_version.", "cluster_version", majorMinor(server.ClusterVersion))
	label("etcd_server_go_version", "Which version of Go the program was built with; 1 for the label server_go_version.", "server_go_version", runtime.Version())
	label("etcd_server_id", "The member's id in hexadecimal; 1 for the label server_id.", "server_id", id.Member.String())
	label("holdfast_version", "Which version of Holdfast runs; 1 for the label version.", "version", server.Version)

	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("etcd_server_quota_backend_bytes", "How many bytes of live data there may be; -1 if there is no quota.", func() float64 { return float64(quota) })
	gauge("etcd_debugging_auth_revision", "The auth revision.", func() float64 { return float64(m.node.Auth().Snapshot().Revision()) })
	gauge("etcd_disk_defrag_inflight", "Whether a defragmentation runs: never, since none is needed.", func() float64 { return 0 })
	gauge("os_fd_used", "Open files of the process.", openFiles)
	gauge("os_fd_limit", "How many files the process may have open.", fileLimit)

	features := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "etcd_server_feature_enabled", Help: "Whether a feature gate is on: 1 or 0."}, []string{"name", "stage"})
	for _, g := range config.Gates() {
		on := 0.0
		if m.config.Enabled(g.Name) {
			on = 1
		}
		features.WithLabelValues(g.Name, g.Stage).Set(on)
	}
	m.registry.MustRegister(features)
}

// majorMinor leaves the patch out of a version.
func majorMinor(version string) string {
	return version[:strings.LastIndexByte(version, '.')]
}

// openFiles counts the open files, 0 where the system does not tell.
func openFiles() float64 {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return float64(len(entries))
}

func fileLimit() float64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return float64(limit.Cur)
}
