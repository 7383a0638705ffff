package config

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// IsSecure reports whether clients speak TLS at a URL.
func IsSecure(u url.URL) bool { return u.Scheme == "https" || u.Scheme == "unixs" }

// ClientCertificates reports whether clients that speak TLS need a certificate. As in etcd, naming their authorities
// is enough.
func (c *Config) ClientCertificates() bool { return c.ClientCertAuth || c.TrustedCAFile != "" }

// PeerClientCertificates reports whether members that call need a certificate. As in etcd, naming their authorities is
// enough.
func (c *Config) PeerClientCertificates() bool {
	return c.PeerClientCertAuth || c.PeerTrustedCAFile != ""
}

// TLSVersions returns the bounds of the version of TLS, as in crypto/tls; newest is 0 where there is no bound.
func (c *Config) TLSVersions() (oldest, newest uint16) {
	oldest, newest = tlsVersions[c.TLSMinVersion], tlsVersions[c.TLSMaxVersion]
	return max(oldest, tls.VersionTLS12), newest
}

// CipherSuiteIDs returns the cipher suites as crypto/tls numbers them; none means that it chooses.
func (c *Config) CipherSuiteIDs() []uint16 {
	var ids []uint16
	for _, name := range c.CipherSuites {
		if suite := findSuite(tls.CipherSuites(), name); suite != nil {
			ids = append(ids, suite.ID)
		}
	}
	return ids
}

// tlsVersions are the values of tls-min-version and tls-max-version.
var tlsVersions = map[string]uint16{"": 0, "TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13}

func versionKnown(version string) string {
	if _, ok := tlsVersions[version]; !ok {
		return "must be TLS1.2 or TLS1.3"
	}
	return ""
}

// oldSuiteNames are names that Go had before, and that etcd takes.
var oldSuiteNames = map[string]string{
	"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305":   "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
}

func findSuite(suites []*tls.CipherSuite, name string) *tls.CipherSuite {
	if now, ok := oldSuiteNames[name]; ok {
		name = now
	}
	i := slices.IndexFunc(suites, func(s *tls.CipherSuite) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return suites[i]
}

// suitesKnown complains of a cipher suite that is not known, or not safe, with the nearest one that is both.
func suitesKnown(c *Config) string {
	for _, name := range c.CipherSuites {
		if findSuite(tls.CipherSuites(), name) != nil {
			continue
		}
		flaw := "is none that is known"
		if findSuite(tls.InsecureCipherSuites(), name) != nil {
			flaw = "is insecure"
		}
		return fmt.Sprintf("%s %s; did you mean %s?", name, flaw, nearestSuite(name))
	}
	return ""
}

func nearestSuite(name string) string {
	best, bestDistance := "", 0
	for _, s := range tls.CipherSuites() {
		if !slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			continue
		}
		if d := distance(strings.ToUpper(name[:min(len(name), 64)]), s.Name); best == "" || d < bestDistance {
			best, bestDistance = s.Name, d
		}
	}
	return best
}

// checkSecurity refuses settings of TLS that do not fit each other.
func (c *Config) checkSecurity() error {
	for _, pair := range []struct{ cert, key, certFlag, keyFlag string }{
		{c.CertFile, c.KeyFile, "--cert-file", "--key-file"},
		{c.ClientCertFile, c.ClientKeyFile, "--client-cert-file", "--client-key-file"},
		{c.PeerCertFile, c.PeerKeyFile, "--peer-cert-file", "--peer-key-file"},
		{c.PeerClientCertFile, c.PeerClientKeyFile, "--peer-client-cert-file", "--peer-client-key-file"},
	} {
		if pair.key == "" && pair.cert != "" {
			return valueError("%s is %q, but %s is not set: a certificate is of use only with its private key", pair.certFlag, pair.cert, pair.keyFlag)
		}
		if pair.cert == "" && pair.key != "" {
			return valueError("%s is %q, but %s is not set: a private key is of use only with its certificate", pair.keyFlag, pair.key, pair.certFlag)
		}
	}
	for setting, urls := range map[string][]url.URL{
		"--listen-client-urls":      c.ListenClientURLs,
		"--listen-client-http-urls": c.ListenClientHTTPURLs,
		"--listen-metrics-urls":     c.ListenMetricsURLs,
	} {
		if i := slices.IndexFunc(urls, IsSecure); i >= 0 && c.CertFile == "" && !c.AutoTLS {
			return valueError("%s has %s, but there is no certificate for it: set --cert-file and --key-file, "+
				"or --auto-tls to have one made", setting, urls[i].String())
		}
	}
	if c.ClientCertAuth && c.TrustedCAFile == "" && c.Program != etcdProgram {
		return valueError("--client-cert-auth is on, but --trusted-ca-file is not set: without it every client could come in " +
			"that any of the public authorities of the Internet has given a certificate")
	}
	if err := c.checkPeerSecurity(); err != nil {
		return err
	}
	oldest, newest := c.TLSVersions()
	if newest != 0 && oldest > newest {
		return valueError("--tls-min-version is %s, but --tls-max-version is %s, which is older", c.TLSMinVersion, c.TLSMaxVersion)
	}
	if oldest == tls.VersionTLS13 && len(c.CipherSuites) > 0 {
		return valueError("--cipher-suites is set, but --tls-min-version is TLS1.3, whose cipher suites cannot be chosen: leave one of the two out")
	}
	if ids := c.CipherSuiteIDs(); len(ids) > 0 && newest == tls.VersionTLS12 && len(c.uselessSuites()) == len(ids) {
		return valueError("--cipher-suites names only suites of TLS 1.3, but --tls-max-version is TLS1.2")
	}
	return nil
}

// uselessSuites are the cipher suites that are listed but belong to TLS 1.3, where none can be chosen.
func (c *Config) uselessSuites() []string {
	var useless []string
	for _, name := range c.CipherSuites {
		if s := findSuite(tls.CipherSuites(), name); s != nil && !slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			useless = append(useless, name)
		}
	}
	return useless
}

