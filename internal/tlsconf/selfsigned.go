package tlsconf

import (
	"context"
	"crypto"
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
//
// A certificate of which less than a third of the time is left is replaced by one of the same key: it vouches for the new
// one, so that a client that has the old file goes on until the old certificate ends, and has that long to fetch the new.
func (s SelfSigned) Make() (cert, key string, made bool, err error) {
	cert, key = s.FS.PathJoin(s.Dir, "cert.pem"), s.FS.PathJoin(s.Dir, "key.pem")
	leaf, private := s.usable(cert, key)
	if private != nil && !due(leaf) {
		return cert, key, false, nil
	}
	if err := s.make(cert, key, private); err != nil {
		return "", "", false, fmt.Errorf("make a certificate in %s: %w", s.Dir, err)
	}
	return cert, key, true, nil
}

// renewInterval is how often Renew looks at the certificate.
const renewInterval = time.Hour

// Renew sees to it that the certificate that Make has made never ends, until ctx does. A Builder of the files takes the
// new one by itself. told is called with each new certificate, and with each failure, after which it is tried again.
func (s SelfSigned) Renew(ctx context.Context, told func(error)) {
	ticker := time.NewTicker(renewInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if _, _, made, err := s.Make(); made || err != nil {
				told(err)
			}
		}
	}
}

// due reports whether it is time for a new certificate.
func due(leaf *x509.Certificate) bool {
	return time.Until(leaf.NotAfter) < leaf.NotAfter.Sub(leaf.NotBefore)/3
}

// usable returns the certificate and key that are there, or nil if they are of no use.
func (s SelfSigned) usable(cert, key string) (*x509.Certificate, crypto.Signer) {
	b, err := New(Options{FS: s.FS, CertFile: cert, KeyFile: key})
	if err != nil {
		return nil, nil
	}
	leaf, now := b.Certificate(), time.Now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil, nil
	}
	for _, host := range s.Hosts {
		if leaf.VerifyHostname(host) != nil {
			return nil, nil
		}
	}
	private, _ := b.current().certificate.PrivateKey.(crypto.Signer)
	return leaf, private
}

// clockSkew is how far the clock of a client may be behind that of the member when the certificate is new.
const clockSkew = 5 * time.Minute

// make makes a certificate, of the key that is there if it is not nil.
func (s SelfSigned) make(certPath, keyPath string, private crypto.Signer) error {
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
	// A verifier may take two certificates of one subject, key and hosts for the same one, and then does not let the old one
	// vouch for the new (crypto/x509 does so); a host that nobody has tells them apart.
	template.DNSNames = append(template.DNSNames, fmt.Sprintf("%x.holdfast.invalid", serial))
	for _, host := range append(append([]string(nil), s.Hosts...), s.Extra...) {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if err := s.FS.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	if private == nil {
		// A crash before the certificate is there leaves a pair that does not fit, which the next start replaces.
		if private, err = s.makeKey(keyPath); err != nil {
			return err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return err
	}
	if err := s.write(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return err
	}
	return s.syncDir()
}

func (s SelfSigned) makeKey(path string) (crypto.Signer, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	return private, s.write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
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
