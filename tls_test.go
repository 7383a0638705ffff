package holdfast_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"holdfast"
	"holdfast/internal/servertest"
)

// socketName is the file name of a unix socket, which clientv3 wants to see in the certificate.
const socketName = "member.sock"

// world is the files of a member with TLS, and of its clients.
type world struct {
	dir       string
	ca        *servertest.Authority
	cert, key string // of the server
	caFile    string
}

func newWorld(t testing.TB) world {
	t.Helper()
	w := world{dir: t.TempDir(), ca: servertest.NewAuthority(t)}
	w.cert, w.key = w.ca.Issue(servertest.Leaf{Name: "server", Hosts: []string{"127.0.0.1", "localhost", socketName}}).Write(t, w.dir, "server")
	w.caFile = servertest.WriteFile(t, w.dir, "ca.crt", w.ca.PEM)
	return w
}

// flags are those of a server; more follow.
func (w world) flags(more ...string) []string {
	return append([]string{"--cert-file", w.cert, "--key-file", w.key}, more...)
}

// settings are those of a member in this process, on a port of its own with TLS.
func (w world) settings(schemes ...string) holdfast.Config {
	c := holdfast.DefaultConfig()
	c.DataDir = filepath.Join(w.dir, "data")
	c.ListenPeerURLs = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.ListenClientURLs = nil
	for _, s := range schemes {
		c.ListenClientURLs = append(c.ListenClientURLs, url.URL{Scheme: s, Host: "127.0.0.1:0"})
	}
	c.BlockCacheBytes = 4 << 20
	c.CertFile, c.KeyFile = w.cert, w.key
	return c
}

// comesIn tries a read with the given settings, once.
func comesIn(t testing.TB, endpoint string, config *tls.Config) error {
	t.Helper()
	// The dial waits for the handshake and tells what became of it; a call would try again until its time is up.
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", u.Host, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); err != nil { // with TLS 1.3 a refusal comes after the client's last word
		return err
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, TLS: config, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Get(within(t), "k")
	return err
}

// TestTLSClients: clientv3 comes in by the right certificates and by no others, whatever is wrong with them.
func TestTLSClients(t *testing.T) {
	w := newWorld(t)
	good, revoked := w.ca.Issue(servertest.Leaf{Name: "good"}), w.ca.Issue(servertest.Leaf{Name: "revoked"})
	c := w.settings("https")
	c.ClientCertAuth, c.TrustedCAFile = true, w.caFile
	c.ClientCRLFile = servertest.WriteFile(t, w.dir, "crl", w.ca.Revoke(revoked))
	c.TLSMinVersion, c.TLSMaxVersion = "TLS1.3", "TLS1.3"
	m := start(t, c, holdfast.Options{})
	endpoint := m.ClientEndpoints()[0]
	if !strings.HasPrefix(endpoint, "https://127.0.0.1:") {
		t.Fatalf("the endpoint is %s", endpoint)
	}
	old := w.ca.Client(good)
	old.MaxVersion = tls.VersionTLS12
	stranger := servertest.NewAuthority(t)
	wrongName := w.ca.Client(good)
	wrongName.ServerName = "other.example"
	for _, c := range []struct {
		what   string
		client *tls.Config
		want   string // in the error; empty means that it comes in
	}{
		{"mutual TLS", w.ca.Client(good), ""},
		{"no certificate", w.ca.Client(), "certificate"},
		{"an expired certificate", w.ca.Client(w.ca.Issue(servertest.Leaf{Name: "x", Expired: true})), "certificate"},
		{"a stranger's certificate", w.ca.Client(stranger.Issue(servertest.Leaf{Name: "x"})), "certificate"},
		{"a revoked certificate", w.ca.Client(revoked), "certificate"},
		{"TLS 1.2", old, "protocol version"},
		{"another authority", stranger.Client(good), "unknown authority"},
		{"another name of the server", wrongName, "other.example"},
	} {
		if err := comesIn(t, endpoint, c.client); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}

// TestTLSReload: a new certificate is shown to new connections, and the old ones go on.
func TestTLSReload(t *testing.T) {
	w := newWorld(t)
	m := start(t, w.settings("https"), holdfast.Options{})
	endpoint := m.ClientEndpoints()[0]
	shown := func() *x509.Certificate {
		t.Helper()
		conn, err := tls.Dial("tcp", strings.TrimPrefix(endpoint, "https://"), w.ca.Client())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0]
	}
	open, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, TLS: w.ca.Client(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := open.Put(within(t), "k", "1"); err != nil {
		t.Fatal(err)
	}
	connection := open.ActiveConnection()
	before := shown()
	next := w.ca.Issue(servertest.Leaf{Name: "next", Hosts: []string{"127.0.0.1"}})
	next.Write(t, w.dir, "server")
	if after := shown(); after.SerialNumber.Cmp(next.Serial) != 0 || after.SerialNumber.Cmp(before.SerialNumber) == 0 {
		t.Errorf("after the change %x is shown, want %x", after.SerialNumber, next.Serial)
	}
	if _, err := open.Put(within(t), "k", "2"); err != nil || open.ActiveConnection() != connection {
		t.Errorf("the open connection: %v", err)
	}
	servertest.WriteFile(t, w.dir, "server.crt", []byte("broken"))
	if after := shown(); after.SerialNumber.Cmp(next.Serial) != 0 {
		t.Error("a broken certificate changed what is shown")
	}
}

// TestBothSchemes: http and https at one address take both kinds of clients, and so do unix and unixs.
func TestBothSchemes(t *testing.T) {
	w := newWorld(t)
	c := w.settings("http", "https")
	socket := filepath.Join(t.TempDir(), socketName)
	c.ListenClientURLs = append(c.ListenClientURLs, url.URL{Scheme: "unix", Path: socket}, url.URL{Scheme: "unixs", Path: socket})
	m := start(t, c, holdfast.Options{})
	endpoints := m.ClientEndpoints()
	if len(endpoints) != 4 || strings.TrimPrefix(endpoints[0], "http://") != strings.TrimPrefix(endpoints[1], "https://") {
		t.Fatalf("endpoints: %q", endpoints)
	}
	for _, endpoint := range endpoints {
		config := clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop(), DialTimeout: patience}
		if strings.HasPrefix(endpoint, "https://") || strings.HasPrefix(endpoint, "unixs://") {
			config.TLS = w.ca.Client()
		}
		client, err := clientv3.New(config)
		if err != nil {
			t.Errorf("%s: %v", endpoint, err)
			continue
		}
		if _, err := client.Put(within(t), "k", endpoint); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
		_ = client.Close()
	}
}

