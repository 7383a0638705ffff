package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// side is the one whose certificate is looked at.
type side string

const (
	clientSide side = "client"
	serverSide side = "server"
)

// verify refuses a side that shows a certificate which crypto/tls has verified, but which is revoked or bears no allowed
// name (T3). It runs in every handshake, whatever protocol is spoken afterwards.
func (b *Builder) verify(m *material, s tls.ConnectionState, of side) error {
	if len(s.PeerCertificates) == 0 {
		return nil // crypto/tls has seen to it that none is needed
	}
	if err := m.revoked.check(of, s.PeerCertificates, s.VerifiedChains); err != nil {
		return err
	}
	leaf := s.PeerCertificates[0]
	bears := func(name string) bool { return leaf.VerifyHostname(name) == nil }
	if len(b.o.AllowedNames) > 0 && !slices.ContainsFunc(b.o.AllowedNames, bears) {
		return fmt.Errorf("the %s's certificate (%s) bears none of the allowed names: %s", of, describe(leaf), strings.Join(b.o.AllowedNames, ", "))
	}
	if len(b.o.AllowedCommonNames) > 0 && !slices.Contains(b.o.AllowedCommonNames, leaf.Subject.CommonName) {
		return fmt.Errorf("the %s's certificate (%s) has none of the allowed common names: %s", of, describe(leaf), strings.Join(b.o.AllowedCommonNames, ", "))
	}
	return nil
}

// resolver is what is asked of the domain name system.
type resolver interface {
	LookupAddr(ctx context.Context, address string) (names []string, err error)
	LookupHost(ctx context.Context, host string) (addresses []string, err error)
}

// lookupTimeout bounds how long the names of a client may be looked up.
const lookupTimeout = 3 * time.Second

// checkAddress refuses a client whose certificate names hosts or IP addresses, but not the address that it comes from:
// by itself, as a name that the address has, or as a name that leads to the address. As in etcd, a certificate that
// names none may come from anywhere. A client that does not come over IP has no address.
func (b *Builder) checkAddress(ctx context.Context, s tls.ConnectionState, from net.Addr) error {
	tcp, ok := from.(*net.TCPAddr)
	if len(s.PeerCertificates) == 0 || !ok {
		return nil
	}
	leaf := s.PeerCertificates[0]
	if len(leaf.IPAddresses) == 0 && len(leaf.DNSNames) == 0 {
		return nil
	}
	address := tcp.IP.String()
	if len(leaf.IPAddresses) > 0 && leaf.VerifyHostname(address) == nil {
		return nil
	}
	failed := error(nil)
	if len(leaf.DNSNames) > 0 {
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		if ok, failed = b.hasName(ctx, leaf, address); ok {
			return nil
		}
	}
	refusal := fmt.Errorf("the client comes from %s, which its certificate (%s) does not name; it names %s", address, describe(leaf), strings.Join(hostsOf(leaf), ", "))
	if failed != nil {
		return fmt.Errorf("%w (looking the names up: %w)", refusal, failed)
	}
	return refusal
}

// hasName reports whether one of the DNS names of a certificate belongs to an address.
func (b *Builder) hasName(ctx context.Context, leaf *x509.Certificate, address string) (bool, error) {
	names, failed := b.resolver.LookupAddr(ctx, address)
	for _, name := range names {
		name = strings.TrimSuffix(name, ".")
		for _, dns := range leaf.DNSNames {
			suffix, wild := strings.CutPrefix(dns, "*")
			if dns == name || wild && strings.HasPrefix(suffix, ".") && strings.HasSuffix(name, suffix) {
				return true, nil
			}
		}
	}
	for _, dns := range leaf.DNSNames {
		if strings.HasPrefix(dns, "*") {
			continue
		}
		addresses, err := b.resolver.LookupHost(ctx, dns)
		if err != nil {
			failed = err
		}
		if slices.Contains(addresses, address) {
			return true, nil
		}
	}
	return false, failed
}

func hostsOf(leaf *x509.Certificate) []string {
	hosts := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}
