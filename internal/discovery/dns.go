package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/config"
)

// DNS says where the SRV records are and who asks.
type DNS struct {
	Domain string // whose records are asked for
	Suffix string // goes into the names of the services, after a dash; may be empty
	// Self is the asking member: its name, and the peer URLs that it advertises, by which it finds itself.
	Self config.InitialMember
}

// The services whose records list members, as etcd names them, with the scheme of their URLs. Both are asked for.
var services = []struct{ name, scheme string }{
	{"etcd-server-ssl", "https"},
	{"etcd-server", "http"},
}

// FromDNS returns the members that the SRV records of a domain list, in the order of their names. Each record is a
// member, except that all which lead to the asking one are that one. The others get numbers for names: a record has
// none, and a member says its name itself once it runs.
func FromDNS(ctx context.Context, r Resolver, d DNS) ([]config.InitialMember, error) {
	own, failures := ownAddresses(ctx, r, d.Self.PeerURLs)
	var others []url.URL
	unsure := false // a record leads to somebody who is not known
	me := config.InitialMember{Name: d.Self.Name}
	for _, s := range services {
		service := s.name
		if d.Suffix != "" {
			service += "-" + d.Suffix
		}
		_, records, err := r.LookupSRV(ctx, service, "tcp", d.Domain)
		if err != nil {
			dns, ok := errors.AsType[*net.DNSError](err)
			unsure = unsure || !ok || !dns.IsNotFound
			failures = append(failures, fmt.Errorf("look up _%s._tcp.%s: %w", service, d.Domain, err))
			continue
		}
		for _, record := range records {
			host, port := strings.TrimSuffix(record.Target, "."), strconv.Itoa(int(record.Port))
			u := url.URL{Scheme: s.scheme, Host: net.JoinHostPort(host, port)}
			mine, err := own.has(ctx, r, host, port)
			switch {
			case err != nil:
				unsure = true
				failures = append(failures, fmt.Errorf("resolve %s, which _%s._tcp.%s names: %w", host, service, d.Domain, err))
			case mine == nil:
				others = append(others, u)
			case mine.Scheme != s.scheme:
				failures = append(failures, fmt.Errorf("_%s._tcp.%s lists %s, but this member advertises %s", service, d.Domain, u.String(), mine.String()))
			default:
				me.PeerURLs = append(me.PeerURLs, u)
			}
		}
	}
	switch {
	case len(me.PeerURLs) == 0 && len(others) == 0:
		return nil, refuse(ErrNoMembers, "no SRV record of %s names a member of the new cluster%s; check --discovery-srv and "+
			"--discovery-srv-name, and the records _etcd-server._tcp and _etcd-server-ssl._tcp of the domain", d.Domain, because(failures))
	case len(me.PeerURLs) == 0:
		return nil, refuse(ErrNotListed, "the SRV records of %s name %s, but none leads to this member, which advertises %s%s; "+
			"add a record for it or correct --initial-advertise-peer-urls", d.Domain, join(others), join(d.Self.PeerURLs), because(failures))
	case unsure:
		// A member that left out one it could not resolve would make another cluster than the rest (D2).
		return nil, refuse(ErrMembers, "not every SRV record of %s leads to a member%s; start again when the name server knows all of them", d.Domain, because(failures))
	}
	return number(me, others), nil
}

// number gives the others numbers for names, in the order of their URLs, and adds the asking member.
func number(me config.InitialMember, others []url.URL) []config.InitialMember {
	slices.SortFunc(others, byText)
	others = slices.CompactFunc(others, func(a, b url.URL) bool { return a.String() == b.String() })
	slices.SortFunc(me.PeerURLs, byText)
	me.PeerURLs = slices.CompactFunc(me.PeerURLs, func(a, b url.URL) bool { return a.String() == b.String() })
	members := []config.InitialMember{me}
	next := 0
	for _, u := range others {
		if strconv.Itoa(next) == me.Name {
			next++
		}
		members = append(members, config.InitialMember{Name: strconv.Itoa(next), PeerURLs: []url.URL{u}})
		next++
	}
	slices.SortFunc(members, func(a, b config.InitialMember) int { return strings.Compare(a.Name, b.Name) })
	return members
}

func byText(a, b url.URL) int { return strings.Compare(a.String(), b.String()) }

// addresses are the resolved addresses of the asking member.
type addresses []address

type address struct {
	url url.URL
	ips []net.IP
}

func ownAddresses(ctx context.Context, r Resolver, urls []url.URL) (own addresses, failures []error) {
	for _, u := range urls {
		a := address{url: u}
		if !isSocket(u) {
			var err error
			if a.ips, err = resolve(ctx, r, u.Hostname()); err != nil {
				failures = append(failures, fmt.Errorf("resolve %s, which this member advertises: %w", u.Hostname(), err))
			}
		}
		own = append(own, a)
	}
	return own, failures
}

// has returns the URL of the asking member to which a record leads, or nil if it leads to another member. A name that
// is written as the member writes it needs no name server.
func (own addresses) has(ctx context.Context, r Resolver, host, port string) (*url.URL, error) {
	for i := range own {
		if own[i].url.Port() == port && strings.EqualFold(own[i].url.Hostname(), host) {
			return &own[i].url, nil
		}
	}
	ips, err := resolve(ctx, r, host)
	if err != nil {
		return nil, err
	}
	for i := range own {
		if own[i].url.Port() == port && slices.ContainsFunc(own[i].ips, func(ip net.IP) bool { return slices.ContainsFunc(ips, ip.Equal) }) {
			return &own[i].url, nil
		}
	}
	return nil, nil
}

// refusal is a sentence that is also one of the sentinels of this package.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind: kind, text: fmt.Sprintf(format, args...)}
}

// because puts what went wrong on the way into brackets.
func because(failures []error) string {
	if len(failures) == 0 {
		return ""
	}
	texts := make([]string, len(failures))
	for i, err := range failures {
		texts[i] = err.Error()
	}
	return " (" + strings.Join(texts, "; ") + ")"
}
