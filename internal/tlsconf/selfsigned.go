package tlsconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// SelfSigned asks for a certificate that a member makes for itself.
type SelfSigned struct {
	// FS and Dir are where the files cert.pem and key.pem lie or are made. The directory is made if need be.
	FS  vfs.FS
	Dir string
	// Chmod sets permissions, which vfs.FS does not know; nil leaves them alone.
	Chmod func(path string, mode os.FileMode) error
	// Hosts are the names and IP addresses that the certificate must bear; Extra are those that a new one gets
	// besides.
	Hosts, Extra []string
	// Years is how long a new certificate is valid, at least 1.
	Years int
}

// Make returns the paths of a certificate and its key. Those that are there already are used, as long as they are
// valid and bear the hosts; otherwise new ones are made, and made is true. Clients trust the member by trusting the
// certificate file: it is its own authority.
func (s SelfSigned) Make() (cert, key string, made bool, err error) {
	cert, key = s.FS.PathJoin(s.Dir, "cert.pem"), s.FS.PathJoin(s.Dir, "key.pem")
	if s.usable(cert, key) {
		return cert, key, false, nil
	}
	if err := s.make(cert, key); err != nil {
		return "", "", false, fmt.Errorf("make a certificate in %s: %w", s.Dir, err)
	}
	return cert, key, true, nil
}

func (s SelfSigned) usable(cert, key string) bool {
	b, err := New(Options{FS: s.FS, CertFile: cert, KeyFile: key})
	if err != nil {
		return false
	}
	leaf, now := b.Certificate(), time.Now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return false
	}
	for _, host := range s.Hosts {
		if leaf.VerifyHostname(host) != nil {
			return false
		}
	}
	return true
}

// clockSkew is how far the clock of a client may be behind that of the member when the certificate is new.
const clockSkew = 5 * time.Minute

func (s SelfSigned) make(certPath, keyPath string) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Holdfast"}},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(time.Duration(s.Years) * 365 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, host := range append(append([]string(nil), s.Hosts...), s.Extra...) {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	if err := s.FS.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	// A crash between the two leaves a pair that does not fit, which the next start replaces.
	if err := s.write(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})); err != nil {
		return err
	}
	if err := s.write(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return err
	}
	return s.syncDir()
}

// write replaces the file at path, which nobody else may read. It is narrowed before it holds anything.
func (s SelfSigned) write(path string, content []byte) (err error) {
	next := path + ".new"
	f, err := s.FS.Create(next, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if s.Chmod != nil {
		if err := s.Chmod(next, 0o600); err != nil {
			_ = f.Close()
			return err
		}
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return s.FS.Rename(next, path)
}

func (s SelfSigned) syncDir() error {
	d, err := s.FS.OpenDir(s.Dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}
