package tlsconf

import "crypto/tls"

// ClientConfig returns the settings for a call to a server that is to bear the name host, from the files of now: it is
// asked for anew for every connection. The server's certificate must be one that TrustedCAFile vouches for, or an
// authority of the operating system where there is no such file, unless TrustServers is set. The caller must not change
// what it gets.
func (b *Builder) ClientConfig(host string) *tls.Config {
	m := b.current()
	c := &tls.Config{
		ServerName:         host,
		RootCAs:            m.authorities,
		MinVersion:         b.o.MinVersion,
		MaxVersion:         b.o.MaxVersion,
		CipherSuites:       b.o.CipherSuites,
		InsecureSkipVerify: b.o.TrustServers,
		VerifyConnection:   func(s tls.ConnectionState) error { return b.verify(m, s, serverSide) },
	}
	if m.call.Leaf != nil {
		// Whether the server would want it or not: it can say best itself what it does not like about it.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &m.call, nil }
	}
	return c
}
