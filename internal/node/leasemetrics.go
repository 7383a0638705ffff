package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/lease"
)

// leaseMetrics are the figures about leases. They count what this member has applied, what it applies again at a start
// included.
type leaseMetrics struct {
	granted, renewed, revoked, expired prometheus.Counter
}

func newLeaseMetrics(r prometheus.Registerer) leaseMetrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	return leaseMetrics{
		granted: counter("etcd_debugging_lease_granted_total", "Leases granted."),
		renewed: counter("etcd_debugging_lease_renewed_total", "Leases kept alive."),
		revoked: counter("etcd_debugging_lease_revoked_total", "Leases that have ended, by revocation or expiry."),
		expired: counter("etcd_debugging_server_lease_expired_total", "Leases that have ended by expiry."),
	}
}

// leases counts what a batch did. Most batches have nothing to do with leases.
func (m *leaseMetrics) leases(c lease.Counts) {
	if c == (lease.Counts{}) {
		return
	}
	m.granted.Add(float64(c.Granted))
	m.renewed.Add(float64(c.Renewed))
	m.revoked.Add(float64(c.Revoked))
	m.expired.Add(float64(c.Expired))
}
