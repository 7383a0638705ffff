package doctor

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"holdfast/internal/cli"
)

// judgeConnection says what is wrong with the way to an endpoint.
func (f *facts) judgeConnection(r *report, m *observed) {
	endpoint := printable(m.given)
	switch {
	case m.tlsExpected:
		r.add("tls-expected", "endpoint", endpoint)
	case m.plainExpected:
		r.add("plain-expected", "endpoint", endpoint)
	case m.bare && m.err != nil:
		r.add("certificate-asked", "endpoint", endpoint)
	}
	if len(m.certificates) > 0 {
		f.judgeCertificate(r, m, m.certificates[0])
	}
	if m.login != nil {
		r.add("login-failed", "endpoint", endpoint, "cause", printable(m.login.Error()))
	}
	for _, what := range m.denied {
		r.add("not-allowed", "endpoint", endpoint, "what", what)
	}
	if m.metricsErr != nil && m.answers() {
		r.add("no-metrics", "endpoint", endpoint, "cause", printable(m.metricsErr.Error()))
	}
}

func (f *facts) judgeCertificate(r *report, m *observed, c *x509.Certificate) {
	endpoint := printable(m.given)
	date := func(t time.Time) string { return t.UTC().Format("2 January 2006 at 15:04 UTC") }
	left := c.NotAfter.Sub(f.now)
	switch {
	case left <= 0:
		r.add("certificate-ended", "endpoint", endpoint, "date", date(c.NotAfter))
	case f.now.Before(c.NotBefore):
		r.add("certificate-not-begun", "endpoint", endpoint, "date", date(c.NotBefore))
	case left < f.limits.Certificate:
		r.add("certificate-ending", "endpoint", endpoint, "date", date(c.NotAfter), "days", period(left))
	}
	if m.network != "unix" && c.VerifyHostname(m.name()) != nil {
		names := append([]string(nil), c.DNSNames...)
		for _, ip := range c.IPAddresses {
			names = append(names, ip.String())
		}
		if len(names) == 0 {
			names = []string{"no name at all"}
		}
		r.add("certificate-names", "endpoint", endpoint, "host", printable(m.name()), "names", printable(strings.Join(names, ", ")))
	}
	if m.untrusted != nil {
		issuer := c.Issuer.CommonName
		if issuer == "" {
			issuer = c.Issuer.String()
		}
		r.add("certificate-untrusted", "endpoint", endpoint, "issuer", printable(issuer))
	}
}

// judgeAddresses looks at the addresses that members advertise.
func (f *facts) judgeAddresses(r *report) {
	elsewhere := len(f.members) > 1
	for _, m := range f.all {
		elsewhere = elsewhere || m.learned == "" && m.host != "" && !m.local()
	}
	for _, member := range f.members {
		for _, u := range member.ClientURLs {
			if a, err := parseEndpoint(u, false); err == nil && a.local() && a.network != "unix" && elsewhere {
				r.add("advertised-localhost", "name", printable(member.Name), "url", printable(u))
			}
		}
		for _, u := range member.PeerURLs {
			if a, err := parseEndpoint(u, false); err == nil && a.local() && len(f.members) > 1 {
				name := member.Name
				if name == "" {
					name = fmt.Sprintf("%x", member.ID)
				}
				r.add("peer-localhost", "name", printable(name), "url", printable(u))
			}
		}
	}
	f.judgeOpenness(r)
}

// judgeOpenness looks for an address beyond this machine at which nobody is asked who he is.
func (f *facts) judgeOpenness(r *report) {
	for _, m := range f.each() {
		if m.auth == nil || *m.auth || m.asks {
			continue
		}
		if !m.local() {
			r.add("no-authentication", "url", printable(m.given))
			continue
		}
		for _, member := range f.members {
			if member.ID != m.id {
				continue
			}
			for _, u := range member.ClientURLs {
				if a, err := parseEndpoint(u, false); err == nil && !a.local() {
					r.add("no-authentication", "url", printable(u))
				}
			}
		}
	}
}

