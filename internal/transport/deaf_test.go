package transport

import (
	"net"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/kind"
)

// newDeaf returns the URL of a member that welcomes whoever calls, and reads nothing more.
func newDeaf(t testing.TB, id kind.MemberID) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			if _, err := readHello(conn); err != nil {
				continue
			}
			_, _ = conn.Write(welcome{protocol: 1, min: 1, max: 1, cluster: testCluster, member: id}.encode())
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
		for _, c := range conns {
			_ = c.Close()
		}
	})
	return "http://" + l.Addr().String()
}

// valueOf returns the value of a metric whose last label is the given one: of a histogram how much it has counted.
func valueOf(t testing.TB, g prometheus.Gatherer, name, remote string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := m.GetLabel()
			for _, l := range labels {
				if (l.GetName() == "Remote" || l.GetName() == "To" || l.GetName() == "From") && l.GetValue() == remote {
					return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	return 0
}
