package config

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"
)

// C3: settings of TLS that do not fit each other are refused, each with a sentence.
func TestSecurityRefusals(t *testing.T) {
	for _, c := range []struct{ program, args, want string }{
		{"holdfast", "--cert-file=c", "--key-file is not set"},
		{"holdfast", "--key-file=k", "--cert-file is not set"},
		{"holdfast", "--client-cert-file=c", "--client-key-file is not set"},
		{"holdfast", "--client-key-file=k", "--client-cert-file is not set"},
		{"holdfast", "--listen-client-urls=https://127.0.0.1:1", "there is no certificate for it"},
		{"etcd", "--listen-client-urls=unixs://s --advertise-client-urls=unixs://s", "there is no certificate for it"},
		{"holdfast", "--client-cert-auth", "--trusted-ca-file is not set"},
		{"holdfast", "--peer-cert-file=c", "--peer-key-file is not set"},
		{"holdfast", "--peer-key-file=k", "--peer-cert-file is not set"},
		{"holdfast", "--peer-client-cert-file=c", "--peer-client-key-file is not set"},
		{"etcd", "--peer-client-key-file=k", "--peer-client-cert-file is not set"},
		{"etcd", "--listen-peer-urls=https://127.0.0.1:1", "--listen-peer-urls has https://127.0.0.1:1, but there is no certificate for it"},
		{"holdfast", "--peer-client-cert-auth", "--peer-trusted-ca-file is not set"},
		{"etcd", "--peer-cert-allowed-cn=a --peer-cert-allowed-hostname=b", "are both set"},
		{"etcd", "--peer-auto-tls --peer-client-cert-auth", "nobody vouches for, but --peer-client-cert-auth asks"},
		{"holdfast", "--peer-auto-tls --peer-trusted-ca-file=a", "but --peer-trusted-ca-file asks"},
		{"holdfast", "--peer-auto-tls --peer-cert-allowed-cn=a", "but --peer-cert-allowed-cn asks"},
		{"holdfast", "--peer-auto-tls --peer-cert-allowed-hostname=a", "but --peer-cert-allowed-hostname asks"},
		{"holdfast", "--peer-auto-tls --peer-crl-file=a", "but --peer-crl-file asks"},
		{"holdfast", "--peer-auto-tls --peer-client-cert-file=a --peer-client-key-file=b", "but --peer-client-cert-file asks"},
		{"holdfast", "--tls-min-version=TLS1.3 --tls-max-version=TLS1.2", "which is older"},
		{"holdfast", "--tls-min-version=TLS1.1", "must be TLS1.2 or TLS1.3"},
		{"holdfast", "--tls-max-version=1.3", "must be TLS1.2 or TLS1.3"},
		{"holdfast", "--tls-min-version=TLS1.3 --cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "cannot be chosen"},
		{"holdfast", "--tls-max-version=TLS1.2 --cipher-suites=TLS_AES_128_GCM_SHA256", "names only suites of TLS 1.3"},
		{"holdfast", "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GMC_SHA256", "is none that is known; did you mean TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256?"},
		{"holdfast", "--cipher-suites=tls_ecdhe_ecdsa_with_aes_256_gcm_sha384", "did you mean TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384?"},
		{"holdfast", "--cipher-suites=TLS_RSA_WITH_RC4_128_SHA", "is insecure; did you mean TLS_"},
		{"holdfast", "--self-signed-cert-validity=0", "from 1 to 100"},
	} {
		_, _, err := Parse(c.program, strings.Fields(c.args), nil, nil)
		if !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v\n\twant %q", c.program, c.args, err, c.want)
		}
	}
}

