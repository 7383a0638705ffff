// Package tlsconf makes the TLS settings of every listener of a member, and of its calls to other members, from its files:
// certificates, keys, trusted authorities and revocation list.
//
// Invariants:
//
//	T1  Every listener gets its settings from a Builder, so that no port is without a check that another has.
//	T2  A handshake that begins after a file has changed sees the new file. A new file that cannot be used, or that
//	    does not fit the others, changes nothing: the last good set stays, and the log says so, once.
//	T3  A certificate that is revoked, or that bears no allowed name, is refused in the handshake on every connection,
//	    whichever side opened it. Sessions are not resumed, so that none is checked less than the first one.
//	T4  No version below TLS 1.2 is spoken. No secret reaches a log or an error.
//
// Connections that are open stay as they were made when a file changes.
//
// Use:
//
//	b, err := tlsconf.New(tlsconf.Options{FS: fs, CertFile: "server.crt", KeyFile: "server.key"})
//	conn := tls.Server(accepted, b.ServerConfig("h2"))
//	conn = tls.Client(dialled, b.ClientConfig("host.example"))
package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// Options say where the files are and what is asked of clients.
type Options struct {
	// FS is where the files are read. It must not be nil.
	FS vfs.FS
	// CertFile and KeyFile are the server's certificate, with the intermediate ones after it, and its private key.
	// Both are PEM. Both are empty where nobody listens with the settings.
	CertFile, KeyFile string
	// CallCertFile and CallKeyFile are the certificate that is shown when another member is called; both empty means that
	// of the server.
	CallCertFile, CallKeyFile string
	// ClientCertificates demands a certificate of every client. It must be one that TrustedCAFile vouches for, or,
	// where there is no such file, one of the authorities that the operating system trusts.
	ClientCertificates bool
	// TrustedCAFile holds the authorities of the certificates of clients, and of the servers that are called, as PEM, or
	// is empty.
	TrustedCAFile string
	// CRLFile lists revoked certificates, as PEM or DER, or is empty.
	CRLFile string
	// AllowedNames are host names and IP addresses of which the other side's certificate must bear one, and
	// AllowedCommonNames common names of which it must bear one; none allows all.
	AllowedNames, AllowedCommonNames []string
	// CheckAddresses refuses a client whose certificate names hosts and IP addresses, but none that it comes from.
	CheckAddresses bool
	// TrustServers takes any certificate of a server that is called: the connection is secret, but nobody knows with
	// whom.
	TrustServers bool
	// MinVersion and MaxVersion bound the version of TLS, as in crypto/tls; 0 means TLS 1.2 and the newest.
	MinVersion, MaxVersion uint16
	// CipherSuites are those of TLS 1.2 that are allowed; none leaves the choice to crypto/tls.
	CipherSuites []uint16
	// Logger is told of files that have changed; nil logs nothing.
	Logger *zap.Logger
}

// Builder makes TLS settings. All methods may be called from any goroutine.
type Builder struct {
	o Options

	mu struct {
		sync.Mutex
		files      []*watched // as they were when they were last looked at
		untried    bool       // a file has changed since the last set was tried
		complained string     // the last complaint that was logged, so that it is logged once
	}
	material atomic.Pointer[material] // the last good set
	resolver resolver
}

// The files of a builder, in the order of mu.files.
const (
	certFile = iota
	keyFile
	callCertFile
	callKeyFile
	caFile
	crlFile
	fileCount
)

// ErrFiles means that a file cannot be read or used; the error says which and why.
var ErrFiles = errors.New("the files for TLS cannot be used")

// New reads the files and returns a Builder of them. The error is ErrFiles and names the file that is wrong.
func New(o Options) (*Builder, error) {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.MinVersion < tls.VersionTLS12 {
		o.MinVersion = tls.VersionTLS12
	}
	b := &Builder{o: o, resolver: net.DefaultResolver}
	b.mu.files = make([]*watched, fileCount)
	for i, path := range []string{o.CertFile, o.KeyFile, o.CallCertFile, o.CallKeyFile, o.TrustedCAFile, o.CRLFile} {
		b.mu.files[i] = &watched{fs: o.FS, path: path}
	}
	b.mu.untried = true // also without any file there is a set
	m, err := b.look()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFiles, err)
	}
	b.material.Store(m)
	return b, nil
}

