package tcpproxy

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/srv"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"
)

// Discovery says how endpoints are found in DNS, and which are taken if none is.
type Discovery struct {
	Domain   string // --discovery-srv; empty asks nobody
	Service  string // --discovery-srv-name
	Insecure bool   // take what DNS says; else only endpoints that show a certificate for the domain
	CAFile   string // who vouches for them
	Given    []string
}

// Find returns endpoints as URLs or host:port, with the SRV records of those that come from DNS, in the same order.
func (d Discovery) Find(logger *zap.Logger) (endpoints []string, records []*net.SRV, err error) {
	if d.Domain == "" {
		return d.Given, nil, nil
	}
	found, err := srv.GetClient("etcd-client", d.Domain, d.Service)
	if err != nil {
		return nil, nil, fmt.Errorf("look for the SRV records of %s: %w", d.Domain, err)
	}
	logger.Info("discovered cluster from SRV", zap.String("srv-server", d.Domain), zap.Strings("endpoints", found.Endpoints))
	if d.Insecure {
		return found.Endpoints, found.SRVs, nil
	}
	secure, err := transport.ValidateSecureEndpoints(transport.TLSInfo{TrustedCAFile: d.CAFile, ServerName: d.Domain}, found.Endpoints)
	if err != nil {
		logger.Warn("failed to validate discovered endpoints", zap.String("srv-server", d.Domain), zap.Strings("endpoints", found.Endpoints), zap.Error(err))
	}
	for i, endpoint := range found.Endpoints {
		for _, s := range secure {
			if s == endpoint {
				endpoints, records = append(endpoints, endpoint), append(records, found.SRVs[i])
				break
			}
		}
	}
	if len(endpoints) == 0 {
		return d.Given, nil, nil
	}
	return endpoints, records, nil
}

// Targets returns what Find has found as the targets of a Proxy.
func Targets(endpoints []string, records []*net.SRV) ([]Target, error) {
	var targets []Target
	for _, r := range records {
		targets = append(targets, Target{net.JoinHostPort(r.Target, strconv.Itoa(int(r.Port))), r.Priority, r.Weight})
	}
	if len(records) > 0 {
		return targets, nil
	}
	for _, endpoint := range endpoints {
		address := strings.TrimSpace(endpoint)
		if _, after, ok := strings.Cut(address, "://"); ok {
			address = after
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("error parsing endpoint %q: give host:port, or a URL with both", endpoint)
		}
		targets = append(targets, Target{Address: address})
	}
	if len(targets) == 0 {
		return nil, errors.New("no endpoints found")
	}
	return targets, nil
}

// checkNoLoop refuses a target that is the listener itself, whatever name it has there.
func checkNoLoop(listen string, targets []Target) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("failed to validate listen address %s: give host:port", listen)
	}
	own := map[string]bool{}
	addresses, err := net.LookupHost(orLocal(host))
	if err != nil {
		return fmt.Errorf("failed to resolve listen host %s: %w", host, err)
	}
	for _, a := range addresses {
		own[a] = true
	}
	for _, t := range targets {
		targetHost, targetPort, err := net.SplitHostPort(t.Address)
		if err != nil {
			return fmt.Errorf("error parsing endpoint %q: %w", t.Address, err)
		}
		addresses, err := net.LookupHost(orLocal(targetHost))
		if err != nil {
			return fmt.Errorf("failed to resolve endpoint host %s: %w", targetHost, err)
		}
		for _, a := range addresses {
			if targetPort == port && own[a] {
				return fmt.Errorf("SRV or endpoint (%s->%s:%s) should not resolve to the gateway listen addr (%s)", t.Address, a, port, listen)
			}
		}
	}
	return nil
}

// orLocal is the host that an address without one means to those who dial it.
func orLocal(host string) string {
	if host == "" {
		return "localhost"
	}
	return host
}