// judgeMember says what a member says of itself.
func (f *facts) judgeMember(r *report, m *observed) {
	if m.status.Leader == 0 {
		r.add("no-leader", "endpoint", m.given)
	}
	for _, a := range m.alarms {
		switch a.Alarm {
		case etcdserverpb.AlarmType_NOSPACE:
			r.add("alarm-no-space", "member", fmt.Sprintf("%x", a.MemberID))
		case etcdserverpb.AlarmType_CORRUPT:
			r.add("alarm-corrupt", "member", fmt.Sprintf("%x", a.MemberID))
		}
	}
	if len(m.unready) > 0 {
		r.add("not-ready", "endpoint", m.given, "checks", strings.Join(m.unready, "; "))
	}
	// Without a quota a negative one is reported.
	if quota, used := m.status.DbSizeQuota, m.status.DbSizeInUse; quota > 0 && float64(used) > f.limits.QuotaShare*float64(quota) {
		r.add("near-quota", "endpoint", m.given, "share", fmt.Sprintf("%.0f%%", 100*float64(used)/float64(quota)), "used", cli.Size(used), "quota", cli.Size(quota))
	}
}

// judgeMetrics says what the figures of a member show.
func (f *facts) judgeMetrics(r *report, m *observed) {
	seconds := func(v float64) string { return period(time.Duration(v * float64(time.Second))) }
	slow := func(id, histogram string, limit time.Duration) {
		at, count := m.metrics.quantile(0.99, histogram)
		if count >= float64(f.limits.Observations) && at > limit.Seconds() {
			r.add(id, "endpoint", m.given, "time", seconds(at))
		}
	}
	slow("slow-sync", "etcd_disk_wal_fsync_duration_seconds", f.limits.Sync)
	slow("slow-apply", "etcd_disk_backend_commit_duration_seconds", f.limits.Apply)
	f.judgePeers(r, m)
	setting := func(name string) (float64, bool) { return m.metrics.get("holdfast_setting", "name", name) }
	if off, ok := setting("unsafe-no-fsync"); ok && off == 1 {
		r.add("syncs-off", "endpoint", m.given)
	}
	if held, ok := m.metrics.get("holdfast_quarantined"); ok && held == 1 {
		r.add("quarantined", "endpoint", m.given)
	}
	changes, _ := m.metrics.get("etcd_server_leader_changes_seen_total")
	if up := f.uptime(m); int(changes) >= f.limits.LeaderChanges && up < time.Duration(changes)*f.limits.LeaderPeriod {
		r.add("leader-changes", "endpoint", m.given, "count", fmt.Sprint(changes), "period", period(up))
	}
	free, ok := m.metrics.get("holdfast_disk_free_bytes")
	reserve, _ := setting("min-free-bytes")
	if ok && free < max(float64(f.limits.FreeBytes), 2*reserve) {
		r.add("little-disk-space", "endpoint", m.given, "free", cli.Size(int64(free)), "reserve", cli.Size(int64(reserve)))
	}
	if pending, _ := m.metrics.get("etcd_server_proposals_pending"); int(pending) > f.limits.Pending {
		r.add("proposals-pending", "endpoint", m.given, "count", fmt.Sprint(pending))
	}
	if lagging, _ := m.metrics.get("etcd_debugging_mvcc_slow_watcher_total"); int(lagging) > f.limits.SlowWatchers {
		waiting, _ := m.metrics.get("etcd_debugging_mvcc_pending_events_total")
		r.add("slow-watchers", "endpoint", m.given, "count", fmt.Sprint(lagging), "pending", fmt.Sprint(waiting))
	}
	current, _ := m.metrics.get("etcd_debugging_mvcc_current_revision")
	compacted, _ := m.metrics.get("etcd_debugging_mvcc_compact_revision")
	// A member that does not tell its settings, as etcd's, may well have a policy.
	if policy, ok := setting("auto-compaction"); ok && policy == 0 && current-compacted > float64(f.limits.Revisions) {
		r.add("no-compaction", "endpoint", m.given, "revisions", fmt.Sprintf("%.0f", current-compacted))
	}
}

func (f *facts) judgePeers(r *report, m *observed) {
	const histogram = "etcd_network_peer_round_trip_time_seconds"
	longest := 0.0
	for _, peer := range m.metrics.values(histogram+"_bucket", "To") {
		at, count := m.metrics.quantile(0.99, histogram, "To", peer)
		if count < float64(f.limits.Observations) {
			continue
		}
		longest = max(longest, at)
		if at > f.limits.RoundTrip.Seconds() {
			r.add("slow-peer", "endpoint", m.given, "peer", printable(peer), "time", period(time.Duration(at*float64(time.Second))))
		}
	}
	if timeout, ok := m.metrics.get("holdfast_setting", "name", "election-timeout"); ok && timeout < f.limits.ElectionFactor*longest {
		r.add("election-too-short", "endpoint", m.given, "timeout", period(time.Duration(timeout*float64(time.Second))),
			"roundtrip", period(time.Duration(longest*float64(time.Second))))
	}
}