// Certificate returns the certificate that the server shows at present, and nil if it has none.
func (b *Builder) Certificate() *x509.Certificate { return b.current().certificate.Leaf }

// ServerConfig returns the settings of a listener that speaks the given protocols over TLS (ALPN), the one that it
// likes best first. The caller must not change what it gets.
func (b *Builder) ServerConfig(protocols ...string) *tls.Config {
	type made struct {
		of     *material
		config *tls.Config
	}
	var last atomic.Pointer[made]
	return &tls.Config{
		MinVersion:             b.o.MinVersion,
		SessionTicketsDisabled: true,
		GetConfigForClient: func(client *tls.ClientHelloInfo) (*tls.Config, error) {
			m := b.current()
			l := last.Load()
			if l == nil || l.of != m {
				l = &made{m, b.serverConfig(m, protocols)}
				last.Store(l)
			}
			if !b.o.CheckAddresses {
				return l.config, nil
			}
			config := l.config.Clone()
			config.VerifyConnection = func(s tls.ConnectionState) error {
				if err := b.verify(m, s, clientSide); err != nil {
					return err
				}
				return b.checkAddress(client.Context(), s, client.Conn.RemoteAddr())
			}
			return config, nil
		},
	}
}

func (b *Builder) serverConfig(m *material, protocols []string) *tls.Config {
	c := &tls.Config{
		Certificates:           []tls.Certificate{m.certificate},
		ClientCAs:              m.authorities,
		MinVersion:             b.o.MinVersion,
		MaxVersion:             b.o.MaxVersion,
		CipherSuites:           b.o.CipherSuites,
		NextProtos:             protocols,
		SessionTicketsDisabled: true, // T3; a ticket would outlive the authorities and the list of revoked ones
		VerifyConnection:       func(s tls.ConnectionState) error { return b.verify(m, s, clientSide) },
	}
	if b.o.ClientCertificates {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c
}

// current returns the set of now, after a look at the files.
func (b *Builder) current() *material {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, err := b.look()
	if err != nil {
		if text := err.Error(); text != b.mu.complained {
			b.mu.complained = text
			b.o.Logger.Warn("a file for TLS cannot be used; the one before stays in use", zap.Error(err))
		}
		return b.material.Load()
	}
	b.mu.complained = ""
	if m == nil {
		return b.material.Load()
	}
	b.material.Store(m)
	if m.shown() == nil {
		b.o.Logger.Info("the files for TLS have changed and are in use for new connections")
		return m
	}
	b.o.Logger.Info("the files for TLS have changed and are in use for new connections",
		zap.String("certificate", describe(m.shown())), zap.Time("not-after", m.shown().NotAfter))
	return m
}

// look reads the files that may have changed, and returns the new set if there is one to try. Its caller holds mu or
// is New.
func (b *Builder) look() (*material, error) {
	var failed error
	for _, f := range b.mu.files {
		changed, err := f.look()
		b.mu.untried = b.mu.untried || changed
		failed = errors.Join(failed, err)
	}
	if failed != nil || !b.mu.untried {
		return nil, failed
	}
	contents, err := b.contents()
	if err != nil {
		return nil, err
	}
	b.mu.untried = false // what does not fit is not parsed again in every handshake
	return b.load(contents)
}

// describe names a certificate for people.
func describe(c *x509.Certificate) string {
	name := c.Subject.String()
	if name == "" {
		name = strings.Join(c.DNSNames, ", ")
	}
	return fmt.Sprintf("%s, serial number %x, valid until %s", name, c.SerialNumber, c.NotAfter.UTC().Format(time.DateOnly))
}
