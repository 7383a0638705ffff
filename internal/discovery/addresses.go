package discovery

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// retryInterval is how long to wait before a name that could not be resolved is asked for again: name servers of
// container platforms learn of a machine some seconds after it has started.
const retryInterval = time.Second

// Difference says in a clause why two lists of URLs do not name the same addresses, or nothing if they do. Only names
// that differ are resolved, until ctx ends where a name server does not answer (D3). The order does not matter.
func Difference(ctx context.Context, r Resolver, listed, advertised []url.URL) string {
	onlyListed, onlyAdvertised := without(listed, advertised), without(advertised, listed)
	if len(listed) != len(advertised) {
		return fmt.Sprintf("the one list has %d and the other %d", len(listed), len(advertised))
	}
	for _, u := range onlyListed {
		i := slices.IndexFunc(onlyAdvertised, func(other url.URL) bool { return sameAddress(ctx, r, u, other) })
		if i < 0 {
			return fmt.Sprintf("%s is not the address of %s", u.String(), join(onlyAdvertised))
		}
		onlyAdvertised = slices.Delete(onlyAdvertised, i, i+1)
	}
	return ""
}

// without returns what is in a and not, written the same way, in b.
func without(a, b []url.URL) (rest []url.URL) {
	for _, u := range a {
		if !slices.ContainsFunc(b, func(other url.URL) bool { return other.String() == u.String() }) {
			rest = append(rest, u)
		}
	}
	return rest
}

// sameAddress reports whether two URLs have scheme, port and an IP address in common.
func sameAddress(ctx context.Context, r Resolver, a, b url.URL) bool {
	if a.Scheme != b.Scheme || a.Port() != b.Port() || isSocket(a) {
		return false
	}
	if strings.EqualFold(a.Hostname(), b.Hostname()) {
		return true
	}
	of := resolvePatiently(ctx, r, a.Hostname())
	if len(of) == 0 {
		return false
	}
	return slices.ContainsFunc(resolvePatiently(ctx, r, b.Hostname()), func(ip net.IP) bool {
		return slices.ContainsFunc(of, ip.Equal)
	})
}

func isSocket(u url.URL) bool { return u.Scheme == "unix" || u.Scheme == "unixs" }

// resolvePatiently returns the addresses of a host; none if ctx has ended before any was known.
func resolvePatiently(ctx context.Context, r Resolver, host string) []net.IP {
	for {
		ips, err := resolve(ctx, r, host)
		if err == nil && len(ips) > 0 {
			return ips
		}
		if wait(ctx, retryInterval) != nil {
			return nil
		}
	}
}

// resolve asks once. An address stands for itself, and so does localhost, which some name servers do not know.
func resolve(ctx context.Context, r Resolver, host string) ([]net.IP, error) {
	if ip := net.ParseIP(host); ip != nil {
		return []net.IP{ip}, nil
	}
	if host == "localhost" {
		return []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, nil
	}
	found, err := r.LookupIPAddr(ctx, host)
	ips := make([]net.IP, len(found))
	for i, a := range found {
		ips[i] = a.IP
	}
	return ips, err
}

// wait returns after a time, or with ctx's error when that ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func join(urls []url.URL) string {
	texts := make([]string, len(urls))
	for i, u := range urls {
		texts[i] = u.String()
	}
	return strings.Join(texts, ", ")
}