// securityWarnings says which settings of TLS do less than one may think.
func (c *Config) securityWarnings() []Warning {
	var warnings []Warning
	warn := func(format string, args ...any) { warnings = append(warnings, Warning(fmt.Sprintf(format, args...))) }
	for _, u := range c.ListenClientURLs {
		if IsSecure(u) {
			continue
		}
		if c.CertFile != "" {
			warn("Clients at %s speak without TLS, although --cert-file is set: write https:// (or unixs://) for TLS.", u.String())
		}
		if c.ClientCertificates() {
			warn("Clients at %s need no certificate, although one is asked for: they speak without TLS there.", u.String())
		}
	}
	if c.AutoTLS && c.CertFile != "" {
		warn("--auto-tls is ignored: --cert-file is stronger.")
	}
	if c.ClientCertAuth && c.TrustedCAFile == "" {
		warn("--client-cert-auth is on without --trusted-ca-file: every client comes in that an authority trusted by this " +
			"operating system has given a certificate.")
	}
	if !c.ClientCertAuth && c.TrustedCAFile != "" {
		warn("--trusted-ca-file is set without --client-cert-auth: clients need a certificate, but it does not make them a user.")
	}
	if !c.ClientCertificates() && c.ClientCRLFile != "" {
		warn("--client-crl-file is ignored: clients are asked for no certificate without --client-cert-auth and --trusted-ca-file.")
	}
	if !c.ClientCertificates() && len(c.ClientCertAllowedHostnames) > 0 {
		warn("--client-cert-allowed-hostname is ignored: clients are asked for no certificate without --client-cert-auth and --trusted-ca-file.")
	}
	warnings = append(warnings, c.peerSecurityWarnings()...)
	if useless := c.uselessSuites(); len(useless) > 0 {
		warn("--cipher-suites names suites of TLS 1.3, which cannot be chosen and are always allowed: %s.", strings.Join(useless, ", "))
	}
	return warnings
}