// What is accepted but does less than one may think gives a warning.
func TestSecurityWarnings(t *testing.T) {
	const certificate = "--cert-file=c --key-file=k --listen-client-urls=https://127.0.0.1:1 --advertise-client-urls=https://127.0.0.1:1"
	const peer = "--peer-cert-file=c --peer-key-file=k --listen-peer-urls=https://127.0.0.1:2 --initial-advertise-peer-urls=https://127.0.0.1:2"
	for _, c := range []struct{ program, args, want string }{
		{"holdfast", certificate, ""},
		{"holdfast", peer, ""},
		{"holdfast", peer + " --peer-client-cert-auth --peer-trusted-ca-file=a --peer-crl-file=r --peer-cert-allowed-cn=n", ""},
		{"holdfast", peer + " --peer-auto-tls", "--peer-auto-tls is ignored"},
		{"holdfast", peer + " --peer-crl-file=r", "--peer-crl-file counts only for members that are called"},
		{"holdfast", peer + " --peer-cert-allowed-cn=r", "--peer-cert-allowed-cn counts only for members that are called"},
		{"holdfast", peer + " --peer-cert-allowed-hostname=r", "--peer-cert-allowed-hostname counts only for members that are called"},
		{"etcd", peer + " --peer-client-cert-auth", "every member comes in that an authority trusted by this operating system"},
		{"holdfast", "--peer-auto-tls", "any stranger"},
		{"holdfast", "--peer-cert-file=c --peer-key-file=k", "http://localhost:2380 speak without TLS"},
		{"holdfast", "--peer-trusted-ca-file=a", "http://localhost:2380 need no certificate"},
		{"holdfast", certificate + " --client-cert-auth --trusted-ca-file=a --client-crl-file=r --client-cert-allowed-hostname=h", ""},
		{"etcd", certificate + " --client-cert-auth", "an authority trusted by this operating system"},
		{"holdfast", certificate + " --auto-tls", "--auto-tls is ignored"},
		{"holdfast", certificate + " --trusted-ca-file=a", "does not make them a user"},
		{"holdfast", certificate + " --client-crl-file=a", "--client-crl-file is ignored"},
		{"holdfast", certificate + " --client-cert-allowed-hostname=h", "--client-cert-allowed-hostname is ignored"},
		{"holdfast", certificate + " --cipher-suites=TLS_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "always allowed: TLS_AES_128_GCM_SHA256."},
		{"holdfast", "--cert-file=c --key-file=k", "http://localhost:2379 speak without TLS"},
		{"holdfast", "--client-cert-auth --trusted-ca-file=a", "http://localhost:2379 need no certificate"},
	} {
		_, warnings, err := Parse(c.program, strings.Fields(c.args), nil, nil)
		if err != nil {
			t.Errorf("%s %s: %v", c.program, c.args, err)
			continue
		}
		var all []string
		for _, w := range warnings {
			all = append(all, string(w))
		}
		if text := strings.Join(all, "\n"); c.want == "" && text != "" || !strings.Contains(text, c.want) {
			t.Errorf("%s %s warns %q\n\twant %q", c.program, c.args, text, c.want)
		}
	}
}

// Versions and suites reach crypto/tls as they were named.
func TestSecurityValues(t *testing.T) {
	c, _ := mustParse(t, "holdfast", nil, nil, nil)
	if oldest, newest := c.TLSVersions(); oldest != tls.VersionTLS12 || newest != 0 || c.CipherSuiteIDs() != nil {
		t.Errorf("by default: %x, %x, %v", oldest, newest, c.CipherSuiteIDs())
	}
	c, _ = mustParse(t, "holdfast", []string{"--tls-min-version=", "--tls-max-version=TLS1.3",
		"--cipher-suites=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"}, nil, nil)
	if oldest, newest := c.TLSVersions(); oldest != tls.VersionTLS12 || newest != tls.VersionTLS13 {
		t.Errorf("versions: %x, %x", oldest, newest)
	}
	want := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}
	if got := c.CipherSuiteIDs(); !slices.Equal(got, want) {
		t.Errorf("suites: %x, want %x", got, want)
	}
}

// The settings of TLS in etcd's file stand in a mapping of their own.
func TestFileClientTransportSecurity(t *testing.T) {
	const content = `
client-transport-security:
  cert-file: c
  key-file: k
  client-cert-auth: true
  trusted-ca-file: a
  auto-tls: false
  allowed-hostname: [h, i]
  skip-client-san-verification: false
cipher-suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]
tls-min-version: TLS1.2
`
	c, _ := mustParse(t, "etcd", []string{"--config-file=c.yml"}, nil, file(content))
	if c.CertFile != "c" || c.KeyFile != "k" || !c.ClientCertAuth || c.TrustedCAFile != "a" || c.AutoTLS ||
		!slices.Equal(c.ClientCertAllowedHostnames, []string{"h", "i"}) || len(c.CipherSuites) != 1 {
		t.Errorf("%+v", c)
	}
	if _, _, err := Parse("etcd", []string{"--config-file=c.yml"}, nil, file("client-transport-security:\n")); err != nil {
		t.Error(err)
	}
}

// So do those between members.
func TestFilePeerTransportSecurity(t *testing.T) {
	const content = `
listen-peer-urls: https://127.0.0.1:2
initial-advertise-peer-urls: https://127.0.0.1:2
peer-transport-security:
  cert-file: c
  key-file: k
  client-cert-file: d
  client-key-file: l
  client-cert-auth: true
  trusted-ca-file: a
  auto-tls: false
  allowed-cn: [m, o]
  allowed-hostname:
  skip-client-san-verification: true
`
	c, _ := mustParse(t, "etcd", []string{"--config-file=c.yml"}, nil, file(content))
	if c.PeerCertFile != "c" || c.PeerKeyFile != "k" || c.PeerClientCertFile != "d" || c.PeerClientKeyFile != "l" || !c.PeerClientCertAuth ||
		c.PeerTrustedCAFile != "a" || c.PeerAutoTLS || !c.PeerSkipClientSANVerification || !slices.Equal(c.PeerCertAllowedCNs, []string{"m", "o"}) ||
		len(c.PeerCertAllowedHostnames) != 0 {
		t.Errorf("%+v", c)
	}
}
