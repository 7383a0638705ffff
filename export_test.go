package holdfast

import (
	"errors"
	"net"

	"holdfast/internal/assembly"
	"holdfast/internal/discovery"
	"holdfast/internal/server"
)

// SmallFiles returns o with a log of small segments and a store of small memtables, so that a short run rolls the log,
// flushes the store and cuts the log many times.
func SmallFiles(o Options) Options {
	o.sizes = assembly.Sizes{SegmentBytes: 32 << 10, MemTableBytes: 256 << 10, FlushLogBytes: 48 << 10}
	return o
}

// HTTPEndpoints returns the addresses of the ports that serve HTTP alone: those for clients first.
func HTTPEndpoints(m *Member) []string {
	var endpoints []string
	for _, p := range m.ports {
		if p.kind == server.OnlyHTTP || p.kind == server.OnlyProbes {
			endpoints = append(endpoints, "http://"+p.listener.Addr().String())
		}
	}
	return endpoints
}

// Listening returns o with addresses opened by listen.
func Listening(o Options, listen func(network, address string) (net.Listener, error)) Options {
	o.world.listen = listen
	return o
}

// Resolving returns o with names resolved by r.
func Resolving(o Options, r discovery.Resolver) Options {
	o.world.resolver = r
	return o
}

// Kill ends a member as the end of its process would: nobody is told, nothing is handed over, nothing is flushed.
func Kill(m *Member) {
	m.mu.Lock()
	m.mu.closed = true
	m.mu.Unlock()
	m.stopTransport()
	m.node.Fail(errors.New("killed by a test"))
	m.release(false)
}

// Leader returns the id of the leader that m knows, and whether it is m itself.
func Leader(m *Member) (id uint64, leading bool) {
	s := m.node.Status()
	return uint64(s.Leader), s.Leading
}

// ID returns the id of a member.
func ID(m *Member) uint64 { return uint64(m.node.MemberID()) }

// PeerAddress returns the address at which a member listens for others.
func PeerAddress(m *Member) string { return m.peerPorts[0].listener.Addr().String() }
