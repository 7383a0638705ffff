package config

import (
	"fmt"
	"slices"
)

// checkPeerSecurity refuses settings of TLS between members that do not fit each other.
func (c *Config) checkPeerSecurity() error {
	if i := slices.IndexFunc(c.ListenPeerURLs, IsSecure); i >= 0 && c.PeerCertFile == "" && !c.PeerAutoTLS {
		return valueError("--listen-peer-urls has %s, but there is no certificate for it: set --peer-cert-file and --peer-key-file, "+
			"or --peer-auto-tls to have one made", c.ListenPeerURLs[i].String())
	}
	if len(c.PeerCertAllowedCNs) > 0 && len(c.PeerCertAllowedHostnames) > 0 {
		return valueError("--peer-cert-allowed-cn and --peer-cert-allowed-hostname are both set: only one of the two can be asked of certificates")
	}
	if c.PeerClientCertAuth && c.PeerTrustedCAFile == "" && !c.MakesPeerCertificate() && c.Program != etcdProgram {
		return valueError("--peer-client-cert-auth is on, but --peer-trusted-ca-file is not set: without it every stranger could come in " +
			"as a member that any of the public authorities of the Internet has given a certificate")
	}
	if !c.MakesPeerCertificate() {
		return nil
	}
	for _, s := range []struct {
		flag string
		set  bool
	}{
		{"--peer-client-cert-auth", c.PeerClientCertAuth},
		{"--peer-trusted-ca-file", c.PeerTrustedCAFile != ""},
		{"--peer-client-cert-file", c.PeerClientCertFile != ""},
		{"--peer-cert-allowed-cn", len(c.PeerCertAllowedCNs) > 0},
		{"--peer-cert-allowed-hostname", len(c.PeerCertAllowedHostnames) > 0},
		{"--peer-crl-file", c.PeerCRLFile != ""},
	} {
		if s.set {
			return valueError("--peer-auto-tls makes a certificate that nobody vouches for, but %s asks who the others are: "+
				"set --peer-cert-file and --peer-key-file instead of --peer-auto-tls", s.flag)
		}
	}
	return nil
}

// MakesPeerCertificate reports whether the member makes the certificate itself that other members see.
func (c *Config) MakesPeerCertificate() bool { return c.PeerAutoTLS && c.PeerCertFile == "" }

// peerSecurityWarnings says which settings of TLS between members do less than one may think.
func (c *Config) peerSecurityWarnings() []Warning {
	var warnings []Warning
	warn := func(format string, args ...any) { warnings = append(warnings, Warning(fmt.Sprintf(format, args...))) }
	for _, u := range c.ListenPeerURLs {
		if IsSecure(u) {
			continue
		}
		if c.PeerCertFile != "" {
			warn("Members that call at %s speak without TLS, although --peer-cert-file is set: write https:// (or unixs://) for TLS.", u.String())
		}
		if c.PeerClientCertificates() {
			warn("Members that call at %s need no certificate, although one is asked for: they speak without TLS there.", u.String())
		}
	}
	if c.PeerAutoTLS && c.PeerCertFile != "" {
		warn("--peer-auto-tls is ignored: --peer-cert-file is stronger.")
	}
	if c.MakesPeerCertificate() {
		warn("--peer-auto-tls: what members say to each other is secret, but any stranger who reaches the peer URLs may pass for a member.")
	}
	if c.PeerClientCertAuth && c.PeerTrustedCAFile == "" {
		warn("--peer-client-cert-auth is on without --peer-trusted-ca-file: every member comes in that an authority trusted by this " +
			"operating system has given a certificate.")
	}
	if !c.PeerClientCertificates() && slices.ContainsFunc(c.ListenPeerURLs, IsSecure) && !c.MakesPeerCertificate() {
		for _, s := range []struct {
			flag string
			set  bool
		}{
			{"--peer-crl-file", c.PeerCRLFile != ""},
			{"--peer-cert-allowed-cn", len(c.PeerCertAllowedCNs) > 0},
			{"--peer-cert-allowed-hostname", len(c.PeerCertAllowedHostnames) > 0},
		} {
			if s.set {
				warn("%s counts only for members that are called: those that call are asked for no certificate without "+
					"--peer-client-cert-auth and --peer-trusted-ca-file.", s.flag)
			}
		}
	}
	return warnings
}
