package holdfast

import (
	"holdfast/internal/assembly"
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
