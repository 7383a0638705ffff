package doctor

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast/internal/servertest"
)

// secure starts a member with a certificate, and returns what a client needs.
func secure(t *testing.T, leaf servertest.Leaf, flags ...string) (m *member, spec clientv3.ConfigSpec) {
	t.Helper()
	authority := servertest.NewAuthority(t)
	dir := t.TempDir()
	cert, key := authority.Issue(leaf).Write(t, dir, "server")
	ca := servertest.WriteFile(t, dir, "ca.crt", authority.PEM)
	m = prepare(t, "one")
	m.client = "https" + strings.TrimPrefix(m.client, "http")
	for i := range flags {
		flags[i] = strings.ReplaceAll(flags[i], "CA", ca)
	}
	if err := m.start(t, append([]string{"--cert-file=" + cert, "--key-file=" + key}, flags...)...); err != nil {
		t.Fatal(err)
	}
	return m, clientv3.ConfigSpec{Endpoints: []string{m.client}, Secure: &clientv3.SecureConfig{Cacert: ca}}
}

func TestCertificateThatEnds(t *testing.T) {
	end := time.Now().Add(12 * time.Hour)
	m, spec := secure(t, servertest.Leaf{Hosts: []string{"127.0.0.1"}})
	found := examineAs(t, spec, nil)
	for i, f := range found {
		if before, after, ok := strings.Cut(f.Sentence, " ends on "); ok && f.ID == "certificate-ending" {
			if !strings.HasPrefix(after, end.UTC().Format("2 January 2006")) || !strings.HasSuffix(after, "hours.") {
				t.Errorf("the sentence is %q", f.Sentence)
			}
			found[i].Sentence = before
		}
	}
	expect(t, found, "certificate-ending", "The certificate of "+m.client)
	absent(t, found, "certificate-names", "certificate-untrusted", "certificate-asked", "member-silent")
	absent(t, examineAs(t, spec, func(l *Limits) { l.Certificate = time.Hour }), "certificate-ending")

	plain := "http" + strings.TrimPrefix(m.client, "https")
	spec.Endpoints = []string{plain}
	expect(t, examineAs(t, spec, nil), "tls-expected", plain+" speaks TLS, but was asked without it.")
}

func TestCertificateOfStrangers(t *testing.T) {
	m, spec := secure(t, servertest.Leaf{Hosts: []string{"db.example", "10.1.2.3"}})
	found := examineAs(t, spec, nil)
	expect(t, found, "certificate-names", "The certificate of "+m.client+" is not for 127.0.0.1; it is for db.example, 10.1.2.3.")
	absent(t, found, "member-silent", "no-endpoint-answers")
	other := servertest.NewAuthority(t)
	spec.Secure.Cacert = servertest.WriteFile(t, t.TempDir(), "other.crt", other.PEM)
	expect(t, examineAs(t, spec, nil), "certificate-untrusted", "The certificate of "+m.client+" was issued by nobody that is trusted here: authority of a test.")
}

func TestCertificateIsAsked(t *testing.T) {
	m, spec := secure(t, servertest.Leaf{Hosts: []string{"127.0.0.1"}}, "--client-cert-auth", "--trusted-ca-file=CA")
	expect(t, examineAs(t, spec, nil), "certificate-asked", m.client+" asks clients for a certificate, and was shown none.")
}

func TestPlainWhereTLSIsAsked(t *testing.T) {
	m := single(t)
	asked := "https" + strings.TrimPrefix(m.client, "http")
	found := examineAs(t, clientv3.ConfigSpec{Endpoints: []string{asked}, Secure: &clientv3.SecureConfig{}}, nil)
	expect(t, found, "plain-expected", asked+" speaks no TLS, but was asked with it.")
	absent(t, found, "member-silent", "no-endpoint-answers")
}

// A member does not begin with a certificate that has ended, but it can end while the member runs, so that somebody else
// shows it here.
func TestCertificateThatDoesNotCount(t *testing.T) {
	authority := servertest.NewAuthority(t)
	begins := time.Now().Add(2 * time.Hour)
	for id, c := range map[string]struct {
		leaf servertest.Leaf
		says string
	}{
		"certificate-ended":     {servertest.Leaf{Hosts: []string{"127.0.0.1"}, Expired: true}, " ended on "},
		"certificate-not-begun": {servertest.Leaf{Hosts: []string{"127.0.0.1"}, From: begins}, " is valid only from "},
	} {
		pair := authority.Issue(c.leaf)
		certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go shakeHands(conn)
			}
		}()
		endpoint := "https://" + l.Addr().String()
		ca := servertest.WriteFile(t, t.TempDir(), "ca.crt", authority.PEM)
		found := examineAs(t, clientv3.ConfigSpec{Endpoints: []string{endpoint}, Secure: &clientv3.SecureConfig{Cacert: ca}}, nil)
		_ = l.Close()
		<-served
		for i, f := range found {
			if before, _, ok := strings.Cut(f.Sentence, c.says); ok {
				found[i].Sentence = before
			}
		}
		expect(t, found, id, "The certificate of "+endpoint)
		if len(found) != 1 {
			t.Errorf("%d conditions were found: %+v", len(found), found)
		}
	}
}

func shakeHands(conn net.Conn) {
	defer conn.Close()
	if t, ok := conn.(*tls.Conn); ok {
		_ = t.Handshake()
	}
}
