package holdfast_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast"
	"holdfast/internal/servertest"
)

// Members talk by TLS with certificates of one authority, with certificates they make themselves, and over unix sockets;
// who shows none is kept out where one is asked for.
func TestPeerTLS(t *testing.T) {
	dir := t.TempDir()
	ca := servertest.NewAuthority(t)
	cert, key := ca.Issue(servertest.Leaf{Name: "member", Hosts: []string{"127.0.0.1", "localhost"}}).Write(t, dir, "member")
	caFile := servertest.WriteFile(t, dir, "ca.crt", ca.PEM)
	own := []string{"--peer-cert-file=" + cert, "--peer-key-file=" + key, "--peer-trusted-ca-file=" + caFile, "--peer-client-cert-auth"}
	for name, flags := range map[string][]string{"certificates": own, "made": {"--peer-auto-tls"}, "sockets": nil} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 3)
			scheme, sockets := "https://", t.TempDir()
			if flags == nil {
				scheme = "unix://"
			}
			var list []string
			for _, m := range c.list {
				if flags == nil {
					m.peer = filepath.Join(sockets, m.name)
				}
				m.fs = vfs.Default
				list = append(list, m.name+"="+scheme+m.peer)
			}
			for _, m := range c.list {
				c.configure(m, append([]string{"--data-dir=" + filepath.Join(t.TempDir(), m.name), "--initial-cluster=" + strings.Join(list, ","),
					"--listen-peer-urls=" + scheme + m.peer, "--initial-advertise-peer-urls=" + scheme + m.peer}, flags...)...)
			}
			c.start(c.list...)
			for _, m := range c.list {
				c.put(c.to(m), "through "+m.name, "x")
			}
			for _, m := range c.list {
				c.mustRead(c.to(m), "through m1", "x")
			}
			if name != "certificates" {
				return
			}
			// One without a certificate is not let in, and does not come to vote.
			m := c.others(c.leader())[0]
			c.stop(m)
			m.config.PeerCertFile, m.config.PeerKeyFile, m.config.PeerTrustedCAFile, m.config.PeerClientCertAuth = "", "", "", false
			m.config.PeerAutoTLS = true
			if err := c.try(m); err != nil {
				t.Fatal(err)
			}
			if id, _ := holdfast.Leader(m.Member); id != 0 {
				t.Errorf("a member with a certificate of its own making knows the leader %x", id)
			}
		})
	}
}
