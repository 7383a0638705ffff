package main

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"holdfast/internal/servertest"
)

// TestLabTLS tells the story through TLS, and one who does not know the signer hears nothing.
func TestLabTLS(t *testing.T) {
	t.Parallel()
	c := newCertificates(t)
	s := startSecure(t, c)
	tellEverywhere(t, "--endpoint", s.address, "--cacert", c.cacert)
	turnedAway(t, "--endpoint", s.address, "--cacert", newCertificates(t).cacert)
}

// TestLabClientCertificates tells the story to a server that asks for certificates, and one who has none hears nothing.
func TestLabClientCertificates(t *testing.T) {
	t.Parallel()
	c := newCertificates(t)
	s := startSecure(t, c, "--client-cert-auth", "--trusted-ca-file", c.cacert)
	tellEverywhere(t, "--endpoint", s.address, "--cacert", c.cacert, "--cert", c.cert, "--key", c.key)
	turnedAway(t, "--endpoint", s.address, "--cacert", c.cacert)
}

// TestLabUsers tells the story as a user with a password whose role reaches just the lab's keys, through TLS; with a wrong password,
// or as nobody, one hears nothing.
func TestLabUsers(t *testing.T) {
	t.Parallel()
	c := newCertificates(t)
	s := startSecure(t, c)
	enableUsers(t, s)
	with := []string{"--endpoint", s.address, "--cacert", c.cacert}
	tellEverywhere(t, append(with, "--user", "student", "--password", "swordfish")...)
	turnedAway(t, append(with, "--user", "student", "--password", "herring")...)
	turnedAway(t, with...)
}

// turnedAway holds that the story cannot be told with these options.
func turnedAway(t *testing.T, args ...string) {
	t.Helper()
	for language, tell := range languages {
		got := tell(t, args...)
		if got.code != 1 || !strings.Contains(got.stderr, "failed: ") {
			t.Errorf("in %s with %q it ended with %d: %s", language, args, got.code, got.stderr)
		}
	}
}

// enableUsers makes root and a student, whose role reaches what begins with a slash, and switches authentication on.
func enableUsers(t *testing.T, s secure) {
	t.Helper()
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{s.address}, TLS: s.tls, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(etcd.RoleAdd(ctx, "root"))
	must(etcd.UserAdd(ctx, "root", "secret"))
	must(etcd.UserGrantRole(ctx, "root", "root"))
	must(etcd.RoleAdd(ctx, "lab"))
	must(etcd.RoleGrantPermission(ctx, "lab", "/", "0", clientv3.PermissionType(clientv3.PermReadWrite)))
	must(etcd.UserAdd(ctx, "student", "swordfish"))
	must(etcd.UserGrantRole(ctx, "student", "lab"))
	must(etcd.AuthEnable(ctx))
}

// A secure server serves clients through TLS.
type secure struct {
	address string      // host and port
	tls     *tls.Config // of a client with a certificate
}

func startSecure(t *testing.T, c certificates, flags ...string) secure {
	t.Helper()
	flags = append(flags, "--cert-file", c.memberCert, "--key-file", c.memberKey)
	return secure{strings.TrimPrefix(servertest.StartTLS(t, c.client, flags...).Endpoint(), "https://"), c.client}
}

// certificates are what a member and its client need of one authority, in files.
type certificates struct {
	cacert                string
	memberCert, memberKey string
	cert, key             string
	client                *tls.Config // what a client makes of them
}

func newCertificates(t *testing.T) certificates {
	t.Helper()
	dir, authority := t.TempDir(), servertest.NewAuthority(t)
	c := certificates{cacert: servertest.WriteFile(t, dir, "ca.crt", authority.PEM)}
	c.memberCert, c.memberKey = authority.Issue(servertest.Leaf{Name: "member", Hosts: []string{"127.0.0.1"}}).Write(t, dir, "member")
	client := authority.Issue(servertest.Leaf{Name: "client"})
	c.cert, c.key = client.Write(t, dir, "client")
	c.client = authority.Client(client)
	return c
}
