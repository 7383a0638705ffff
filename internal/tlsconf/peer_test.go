package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"

	"holdfast/internal/servertest"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// names is a domain name system of a test.
type names struct {
	names     map[string][]string // of addresses
	addresses map[string][]string // of names
}

func (n names) LookupAddr(_ context.Context, address string) ([]string, error) {
	if found, ok := n.names[address]; ok {
		return found, nil
	}
	return nil, errors.New("no such address")
}

func (n names) LookupHost(_ context.Context, host string) ([]string, error) {
	if found, ok := n.addresses[host]; ok {
		return found, nil
	}
	return nil, errors.New("no such host")
}

// A client whose certificate names hosts must come from one of them, by its address, by a name that the address has, or
// by a name that leads to it; wildcards count for the names that an address has.
func TestClientAddress(t *testing.T) {
	f := files{t, vfs.NewMem()}
	ca := servertest.NewAuthority(t)
	f.pair(ca.Issue(servertest.Leaf{Hosts: []string{"h"}}))
	f.write("ca.crt", ca.PEM)
	o := Options{FS: f.fs, CertFile: "s.crt", KeyFile: "s.key", ClientCertificates: true, TrustedCAFile: "ca.crt", CheckAddresses: true}
	nobody := names{}
	for _, c := range []struct {
		hosts []string
		names names
		want  string
	}{
		{nil, nobody, ""},
		{[]string{"127.0.0.1"}, nobody, ""},
		{[]string{"10.0.0.1", "127.0.0.1"}, nobody, ""},
		{[]string{"10.0.0.1"}, nobody, "comes from 127.0.0.1, which its certificate"},
		{[]string{"m.example"}, names{names: map[string][]string{"127.0.0.1": {"x.", "m.example."}}}, ""},
		{[]string{"*.example"}, names{names: map[string][]string{"127.0.0.1": {"m.example."}}}, ""},
		{[]string{"*.example"}, names{names: map[string][]string{"127.0.0.1": {"example."}}}, "does not name"},
		{[]string{"m.example"}, names{addresses: map[string][]string{"m.example": {"10.0.0.1", "127.0.0.1"}}}, ""},
		{[]string{"10.0.0.1", "m.example"}, names{addresses: map[string][]string{"m.example": {"127.0.0.1"}}}, ""},
		{[]string{"m.example"}, names{addresses: map[string][]string{"m.example": {"10.0.0.1"}}}, "it names m.example"},
		{[]string{"m.example"}, nobody, "looking the names up: no such host"},
		{[]string{"*.example"}, names{addresses: map[string][]string{"*.example": {"127.0.0.1"}}}, "does not name"},
	} {
		b := mustNew(t, o)
		b.resolver = c.names
		client := named(ca.Client(ca.Issue(servertest.Leaf{Name: "m", Hosts: c.hosts})), "h")
		_, server, _ := shake(t, b.ServerConfig(), client)
		if c.want == "" && server != nil || c.want != "" && (server == nil || !strings.Contains(server.Error(), c.want)) {
			t.Errorf("%v: %v\nwant %q", c.hosts, server, c.want)
		}
	}
	o.CheckAddresses = false
	if _, server, _ := shake(t, mustNew(t, o).ServerConfig(), named(ca.Client(ca.Issue(servertest.Leaf{Hosts: []string{"10.0.0.1"}})), "h")); server != nil {
		t.Errorf("not asked for: %v", server)
	}
	b := mustNew(t, Options{FS: f.fs, CertFile: "s.crt", KeyFile: "s.key", CheckAddresses: true})
	state := tls.ConnectionState{}
	if err := b.checkAddress(t.Context(), state, &net.UnixAddr{}); err != nil {
		t.Error(err)
	}
}

// What a caller shows and trusts comes from the files of now (T2): its own pair where there is one, else the server's.
func TestClientConfig(t *testing.T) {
	f := files{t, vfs.NewMem()}
	ca, stranger := servertest.NewAuthority(t), servertest.NewAuthority(t)
	serving, calling := ca.Issue(servertest.Leaf{Name: "server", Hosts: []string{"h"}}), ca.Issue(servertest.Leaf{Name: "caller"})
	f.pair(serving)
	f.write("c.crt", calling.Cert)
	f.write("c.key", calling.Key)
	f.write("ca.crt", ca.PEM)
	open := Options{FS: f.fs, CertFile: "s.crt", KeyFile: "s.key", ClientCertificates: true, TrustedCAFile: "ca.crt"}
	only := func(cn string) *tls.Config {
		o := open
		o.AllowedCommonNames = []string{cn}
		return mustNew(t, o).ServerConfig()
	}
	check := func(what string, server, client *tls.Config, serverWant, clientWant string) {
		t.Helper()
		_, s, c := shake(t, server, client)
		for _, side := range []struct {
			err  error
			want string
		}{{s, serverWant}, {c, clientWant}} {
			if side.want == "" && side.err != nil && serverWant == "" && clientWant == "" ||
				side.want != "" && (side.err == nil || !strings.Contains(side.err.Error(), side.want)) {
				t.Errorf("%s: %v, want %q", what, side.err, side.want)
			}
		}
	}
	plain := mustNew(t, open)
	both := open
	both.CallCertFile, both.CallKeyFile = "c.crt", "c.key"
	own := mustNew(t, both)
	callerOnly := mustNew(t, Options{FS: f.fs, CallCertFile: "c.crt", CallKeyFile: "c.key", TrustedCAFile: "ca.crt"})
	if callerOnly.Certificate() != nil {
		t.Error("a server's certificate out of nothing")
	}
	check("the server's own", only("server"), plain.ClientConfig("h"), "", "")
	check("another for calls", only("caller"), own.ClientConfig("h"), "", "")
	check("a caller that serves nobody", only("caller"), callerOnly.ClientConfig("h"), "", "")
	check("a caller of another name", only("server"), own.ClientConfig("h"), "the client's certificate (CN=caller", "")
	check("another host", only("server"), plain.ClientConfig("other"), "", "not other")

	anything := mustNew(t, Options{FS: f.fs, TrustServers: true})
	foreign := stranger.Issue(servertest.Leaf{Hosts: []string{"x"}})
	f.write("x.crt", foreign.Cert)
	f.write("x.key", foreign.Key)
	check("a server that nobody vouches for", mustNew(t, Options{FS: f.fs, CertFile: "x.crt", KeyFile: "x.key"}).ServerConfig(), plain.ClientConfig("x"), "", "unknown authority")
	check("a caller that trusts any server", mustNew(t, Options{FS: f.fs, CertFile: "x.crt", KeyFile: "x.key"}).ServerConfig(), anything.ClientConfig("x"), "", "")

	f.write("crl", ca.Revoke(serving))
	strict := open
	strict.CRLFile = "crl"
	check("a revoked server", plain.ServerConfig(), mustNew(t, strict).ClientConfig("h"), "", "the server's certificate (CN=server")

	renewed := stranger.Issue(servertest.Leaf{Name: "renewed", Hosts: []string{"h"}})
	server := plain.ServerConfig()
	f.pair(renewed)
	f.write("ca.crt", stranger.PEM)
	check("new files on both sides", server, plain.ClientConfig("h"), "", "")
	if _, err := New(Options{FS: f.fs, CertFile: "s.crt", KeyFile: "s.key", CallCertFile: "c.crt", CallKeyFile: "s.key"}); !errors.Is(err, ErrFiles) ||
		!strings.Contains(err.Error(), "the certificate c.crt and the key s.key") {
		t.Error(err)
	}
}
