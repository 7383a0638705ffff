package tlsconf

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"holdfast/internal/servertest"
)

// files is a directory in memory with what a server needs.
type files struct {
	t  testing.TB
	fs vfs.FS
}

func (f files) write(name string, content []byte) {
	f.t.Helper()
	w, err := f.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := w.Write(bytes.Clone(content)); err != nil { // with the race detector the file spoils what it is given
		f.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.t.Fatal(err)
	}
}

func (f files) pair(p servertest.Pair) {
	f.write("s.crt", p.Cert)
	f.write("s.key", p.Key)
}

// shake makes a handshake and returns what either side says to it.
func shake(t testing.TB, server, client *tls.Config) (shown *x509.Certificate, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(a, server)
		err := s.HandshakeContext(ctx)
		if err == nil {
			_, err = s.Write([]byte{1}) // with TLS 1.3 the client learns of a refusal only when it reads
		}
		done <- err
	}()
	c := tls.Client(b, client)
	clientErr = c.HandshakeContext(ctx)
	if clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1))
	}
	_ = b.Close()
	if certificates := c.ConnectionState().PeerCertificates; len(certificates) > 0 {
		shown = certificates[0]
	}
	return shown, <-done, clientErr
}

func named(c *tls.Config, name string) *tls.Config {
	c.ServerName = name
	return c
}

func mustNew(t testing.TB, o Options) *Builder {
	t.Helper()
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A client comes in exactly if the authority, the dates, the names and the revocation list agree (T3).
func TestWhoComesIn(t *testing.T) {
	f := files{t, vfs.NewMem()}
	ca, stranger := servertest.NewAuthority(t), servertest.NewAuthority(t)
	server := ca.Issue(servertest.Leaf{Name: "server", Hosts: []string{"member.example"}})
	good := ca.Issue(servertest.Leaf{Name: "good", Hosts: []string{"client.example", "10.0.0.1"}})
	revoked := ca.Issue(servertest.Leaf{Name: "revoked", Hosts: []string{"client.example"}})
	f.pair(server)
	f.write("ca.crt", ca.PEM)
	f.write("crl.der", ca.Revoke(revoked))
	f.write("crl.pem", pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: ca.Revoke(revoked)}))
	open := Options{FS: f.fs, CertFile: "s.crt", KeyFile: "s.key"}
	mutual := open
	mutual.ClientCertificates, mutual.TrustedCAFile = true, "ca.crt"
	with := func(o Options, change func(*Options)) Options { change(&o); return o }
	der := with(mutual, func(o *Options) { o.CRLFile = "crl.der" })
	inPEM := with(mutual, func(o *Options) { o.CRLFile = "crl.pem" })
	allowed := with(mutual, func(o *Options) { o.AllowedNames = []string{"other.example", "client.example"} })
	allowedIP := with(mutual, func(o *Options) { o.AllowedNames = []string{"10.0.0.1"} })
	for _, c := range []struct {
		what   string
		o      Options
		client *tls.Config
		server string // what the server says; empty means that the client comes in
	}{
		{"no certificate asked", open, ca.Client(), ""},
		{"no certificate asked, one shown", open, ca.Client(good), ""},
		{"one asked and shown", mutual, ca.Client(good), ""},
		{"one asked, none shown", mutual, ca.Client(), "didn't provide a certificate"},
		{"a stranger's", mutual, ca.Client(stranger.Issue(servertest.Leaf{Name: "x"})), "unknown authority"},
		{"an expired one", mutual, ca.Client(ca.Issue(servertest.Leaf{Name: "x", Expired: true})), "expired"},
		{"one of tomorrow", mutual, ca.Client(ca.Issue(servertest.Leaf{Name: "x", From: time.Now().Add(time.Hour)})), "not yet valid"},
		{"not revoked", der, ca.Client(good), ""},
		{"revoked, DER", der, ca.Client(revoked), "is revoked"},
		{"revoked, PEM", inPEM, ca.Client(revoked), "is revoked"},
		{"an allowed name", allowed, ca.Client(good), ""},
		{"an allowed address", allowedIP, ca.Client(good), ""},
		{"no allowed name", allowed, ca.Client(ca.Issue(servertest.Leaf{Name: "client.example"})), "bears none of the allowed names"},
		{"no allowed address", allowedIP, ca.Client(revoked), "bears none of the allowed names"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client := named(c.client.Clone(), "member.example")
			client.MaxVersion = version
			_, serverErr, clientErr := shake(t, mustNew(t, c.o).ServerConfig(), client)
			switch {
			case c.server == "":
				if serverErr != nil || clientErr != nil {
					t.Errorf("%s, %x: refused: %v; %v", c.what, version, serverErr, clientErr)
				}
			case serverErr == nil || !strings.Contains(serverErr.Error(), c.server) || clientErr == nil:
				t.Errorf("%s, %x: %v; %v\n\twant %q", c.what, version, serverErr, clientErr, c.server)
			}
		}
	}
	// The client's side of it: another name, another authority.
	b := mustNew(t, open)
	if _, _, err := shake(t, b.ServerConfig(), named(ca.Client(), "other.example")); err == nil || !strings.Contains(err.Error(), "other.example") {
		t.Errorf("a client that wants another name: %v", err)
	}
	if _, _, err := shake(t, b.ServerConfig(), named(stranger.Client(), "member.example")); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a client that trusts another authority: %v", err)
	}
}