// TestKilledSocketIsReplaced: the socket that a killed member left does not keep the next one from starting, and the
// socket of a living one is not taken.
func TestKilledSocketIsReplaced(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	c := settings()
	c.ListenClientURLs = []url.URL{{Scheme: "unix", Path: socket}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := holdfast.Start(ctx, c, inMemory(vfs.NewMem())); err == nil {
		t.Fatal("the socket of a living server was taken")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	m := start(t, c, inMemory(vfs.NewMem()))
	if _, err := client(t, m.ClientEndpoints()[0]).Put(within(t), "a", "1"); err != nil {
		t.Error(err)
	}
}

// TestBadCertificateTouchesNothing: a certificate that cannot be used is told before a data directory is made.
func TestBadCertificateTouchesNothing(t *testing.T) {
	w := newWorld(t)
	c := w.settings("https")
	c.KeyFile = w.caFile
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := holdfast.Start(ctx, c, holdfast.Options{})
	if err == nil || !strings.Contains(err.Error(), w.caFile) {
		t.Errorf("start: %v", err)
	}
	if _, err := os.Stat(c.DataDir); !os.IsNotExist(err) {
		t.Errorf("the data directory was made: %v", err)
	}
}

// program runs a program that may not be installed, with nothing of our environment, and returns what it wrote.
func program(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"ETCDCTL_API=3", "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestTLSPrograms: the binary with TLS serves our own commands, etcdctl, curl and python3-etcd3, with a client
// certificate and without, and its log holds nothing at level error.
func TestTLSPrograms(t *testing.T) {
	w := newWorld(t)
	pair := w.ca.Issue(servertest.Leaf{Name: "alice"})
	clientCert, clientKey := pair.Write(t, w.dir, "alice")
	const script = `
import sys, etcd3
host, port, ca, cert, key = sys.argv[1:6]
c = etcd3.client(host=host, port=int(port), ca_cert=ca, cert_cert=cert or None, cert_key=key or None, timeout=20)
c.put('p', 'python')
print(c.get('p')[0].decode())
`
	for _, mutual := range []bool{false, true} {
		t.Run(fmt.Sprintf("mutual=%v", mutual), func(t *testing.T) {
			config, flags := w.ca.Client(), w.flags()
			var cert, key string
			ours := []string{"--cacert", w.caFile}
			curl := []string{"-sS", "--cacert", w.caFile}
			if mutual {
				config, cert, key = w.ca.Client(pair), clientCert, clientKey
				flags = append(flags, "--client-cert-auth", "--trusted-ca-file", w.caFile)
				ours = append(ours, "--cert", cert, "--key", key)
				curl = append(curl, "--cert", cert, "--key", key)
			}
			s := servertest.StartTLS(t, config, flags...)
			ours = append(ours, "--endpoints", s.Endpoint())
			t.Run("holdfast", func(t *testing.T) {
				if r := servertest.Run(t, "", append([]string{"put", "a", "1"}, ours...)...); r.Code != 0 || r.Stdout != "OK\n" {
					t.Errorf("put: %+v", r)
				}
				if r := servertest.Run(t, "", append([]string{"endpoint", "health"}, ours...)...); r.Code != 0 {
					t.Errorf("health: %+v", r)
				}
				unsafe := []string{"get", "a", "--insecure-skip-tls-verify", "--insecure-transport=false", "--endpoints", s.Endpoint(), "--cert", cert, "--key", key}
				if !mutual {
					unsafe = unsafe[:len(unsafe)-4]
				}
				if r := servertest.Run(t, "", unsafe...); r.Code != 0 || r.Stdout != "a\n1\n" {
					t.Errorf("without a look at the certificate: %+v", r)
				}
				r := servertest.Run(t, "", "get", "a", "--endpoints", s.Endpoint(), "--command-timeout=2s")
				if r.Code == 0 || !strings.Contains(r.Stderr, "certificate") {
					t.Errorf("without the authority: %+v", r)
				}
				if mutual {
					r := servertest.Run(t, "", "get", "a", "--endpoints", s.Endpoint(), "--cacert", w.caFile, "--command-timeout=2s")
					if r.Code == 0 {
						t.Errorf("without a certificate: %+v", r)
					}
				}
			})
			t.Run("etcdctl", func(t *testing.T) {
				if out, err := program(t, "etcdctl", append(ours, "put", "b", "2")...); err != nil || out != "OK\n" {
					t.Errorf("put: %q, %v", out, err)
				}
				if out, err := program(t, "etcdctl", append(ours, "get", "b")...); err != nil || out != "b\n2\n" {
					t.Errorf("get: %q, %v", out, err)
				}
			})
			t.Run("curl", func(t *testing.T) {
				for _, version := range []string{"--http1.1", "--http2"} {
					out, err := program(t, "curl", append(curl, version, s.Endpoint()+"/health")...)
					if err != nil || !strings.Contains(out, `"health":"true"`) {
						t.Errorf("%s: %q, %v", version, out, err)
					}
				}
			})
			t.Run("python3-etcd3", func(t *testing.T) {
				if _, err := os.Stat("/usr/lib/python3/dist-packages/etcd3"); err != nil {
					t.Skip("python3-etcd3 is not installed")
				}
				u, _ := url.Parse(s.Endpoint())
				out, err := program(t, "/usr/bin/python3", "-c", script, u.Hostname(), u.Port(), w.caFile, cert, key)
				if err != nil || out != "python\n" {
					t.Errorf("%q, %v", out, err)
				}
			})
			t.Run("plain HTTP", func(t *testing.T) {
				response, err := http.Get(strings.Replace(s.Endpoint(), "https://", "http://", 1) + "/health")
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusBadRequest {
					t.Errorf("%s: %s", response.Status, body)
				}
				waitFor(t, "the line about it", func() bool { return strings.Contains(s.Output(), "rejected connection on client endpoint") })
			})
			s.Stop()
			log := s.Output()
			if !strings.Contains(log, `"serving client traffic securely"`) {
				t.Error("the log does not say that traffic is served securely")
			}
			if strings.Contains(log, `"level":"error"`) {
				t.Error("a line is logged at level error")
			}
		})
	}
}

// TestAutoTLS: a member makes its certificate, says which file clients trust, keeps it over a restart, and nobody else
// may read its key.
func TestAutoTLS(t *testing.T) {
	s := servertest.StartTLS(t, &tls.Config{InsecureSkipVerify: true}, "--auto-tls", "--self-signed-cert-validity=3")
	dir := filepath.Join(s.DataDir(), "fixtures", "client")
	ca := filepath.Join(dir, "cert.pem")
	get := func() {
		t.Helper()
		if r := servertest.Run(t, "", "put", "a", "1", "--endpoints", s.Endpoint(), "--cacert", ca); r.Code != 0 {
			t.Errorf("a client that trusts the file: %+v", r)
		}
	}
	get()
	before, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	s.Restart()
	get()
	if after, err := os.ReadFile(ca); err != nil || string(after) != string(before) {
		t.Errorf("the certificate is another after a restart: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	if !strings.Contains(s.Output(), "--cacert="+ca) {
		t.Error("the log does not say how clients trust the member")
	}
	if strings.Contains(s.Output(), `"level":"error"`) {
		t.Error("a line is logged at level error")
	}
}
