package holdfast

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"holdfast/internal/assembly"
	"holdfast/internal/tlsconf"
)

// loadCertificate reads the certificate that the settings name, before anything else is touched.
func (m *Member) loadCertificate(fs vfs.FS) error {
	if !m.speaksTLS() || m.config.CertFile == "" {
		return nil
	}
	return m.useCertificate(fs, m.config.CertFile, m.config.KeyFile)
}

// makeCertificate makes the member's own certificate in the data directory, if the settings name none.
func (m *Member) makeCertificate(fs vfs.FS) error {
	c := &m.config
	if !m.speaksTLS() || c.CertFile != "" {
		return nil
	}
	hosts, everywhere := certificateHosts(c.ListenClientURLs, c.AdvertiseClientURLs)
	extra := []string{"localhost", "127.0.0.1", "::1"}
	if everywhere {
		extra = append(extra, ownNames()...)
	}
	own := tlsconf.SelfSigned{
		FS:    fs,
		Dir:   fs.PathJoin(c.DataDir, "fixtures", "client"),
		Chmod: assembly.Modes(fs).Set,
		Hosts: hosts,
		Extra: slices.DeleteFunc(extra, func(host string) bool { return slices.Contains(hosts, host) }),
		Years: int(c.SelfSignedCertValidity),
	}
	cert, key, made, err := own.Make()
	if err != nil {
		return fmt.Errorf("--auto-tls: %w", err)
	}
	if made {
		m.logger.Info("made a certificate; clients trust this member by the file", zap.String("cert-file", cert), zap.Strings("hosts", hosts))
	}
	m.trustFile = cert
	if err := m.useCertificate(fs, cert, key); err != nil {
		return err
	}
	m.keepRenewing(own, "clients", cert)
	return nil
}

// keepRenewing renews a certificate that the member has made before it ends, until the member stops.
func (m *Member) keepRenewing(own tlsconf.SelfSigned, whose, cert string) {
	ctx, cancel := context.WithCancel(context.Background())
	m.stopRenewing = append(m.stopRenewing, cancel)
	m.renewing.Go(func() {
		own.Renew(ctx, func(err error) {
			if err != nil {
				m.logger.Warn("could not renew the certificate that this member has made; it is tried again in an hour", zap.String("for", whose), zap.Error(err))
				return
			}
			m.logger.Info("renewed the certificate that this member has made; who trusts it by a copy of the file needs the new one before the old one ends",
				zap.String("for", whose), zap.String("cert-file", cert))
		})
	})
}

// endRenewing ends what keepRenewing has begun.
func (m *Member) endRenewing() {
	for _, stop := range m.stopRenewing {
		stop()
	}
	m.renewing.Wait()
}

func (m *Member) useCertificate(fs vfs.FS, cert, key string) (err error) {
	c := &m.config
	oldest, newest := c.TLSVersions()
	m.tls, err = tlsconf.New(tlsconf.Options{
		FS:                 fs,
		CertFile:           cert,
		KeyFile:            key,
		ClientCertificates: c.ClientCertificates(),
		TrustedCAFile:      c.TrustedCAFile,
		CRLFile:            c.ClientCRLFile,
		AllowedNames:       c.ClientCertAllowedHostnames,
		MinVersion:         oldest,
		MaxVersion:         newest,
		CipherSuites:       c.CipherSuiteIDs(),
		Logger:             m.logger.Named("tls"),
	})
	if err != nil {
		return fmt.Errorf("%w; check --cert-file, --key-file, --trusted-ca-file and --client-crl-file", err)
	}
	until := m.tls.Certificate().NotAfter
	switch left := time.Until(until); {
	case left < 0:
		m.logger.Warn("the certificate has expired: clients will refuse this member until there is a new one in the same file", zap.String("cert-file", cert), zap.Time("not-after", until))
	case left < certificateNotice:
		m.logger.Warn("the certificate will expire soon; put a new one into the same file before", zap.String("cert-file", cert), zap.Time("not-after", until))
	}
	return nil
}

// certificateNotice is how long before the end of the certificate the log begins to say so at the start.
const certificateNotice = 7 * 24 * time.Hour

// certificateHosts returns the hosts of URLs, and whether one of them stands for every address of this machine. The
// host of a unix socket is the name of its file: that is what clientv3 expects in a certificate.
func certificateHosts(lists ...[]url.URL) (hosts []string, everywhere bool) {
	for _, u := range slices.Concat(lists...) {
		host := u.Hostname()
		switch u.Scheme {
		case "unix":
			continue
		case "unixs":
			host = path.Base(u.Host + u.Path)
		}
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			everywhere = true
			continue
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts, everywhere
}

// ownNames returns the addresses of this machine and its name.
func ownNames() (names []string) {
	addresses, _ := net.InterfaceAddrs() // without them clients have to use a name
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() {
			names = append(names, n.IP.String())
		}
	}
	if name, err := os.Hostname(); err == nil && name != "localhost" {
		names = append(names, name)
	}
	return names
}

// TrustFile returns the file that clients trust the member by (--cacert), if it has made its certificate itself, or
// nothing.
func (m *Member) TrustFile() string { return m.trustFile }

// describeTLS says which certificate clients see, and whether they need one.
func (m *Member) describeTLS() []string {
	if m.tls == nil {
		return nil
	}
	file := m.config.CertFile
	if m.trustFile != "" {
		file = m.trustFile
	}
	lines := []string{fmt.Sprintf("TLS by the certificate %s, valid until %s.", file, m.tls.Certificate().NotAfter.UTC().Format(time.DateOnly))}
	if m.trustFile != "" {
		lines = append(lines, fmt.Sprintf("Clients trust this member with --cacert=%s.", m.trustFile))
	}
	if m.config.ClientCertificates() {
		lines = append(lines, fmt.Sprintf("Clients need a certificate that %s vouches for.", orSystem(m.config.TrustedCAFile)))
	}
	return lines
}

func orSystem(file string) string {
	if file == "" {
		return "an authority of this operating system"
	}
	return file
}
