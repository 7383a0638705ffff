package transport

import (
	"bytes"
	"crypto/tls"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"holdfast/internal/kind"
	"holdfast/internal/servertest"
	"holdfast/internal/tlsconf"
)

// builder makes TLS settings from a pair of an authority.
func builder(t *testing.T, dir string, pair servertest.Pair, change func(*tlsconf.Options)) *tlsconf.Builder {
	t.Helper()
	o := tlsconf.Options{FS: vfs.Default, CheckAddresses: true}
	o.CertFile, o.KeyFile = pair.Write(t, dir, "peer")
	if change != nil {
		change(&o)
	}
	b, err := tlsconf.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// speaking makes a member speak TLS only, to its peers and with them.
func speaking(b *tlsconf.Builder, logs ...zapcore.Core) option {
	return func(c *Config, m *member) {
		c.ClientTLS = b.ClientConfig
		securities.Store(m, b.ServerConfig("http/1.1"))
		m.url = "https://" + m.listener.Addr().String()
		for _, core := range logs {
			c.Logger = zap.New(core)
		}
	}
}

// Members speak TLS to each other, show each other certificates, and a new certificate in the same files counts for the
// next connection.
func TestTLSAndRotation(t *testing.T) {
	ca, next := servertest.NewAuthority(t), servertest.NewAuthority(t)
	leaf := servertest.Leaf{Name: "member", Hosts: []string{"127.0.0.1"}}
	dirs := []string{t.TempDir(), t.TempDir()}
	trust := func(dir string, authority ...*servertest.Authority) string {
		var all []byte
		for _, a := range authority {
			all = append(all, a.PEM...)
		}
		return servertest.WriteFile(t, dir, "ca.crt", all)
	}
	var ms []*member
	var builders []*tlsconf.Builder
	for i, dir := range dirs {
		b := builder(t, dir, ca.Issue(leaf), func(o *tlsconf.Options) {
			o.ClientCertificates, o.TrustedCAFile, o.AllowedCommonNames = true, trust(dir, ca), []string{"member"}
		})
		builders = append(builders, b)
		ms = append(ms, start(t, kind.MemberID(i+1), speaking(b)))
	}
	a, b := ms[0], ms[1]
	acquaint(a, b)
	both := func() bool { _, ok := a.Active(2); _, back := b.Active(1); return ok && back }
	eventually(t, "both are active", both)
	a.Send([]Message{appendOf(1, 2, 1, bytes.Repeat([]byte("x"), 3*mib))})
	eventually(t, "a large message arrives", func() bool { return len(b.all()) == 1 })

	// Another authority: trusted by all first, then used by all.
	before := builders[0].Certificate().SerialNumber
	for _, dir := range dirs {
		trust(dir, ca, next)
	}
	for _, dir := range dirs {
		next.Issue(leaf).Write(t, dir, "peer")
	}
	for _, dir := range dirs {
		trust(dir, next)
	}
	for _, m := range ms {
		for _, p := range *m.peers.Load() {
			p.hangUp()
		}
	}
	a.Send([]Message{forward(1, 2, "with new certificates")})
	eventually(t, "they are connected anew", func() bool { return len(b.all()) == 2 && both() })
	if builders[0].Certificate().SerialNumber.Cmp(before) == 0 {
		t.Error("the old certificate is in use")
	}
	client := next.Client(next.Issue(leaf))
	client.ServerName = "127.0.0.1"
	page := tls.Client(knock(t, a), client)
	_ = page.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = page.Write([]byte("GET /raft HTTP/1.0\r\n\r\n"))
	answer := make([]byte, 12)
	if _, err := page.Read(answer); err != nil || string(answer) != "HTTP/1.0 404" {
		t.Errorf("HTTP over TLS: %q, %v", answer, err)
	}
}

// Each way in which TLS can be wrong has a sentence: on the side that calls, or in the log of the one that is called.
func TestTLSRefusals(t *testing.T) {
	ca, stranger := servertest.NewAuthority(t), servertest.NewAuthority(t)
	leaf := servertest.Leaf{Name: "member", Hosts: []string{"127.0.0.1"}}
	good, revoked := ca.Issue(leaf), ca.Issue(leaf)
	expired, elsewhere := leaf, leaf
	expired.Expired = true
	elsewhere.Hosts = []string{"10.9.8.7"}
	other := servertest.Leaf{Name: "other", Hosts: []string{"127.0.0.1"}}
	dir := t.TempDir()
	trusted := servertest.WriteFile(t, dir, "ca.crt", ca.PEM)
	crl := servertest.WriteFile(t, dir, "crl", ca.Revoke(revoked))
	strict := func(o *tlsconf.Options) { o.ClientCertificates, o.TrustedCAFile = true, trusted }
	and := func(change func(*tlsconf.Options)) func(*tlsconf.Options) {
		return func(o *tlsconf.Options) { strict(o); change(o) }
	}
	for _, c := range []struct {
		name           string
		server, caller servertest.Pair
		serverOptions  func(*tlsconf.Options)
		callerOptions  func(*tlsconf.Options)
		called, logged string // what the caller is told, and what the log of the called says
	}{
		{"no authority", stranger.Issue(leaf), good, strict, strict, "no authority in --peer-trusted-ca-file vouches for the other member's certificate", ""},
		{"another host", ca.Issue(elsewhere), good, strict, strict, "does not bear the host of its peer URL", ""},
		{"expired", ca.Issue(expired), good, strict, strict, "is not valid now", ""},
		{"a server of another name", ca.Issue(other), good, strict, and(func(o *tlsconf.Options) { o.AllowedCommonNames = []string{"member"} }),
			"the server's certificate (CN=other", ""},
		{"a server without an allowed host", good, good, strict, and(func(o *tlsconf.Options) { o.AllowedNames = []string{"m.example"} }),
			"bears none of the allowed names: m.example", ""},
		{"a revoked server", revoked, good, strict, and(func(o *tlsconf.Options) { o.CRLFile = crl }), "the server's certificate", ""},
		{"a caller nobody knows", good, stranger.Issue(leaf), strict, strict, "the other member refuses this member's certificate", "certificate signed by unknown authority"},
		{"an expired caller", good, ca.Issue(expired), strict, strict, "the other member refuses this member's certificate", "expired"},
		{"a caller of another name", good, ca.Issue(other), and(func(o *tlsconf.Options) { o.AllowedCommonNames = []string{"member", "m2"} }), strict,
			"the other member refuses this member's certificate", "has none of the allowed common names: member, m2"},
		{"a caller without an allowed host", good, good, and(func(o *tlsconf.Options) { o.AllowedNames = []string{"m.example"} }), strict,
			"the other member refuses this member's certificate", "bears none of the allowed names"},
		{"a revoked caller", good, revoked, and(func(o *tlsconf.Options) { o.CRLFile = crl }), strict,
			"the other member refuses this member's certificate", "is revoked"},
		{"a caller from elsewhere", good, ca.Issue(elsewhere), strict, strict,
			"the other member refuses this member's certificate", "comes from 127.0.0.1, which its certificate"},
	} {
		core, logged := observer.New(zap.InfoLevel)
		sub := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-"))
		for _, d := range []string{sub + "-a", sub + "-b"} {
			if err := vfs.Default.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		called := start(t, 2, speaking(builder(t, sub+"-a", c.server, c.serverOptions), core))
		caller := start(t, 1, speaking(builder(t, sub+"-b", c.caller, c.callerOptions)))
		_, _, err := caller.dial(t.Context(), 2, []string{called.url}, ClassUrgent)
		if err == nil || !strings.Contains(err.Error(), c.called) {
			t.Errorf("%s: the caller is told %v\nwant %q", c.name, err, c.called)
		}
		if c.logged != "" {
			eventually(t, c.name+" is logged", func() bool {
				for _, e := range logged.All() {
					for _, f := range e.Context {
						if err, ok := f.Interface.(error); ok && strings.Contains(err.Error(), c.logged) {
							return true
						}
					}
				}
				return false
			})
		}
		caller.Close()
		called.Close()
	}
}

// One side with TLS and one without are told what is wrong.
func TestTLSOnOneSide(t *testing.T) {
	ca := servertest.NewAuthority(t)
	dir := t.TempDir()
	trusted := servertest.WriteFile(t, dir, "ca.crt", ca.PEM)
	b := builder(t, dir, ca.Issue(servertest.Leaf{Hosts: []string{"127.0.0.1"}}), func(o *tlsconf.Options) { o.TrustedCAFile = trusted })
	core, logged := observer.New(zap.InfoLevel)
	secure := start(t, 1, speaking(b, core))
	plain := start(t, 2, func(c *Config, _ *member) { c.ClientTLS = b.ClientConfig; c.Logger = zap.New(core) })
	if _, _, err := plain.dial(t.Context(), 1, []string{"http://" + secure.listener.Addr().String()}, ClassUrgent); err == nil ||
		!strings.Contains(err.Error(), "check whether the URL should begin with https://") && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	if _, _, err := secure.dial(t.Context(), 2, []string{"https://" + plain.listener.Addr().String()}, ClassUrgent); err == nil {
		t.Error("TLS with a member that does without")
	}
	for _, want := range []string{"it speaks without TLS, where members need it", "it speaks TLS, which this member does not here"} {
		eventually(t, want, func() bool {
			for _, e := range logged.All() {
				for _, f := range e.Context {
					if err, ok := f.Interface.(error); ok && strings.Contains(err.Error(), want) {
						return true
					}
				}
			}
			return false
		})
	}
}

// A port may take callers with TLS and without; a unix socket is a peer URL like any other.
func TestBothAndUnix(t *testing.T) {
	ca := servertest.NewAuthority(t)
	dir := t.TempDir()
	trusted := servertest.WriteFile(t, dir, "ca.crt", ca.PEM)
	b := builder(t, dir, ca.Issue(servertest.Leaf{Hosts: []string{"127.0.0.1", "s"}}), func(o *tlsconf.Options) { o.TrustedCAFile = trusted })
	a, c := start(t, 1), start(t, 2, func(c *Config, _ *member) { c.ClientTLS = b.ClientConfig })
	for _, address := range []string{"tcp 127.0.0.1:0", "unix " + filepath.Join(dir, "s")} {
		network, where, _ := strings.Cut(address, " ")
		l, err := net.Listen(network, where)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- a.Serve(l, b.ServerConfig("http/1.1"), true) }()
		schemes := []string{"http://", "https://"}
		if network == "unix" {
			schemes = []string{"unix://", "unixs://"}
		}
		for _, scheme := range schemes {
			conn, _, err := c.dial(t.Context(), 1, []string{scheme + l.Addr().String()}, ClassUrgent)
			if err != nil {
				t.Errorf("%s: %v", scheme, err)
				continue
			}
			_ = conn.Close()
		}
		defer func() {
			a.Close()
			if err := <-served; err != nil {
				t.Error(err)
			}
		}()
	}
}
