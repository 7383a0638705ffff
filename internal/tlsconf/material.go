package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// material is one set of files that fit each other. It does not change.
type material struct {
	certificate tls.Certificate
	authorities *x509.CertPool // nil: those of the operating system
	revoked     revoked
}

// contents are those of the files of a builder, in their order.
type contents [fileCount][]byte

// contents returns what is in the files. They are forgotten by the files themselves: the key's is a secret, and the
// others may be large.
func (b *Builder) contents() (c contents, err error) {
	for i, f := range b.mu.files {
		if c[i], err = f.take(); err != nil {
			return c, err
		}
	}
	return c, nil
}

// load makes a set of what is in the files.
func (b *Builder) load(contents contents) (*material, error) {
	m := &material{}
	var err error
	if m.certificate, err = tls.X509KeyPair(contents[certFile], contents[keyFile]); err != nil {
		return nil, fmt.Errorf("the certificate %s and the key %s: %w", b.o.CertFile, b.o.KeyFile, err)
	}
	if m.certificate.Leaf == nil {
		if m.certificate.Leaf, err = x509.ParseCertificate(m.certificate.Certificate[0]); err != nil {
			return nil, fmt.Errorf("the certificate %s: %w", b.o.CertFile, err)
		}
	}
	if b.o.TrustedCAFile != "" {
		m.authorities = x509.NewCertPool()
		if !m.authorities.AppendCertsFromPEM(contents[caFile]) {
			return nil, fmt.Errorf("the file of authorities %s holds no certificate in PEM", b.o.TrustedCAFile)
		}
	}
	if b.o.CRLFile != "" {
		if m.revoked, err = parseRevoked(contents[crlFile]); err != nil {
			return nil, fmt.Errorf("the revocation list %s: %w", b.o.CRLFile, err)
		}
	}
	return m, nil
}
