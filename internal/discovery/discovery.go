// Package discovery finds the first members of a new cluster: in the SRV records of a DNS domain, or through another
// cluster that is already there. What it finds stands for --initial-cluster.
//
// Invariants:
//
//	D1  Every member of the new cluster that finds it comes to the same peer URLs, written the same way: they are those
//	    of the records, not those that a member has resolved them to, since ids are hashes of them.
//	D2  A member that is not among those it found is refused; it never makes a cluster of fewer.
//	D3  A name server is asked only where two URLs that ought to be the same are written differently.
//
// Use:
//
//	members, err := discovery.FromDNS(ctx, net.DefaultResolver, discovery.DNS{Domain: "example.com", Self: me})
//	members, err := discovery.Through(ctx, discovery.Registry{Endpoints: …, Token: …}, id, me)
package discovery

import (
	"context"
	"errors"
	"net"
)

// Resolver asks a name server. *net.Resolver is one.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
}

// The refusals of this package. Each error is one of them by errors.Is, or a failure of the network, and reads as a
// sentence that says what to do.
var (
	// ErrNotListed means that this member is not among those that were found.
	ErrNotListed = errors.New("this member is not among those that were discovered")
	// ErrNoMembers means that nothing was found.
	ErrNoMembers = errors.New("no members were discovered")
	// ErrSize means that the size of the new cluster is not known at the endpoints, or is no number.
	ErrSize = errors.New("the size of the new cluster is not known")
	// ErrFull means that as many members as the new cluster has were registered before this one.
	ErrFull = errors.New("the new cluster is full")
	// ErrMembers means that those who registered do not make a cluster: two share a name or a URL.
	ErrMembers = errors.New("the members that were discovered do not make a cluster")
)