// The revocation list holds on every listener, whatever it speaks: etcd's gRPC port did not look at it when HTTP had
// a port of its own.
func TestGHSA_3wh4_j44w_pg92(t *testing.T) {
	f := files{t, vfs.NewMem()}
	ca := servertest.NewAuthority(t)
	revoked := ca.Issue(servertest.Leaf{Name: "revoked"})
	f.pair(ca.Issue(servertest.Leaf{Name: "server", Hosts: []string{"h"}}))
	f.write("ca.crt", ca.PEM)
	f.write("crl", ca.Revoke(revoked))
	b := mustNew(t, Options{FS: f.fs, CertFile: "s.crt", KeyFile: "s.key", ClientCertificates: true, TrustedCAFile: "ca.crt", CRLFile: "crl"})
	for _, protocols := range [][]string{nil, {"h2"}, {"http/1.1"}, {"http/1.1", "h2"}} {
		client := named(ca.Client(revoked), "h")
		client.NextProtos = protocols
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		if _, err, _ := shake(t, b.ServerConfig(protocols...), client); err == nil || !strings.Contains(err.Error(), "is revoked") {
			t.Errorf("%q: a revoked certificate comes in: %v", protocols, err)
		}
	}
}

// A session is not resumed: a certificate that is revoked after the first connection is refused on the second (T3).
func TestNoResumption(t *testing.T) {
	f := files{t, vfs.NewMem()}
	ca := servertest.NewAuthority(t)
	pair := ca.Issue(servertest.Leaf{Name: "later"})
	f.pair(ca.Issue(servertest.Leaf{Name: "server", Hosts: []string{"h"}}))
	f.write("ca.crt", ca.PEM)
	f.write("crl", ca.Revoke())
	b := mustNew(t, Options{FS: f.fs, CertFile: "s.crt", KeyFile: "s.key", ClientCertificates: true, TrustedCAFile: "ca.crt", CRLFile: "crl"})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		f.write("crl", ca.Revoke())
		client := named(ca.Client(pair), "h")
		client.MaxVersion = version
		client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		if _, s, c := shake(t, b.ServerConfig(), client); s != nil || c != nil {
			t.Fatal(s, c)
		}
		f.write("crl", ca.Revoke(pair))
		if _, err, _ := shake(t, b.ServerConfig(), client); err == nil || !strings.Contains(err.Error(), "is revoked") {
			t.Errorf("%x: %v", version, err)
		}
	}
}

