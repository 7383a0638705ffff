package holdfast

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"syscall"

	"go.uber.org/zap"

	"holdfast/internal/config"
	"holdfast/internal/server"
)

// port is an address at which clients are served.
type port struct {
	listener      net.Listener
	kind          server.Kind
	secure, plain bool // clients speak TLS; they do without it
}

// openPorts opens an address for each URL of clients; http and https URLs, or unix and unixs ones, may share it.
func (m *Member) openPorts() error {
	kind := server.Everything
	if len(m.config.ListenClientHTTPURLs) > 0 {
		kind = server.OnlyGRPC
	}
	return errors.Join(
		m.openPortsOf(m.config.ListenClientURLs, kind, "--listen-client-urls"),
		m.openPortsOf(m.config.ListenClientHTTPURLs, server.OnlyHTTP, "--listen-client-http-urls"),
		m.openPortsOf(m.config.ListenMetricsURLs, server.OnlyProbes, "--listen-metrics-urls"),
	)
}

func (m *Member) openPortsOf(urls []url.URL, kind server.Kind, setting string) error {
	byAddress := map[string]*port{}
	for _, u := range urls {
		network, address := addressOf(u)
		p := byAddress[network+address]
		if p == nil {
			l, err := m.listenAt(network, address)
			if err != nil {
				return fmt.Errorf("listen for clients at %s: %w; another process may be using the address, choose another with %s", u.String(), err, setting)
			}
			p = &port{listener: l, kind: kind}
			byAddress[network+address] = p
			m.ports = append(m.ports, p)
		}
		p.secure = p.secure || config.IsSecure(u)
		p.plain = p.plain || !config.IsSecure(u)
	}
	return nil
}

func addressOf(u url.URL) (network, address string) {
	if u.Scheme == "unix" || u.Scheme == "unixs" {
		return "unix", u.Host + u.Path
	}
	return "tcp", u.Host
}

// listen listens at an address. The socket that a member left behind when it was killed is replaced; one at which
// somebody answers is not.
//
// With reusePort a TCP port may be one at which another process listens with the same option.
func listen(network, address string, reusePort bool) (net.Listener, error) {
	var lc net.ListenConfig
	if reusePort && network == "tcp" {
		lc.Control = setReusePort
	}
	l, err := lc.Listen(context.Background(), network, address)
	if network != "unix" || !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	info, statErr := os.Lstat(address)
	if statErr != nil || info.Mode().Type() != fs.ModeSocket {
		return nil, err
	}
	conn, dialErr := net.Dial(network, address)
	if dialErr == nil {
		_ = conn.Close()
		return nil, err
	}
	if !errors.Is(dialErr, syscall.ECONNREFUSED) {
		return nil, err
	}
	if removeErr := os.Remove(address); removeErr != nil {
		return nil, errors.Join(err, removeErr)
	}
	return lc.Listen(context.Background(), network, address)
}

// servePorts serves clients at all ports, until the member stops.
func (m *Member) servePorts() {
	for _, p := range m.ports {
		address := zap.String("address", p.listener.Addr().String())
		var secure *tls.Config
		if p.secure {
			secure = m.tls.ServerConfig(server.Protocols(p.kind)...)
		}
		m.serving.Go(func() {
			if err := m.server.ServeKind(p.listener, secure, p.plain, p.kind); err != nil {
				m.node.Fail(fmt.Errorf("serve clients at %s: %w", p.listener.Addr(), err))
			}
		})
		if p.secure {
			m.logger.Info("serving client traffic securely", address)
		}
		if p.plain {
			m.logger.Info("serving client traffic insecurely; this is strongly discouraged outside of a trusted network", address)
		}
	}
}

// ClientEndpoints returns the addresses at which the member serves clients, as clients take them.
func (m *Member) ClientEndpoints() []string {
	var endpoints []string
	for _, p := range m.ports {
		if p.kind == server.OnlyHTTP || p.kind == server.OnlyProbes {
			continue
		}
		plain, secure := "http://", "https://"
		if p.listener.Addr().Network() == "unix" {
			plain, secure = "unix://", "unixs://"
		}
		if p.plain {
			endpoints = append(endpoints, plain+p.listener.Addr().String())
		}
		if p.secure {
			endpoints = append(endpoints, secure+p.listener.Addr().String())
		}
	}
	return endpoints
}

// speaksTLS reports whether a client URL asks for TLS.
func (m *Member) speaksTLS() bool {
	c := &m.config
	return slices.ContainsFunc(slices.Concat(c.ListenClientURLs, c.ListenClientHTTPURLs, c.ListenMetricsURLs), config.IsSecure)
}
