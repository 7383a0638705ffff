package holdfast

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"slices"

	"go.uber.org/zap"

	"holdfast/internal/assembly"
	"holdfast/internal/config"
	"holdfast/internal/tlsconf"
)

// preparePeerTLS reads the certificates by which members know each other, once, and makes one if --peer-auto-tls says
// so. The data directory is open: it holds the one that is made.
func (m *Member) preparePeerTLS() error {
	c := &m.config
	if m.peerTLS != nil || !m.peersSpeakTLS() {
		return nil
	}
	cert, key := c.PeerCertFile, c.PeerKeyFile
	if cert == "" && c.PeerAutoTLS {
		hosts, everywhere := certificateHosts(c.ListenPeerURLs, c.InitialAdvertisePeerURLs)
		var extra []string
		if everywhere {
			extra = ownNames()
		}
		made := tlsconf.SelfSigned{
			FS:    m.fs,
			Dir:   m.fs.PathJoin(c.DataDir, "fixtures", "peer"),
			Chmod: assembly.Modes(m.fs).Set,
			Hosts: hosts,
			Extra: slices.DeleteFunc(extra, func(host string) bool { return slices.Contains(hosts, host) }),
			Years: int(c.SelfSignedCertValidity),
		}
		var err error
		var fresh bool
		if cert, key, fresh, err = made.Make(); err != nil {
			return fmt.Errorf("--peer-auto-tls: %w", err)
		}
		m.keepRenewing(made, "other members", cert)
		if fresh {
			m.logger.Info("made a certificate for the other members", zap.String("cert-file", cert), zap.Strings("hosts", hosts))
		}
	}
	oldest, newest := c.TLSVersions()
	var err error
	m.peerTLS, err = tlsconf.New(tlsconf.Options{
		FS:                 m.fs,
		CertFile:           cert,
		KeyFile:            key,
		CallCertFile:       c.PeerClientCertFile,
		CallKeyFile:        c.PeerClientKeyFile,
		ClientCertificates: c.PeerClientCertificates(),
		TrustedCAFile:      c.PeerTrustedCAFile,
		CRLFile:            c.PeerCRLFile,
		AllowedNames:       c.PeerCertAllowedHostnames,
		AllowedCommonNames: c.PeerCertAllowedCNs,
		CheckAddresses:     !c.PeerSkipClientSANVerification,
		TrustServers:       c.MakesPeerCertificate(),
		MinVersion:         oldest,
		MaxVersion:         newest,
		CipherSuites:       c.CipherSuiteIDs(),
		Logger:             m.logger.Named("peer-tls"),
	})
	if err != nil {
		return fmt.Errorf("%w; check --peer-cert-file, --peer-key-file, --peer-trusted-ca-file and --peer-crl-file", err)
	}
	return nil
}

// peersSpeakTLS reports whether another member may have to be called, or may call, by TLS. Members that are added later
// are not known here, so a certificate is enough.
func (m *Member) peersSpeakTLS() bool {
	c := &m.config
	secure := func(urls []url.URL) bool { return slices.ContainsFunc(urls, config.IsSecure) }
	return c.PeerCertFile != "" || c.PeerClientCertFile != "" || c.PeerAutoTLS || c.PeerTrustedCAFile != "" || c.DiscoverySRV != "" ||
		secure(c.ListenPeerURLs) || slices.ContainsFunc(c.InitialCluster, func(i config.InitialMember) bool { return secure(i.PeerURLs) })
}

// peerClientTLS returns the settings with which other members are called, by their host.
func (m *Member) peerClientTLS() func(host string) *tls.Config {
	if m.peerTLS == nil {
		return nil
	}
	return func(host string) *tls.Config {
		if m.config.DiscoverySRV != "" && m.config.PeerTrustedCAFile == "" {
			host = m.config.DiscoverySRV // as etcd: who is found by a domain proves to be of the domain
		}
		return m.peerTLS.ClientConfig(host)
	}
}

// peerServerTLS are the settings of the ports for other members.
func (m *Member) peerServerTLS() *tls.Config { return m.peerTLS.ServerConfig("http/1.1") }
