package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// material is one set of files that fit each other. It does not change.
type material struct {
	certificate tls.Certificate // of the server; without a leaf if there is none
	call        tls.Certificate // that is shown to a server; without a leaf if there is none
	authorities *x509.CertPool  // nil: those of the operating system
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
	if m.certificate, err = loadPair(b.o.CertFile, b.o.KeyFile, contents[certFile], contents[keyFile]); err != nil {
		return nil, err
	}
	if m.call, err = loadPair(b.o.CallCertFile, b.o.CallKeyFile, contents[callCertFile], contents[callKeyFile]); err != nil {
		return nil, err
	}
	if m.call.Leaf == nil {
		m.call = m.certificate
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

// loadPair makes a certificate of two files, or none if there are none.
func loadPair(certFile, keyFile string, cert, key []byte) (tls.Certificate, error) {
	if certFile == "" && keyFile == "" {
		return tls.Certificate{}, nil
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return c, fmt.Errorf("the certificate %s and the key %s: %w", certFile, keyFile, err)
	}
	if c.Leaf == nil {
		if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return c, fmt.Errorf("the certificate %s: %w", certFile, err)
		}
	}
	return c, nil
}

// shown returns the certificate that stands for the set in the log: the server's, or the one that is shown to servers,
// or nil.
func (m *material) shown() *x509.Certificate {
	if m.certificate.Leaf != nil {
		return m.certificate.Leaf
	}
	return m.call.Leaf
}