// Versions and cipher suites are kept within their bounds (T4).
func TestVersionsAndSuites(t *testing.T) {
	f := files{t, vfs.NewMem()}
	ca := servertest.NewAuthority(t)
	f.pair(ca.Issue(servertest.Leaf{Hosts: []string{"h"}}))
	open := Options{FS: f.fs, CertFile: "s.crt", KeyFile: "s.key"}
	for _, c := range []struct {
		serverMin, serverMax, clientMin, clientMax uint16
		serverSuite, clientSuite                   uint16
		ok                                         bool
	}{
		{0, 0, 0, 0, 0, 0, true},
		{0, 0, tls.VersionTLS10, tls.VersionTLS11, 0, 0, false},
		{tls.VersionTLS10, 0, tls.VersionTLS10, tls.VersionTLS11, 0, 0, false},
		{0, 0, 0, tls.VersionTLS12, 0, 0, true},
		{tls.VersionTLS13, 0, 0, tls.VersionTLS12, 0, 0, false},
		{tls.VersionTLS13, 0, 0, 0, 0, 0, true},
		{0, tls.VersionTLS12, tls.VersionTLS13, 0, 0, 0, false},
		{0, tls.VersionTLS12, 0, 0, 0, 0, true},
		{0, 0, 0, tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, true},
		{0, 0, 0, tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, false},
	} {
		o, client := open, named(ca.Client(), "h")
		o.MinVersion, o.MaxVersion, client.MinVersion, client.MaxVersion = c.serverMin, c.serverMax, c.clientMin, c.clientMax
		if c.serverSuite != 0 {
			o.CipherSuites, client.CipherSuites = []uint16{c.serverSuite}, []uint16{c.clientSuite}
		}
		_, _, err := shake(t, mustNew(t, o).ServerConfig(), client)
		if (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A changed file is seen by the next handshake; a broken one changes nothing and is complained of once (T2).
func TestFilesAreReadAgain(t *testing.T) {
	f := files{t, vfs.NewMem()}
	core, logged := observer.New(zap.InfoLevel)
	ca, next := servertest.NewAuthority(t), servertest.NewAuthority(t)
	first, second := ca.Issue(servertest.Leaf{Hosts: []string{"h"}}), ca.Issue(servertest.Leaf{Hosts: []string{"h"}})
	client, nextClient := ca.Issue(servertest.Leaf{Name: "a"}), next.Issue(servertest.Leaf{Name: "b"})
	f.pair(first)
	f.write("ca.crt", ca.PEM)
	b := mustNew(t, Options{FS: f.fs, CertFile: "s.crt", KeyFile: "s.key", ClientCertificates: true, TrustedCAFile: "ca.crt", Logger: zap.New(core)})
	config := b.ServerConfig()
	expect := func(what string, client servertest.Pair, want servertest.Pair, in bool) {
		t.Helper()
		shown, serverErr, clientErr := shake(t, config, named(ca.Client(client), "h"))
		if (serverErr == nil && clientErr == nil) != in {
			t.Errorf("%s: %v; %v", what, serverErr, clientErr)
		}
		if shown == nil || shown.SerialNumber.Cmp(want.Serial) != 0 {
			t.Errorf("%s: another certificate is shown", what)
		}
	}
	expect("at first", client, first, true)
	f.write("s.crt", second.Cert)
	for range 3 {
		expect("a certificate without its key", client, first, true)
	}
	f.write("s.key", second.Key)
	expect("with its key", client, second, true)
	for range 3 {
		f.write("ca.crt", []byte("nonsense"))
		expect("nonsense for authorities", client, second, true)
	}
	expect("an authority that is not trusted yet", nextClient, second, false)
	f.write("ca.crt", next.PEM)
	expect("it is now", nextClient, second, true)
	expect("and the other one is not", client, second, false)
	if err := f.fs.Remove("s.crt"); err != nil {
		t.Fatal(err)
	}
	f.write("ca.crt", ca.PEM)
	for range 3 {
		expect("a file that is missing", nextClient, second, true)
	}
	f.write("s.crt", second.Cert)
	expect("it is back, and what changed meanwhile counts", client, second, true)
	if warnings := logged.FilterLevelExact(zap.WarnLevel); warnings.Len() != 3 {
		t.Errorf("%d complaints, want 3: %v", warnings.Len(), warnings.All())
	}
	if news := logged.FilterMessageSnippet("have changed and are in use"); news.Len() != 3 {
		t.Errorf("%d changes, want 3: %v", news.Len(), news.All())
	}
}

// A file that has long been the same is not read again.
func TestUnchangedFilesAreNotRead(t *testing.T) {
	mem := vfs.NewMem()
	f := files{t, mem}
	f.write("f", []byte("1"))
	w := &watched{fs: mem, path: "f"}
	if changed, err := w.look(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	w.settled = true // as if the file were old
	w.fs = noOpen{mem}
	if changed, err := w.look(); changed || err != nil {
		t.Errorf("%v, %v", changed, err)
	}
	w.settled = false
	if _, err := w.look(); err == nil {
		t.Error("a young file is not read again, although its time of change may be that of two contents")
	}
}

type noOpen struct{ vfs.FS }

func (noOpen) Open(string, ...vfs.OpenOption) (vfs.File, error) { return nil, errors.New("opened") }

// New names the file that is wrong, and lets no secret out.
func TestRefusals(t *testing.T) {
	f := files{t, vfs.NewMem()}
	ca := servertest.NewAuthority(t)
	one, other := ca.Issue(servertest.Leaf{Hosts: []string{"h"}}), ca.Issue(servertest.Leaf{Hosts: []string{"h"}})
	f.pair(one)
	f.write("other.key", other.Key)
	f.write("nonsense", []byte("nonsense"))
	f.write("ca.crt", ca.PEM)
	for _, c := range []struct{ cert, key, ca, crl, want string }{
		{"none.crt", "s.key", "", "", "none.crt"},
		{"s.crt", "none.key", "", "", "none.key"},
		{"s.crt", "other.key", "", "", "the certificate s.crt and the key other.key"},
		{"s.key", "s.key", "", "", "the certificate s.key"},
		{"s.crt", "s.crt", "", "", "the key s.crt"},
		{"s.crt", "s.key", "nonsense", "", "the file of authorities nonsense holds no certificate"},
		{"s.crt", "s.key", "", "nonsense", "the revocation list nonsense"},
		{"s.crt", "s.key", "", "ca.crt", "it holds no X509 CRL"},
	} {
		_, err := New(Options{FS: f.fs, CertFile: c.cert, KeyFile: c.key, TrustedCAFile: c.ca, CRLFile: c.crl})
		if !errors.Is(err, ErrFiles) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		} else if block, _ := pem.Decode(one.Key); strings.Contains(err.Error(), string(block.Bytes)) {
			t.Errorf("%+v: the error holds the key", c)
		}
	}
}

// FuzzRevoked: a revocation list is read or refused, never more.
func FuzzRevoked(f *testing.F) {
	ca := servertest.NewAuthority(f)
	list := ca.Revoke(ca.Issue(servertest.Leaf{Name: "x"}))
	f.Add(list)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: list}))
	f.Add([]byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := parseRevoked(content)
		if err == nil && r == nil {
			t.Error("neither a list nor an error")
		}
	})
}

// BenchmarkCurrent is what a handshake pays for files that may change.
func BenchmarkCurrent(b *testing.B) {
	dir := b.TempDir()
	ca := servertest.NewAuthority(b)
	cert, key := ca.Issue(servertest.Leaf{Hosts: []string{"h"}}).Write(b, dir, "s")
	builder := mustNew(b, Options{FS: vfs.Default, CertFile: cert, KeyFile: key, TrustedCAFile: servertest.WriteFile(b, dir, "ca", ca.PEM)})
	builder.mu.Lock()
	for _, f := range builder.mu.files {
		f.settled = true
	}
	builder.mu.Unlock()
	for b.Loop() {
		builder.current()
	}
}
