package tlsconf

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A certificate is made once, serves a client that trusts the file, and is replaced when it is of no use any more.
func TestSelfSigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fixtures", "client")
	s := SelfSigned{FS: vfs.Default, Dir: dir, Chmod: os.Chmod, Hosts: []string{"127.0.0.1", "localhost"}, Extra: []string{"extra.example"}, Years: 2}
	cert, key, made, err := s.Make()
	if err != nil || !made {
		t.Fatal(made, err)
	}
	for _, path := range []string{cert, key} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	b := mustNew(t, Options{FS: vfs.Default, CertFile: cert, KeyFile: key})
	leaf := b.Certificate()
	if years := time.Until(leaf.NotAfter).Hours() / 24 / 365; years < 1.99 || years > 2 {
		t.Errorf("valid for %f years", years)
	}
	content, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "extra.example"} {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(content)
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	serial := leaf.SerialNumber
	again := func(what string, want bool) {
		t.Helper()
		if _, _, made, err := s.Make(); err != nil || made != want {
			t.Errorf("%s: made anew: %v, %v", what, made, err)
		}
	}
	again("the same hosts", false)
	s.Extra = []string{"another.example"}
	again("other extra hosts", false)
	s.Hosts = []string{"127.0.0.1", "10.1.2.3"}
	again("another host", true)
	if err := os.WriteFile(key, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	again("a broken key", true)
	s.Years = 0
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	again("no certificate", true)
	again("one that has expired", true)
	if b = mustNew(t, Options{FS: vfs.Default, CertFile: cert, KeyFile: key}); b.Certificate().SerialNumber.Cmp(serial) == 0 {
		t.Error("a new certificate has the serial number of an old one")
	}
}

// A certificate is renewed without a restart while a third of its time is left; a client that has the old file goes on
// until the old one ends, one that has the new file for a year more.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		s := SelfSigned{FS: fs, Dir: "own", Hosts: []string{"localhost"}, Years: 1}
		cert, key, _, err := s.Make()
		if err != nil {
			t.Fatal(err)
		}
		b := mustNew(t, Options{FS: fs, CertFile: cert, KeyFile: key})
		trust := func() *x509.CertPool {
			pool := x509.NewCertPool()
			pool.AddCert(b.Certificate())
			return pool
		}
		accepts := func(pool *x509.CertPool) error {
			_, err := b.Certificate().Verify(x509.VerifyOptions{Roots: pool, DNSName: "localhost"})
			return err
		}
		old, first := trust(), b.Certificate()
		ctx, cancel := context.WithCancel(t.Context())
		renewed, failed := 0, 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Renew(ctx, func(err error) {
				if err != nil {
					failed++
				} else {
					renewed++
				}
			})
		}()
		const day = 24 * time.Hour
		<-time.After(240 * day)
		if renewed != 0 || accepts(old) != nil {
			t.Errorf("renewed %d times with a third of the time left", renewed)
		}
		<-time.After(5 * day)
		if renewed != 1 || accepts(old) != nil || accepts(trust()) != nil || b.Certificate().SerialNumber.Cmp(first.SerialNumber) == 0 {
			t.Errorf("renewed %d times; the old file: %v; the new: %v", renewed, accepts(old), accepts(trust()))
		}
		fresh := trust()
		<-time.After(125 * day)
		if accepts(old) == nil || accepts(fresh) != nil {
			t.Errorf("after the end of the old one: the old file: %v; the new: %v", accepts(old), accepts(fresh))
		}
		<-time.After(365 * day)
		if renewed != 3 && renewed != 2 || accepts(trust()) != nil {
			t.Errorf("renewed %d times in two years: %v", renewed, accepts(trust()))
		}
		cancel()
		<-done
		if failed != 0 {
			t.Errorf("%d failures", failed)
		}
	})
}
