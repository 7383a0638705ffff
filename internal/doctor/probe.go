package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// address is an endpoint taken apart.
type address struct {
	given         string
	network, host string // host with its port, or the path of a socket
	secure        bool
}

// parseEndpoint reads an endpoint as the client library does: without a scheme it is as secure as the settings are.
func parseEndpoint(endpoint string, secure bool) (address, error) {
	a := address{given: endpoint, network: "tcp", host: endpoint, secure: secure}
	scheme, rest, found := strings.Cut(endpoint, "://")
	if !found {
		if path, isSocket := strings.CutPrefix(endpoint, "unix:"); isSocket {
			a.network, a.host = "unix", path
		}
		return a, nil
	}
	switch scheme {
	case "unix", "unixs":
		a.network, a.host, a.secure = "unix", rest, scheme == "unixs"
		return a, nil
	case "http", "https":
	default:
		return a, fmt.Errorf("the scheme %q is none of http, https, unix and unixs", printable(scheme))
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return a, fmt.Errorf("it is no URL: %w", err)
	}
	a.host, a.secure = u.Host, scheme == "https"
	return a, nil
}

// name is the host without its port.
func (a address) name() string {
	if host, _, err := net.SplitHostPort(a.host); err == nil {
		return host
	}
	return a.host
}

// local reports whether the address leads to this machine, whichever machine that is.
func (a address) local() bool {
	if a.network == "unix" || a.name() == "localhost" {
		return true
	}
	ip := net.ParseIP(a.name())
	return ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

func (a address) dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, a.network, a.host)
}

// shake greets the endpoint with TLS, whatever its certificate is worth, and sends nothing else. asked says whether the
// endpoint wants a certificate of its clients.
func (a address) shake(ctx context.Context, c *tls.Config) (certificates []*x509.Certificate, asked bool, err error) {
	conn, err := a.dial(ctx)
	if err != nil {
		return nil, false, err
	}
	defer conn.Close()
	own := &tls.Config{InsecureSkipVerify: true, ServerName: a.name(), NextProtos: []string{"h2", "http/1.1"}}
	own.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		if c != nil && len(c.Certificates) > 0 {
			return &c.Certificates[0], nil
		}
		return &tls.Certificate{}, nil
	}
	t := tls.Client(conn, own)
	err = t.HandshakeContext(ctx)
	if state := t.ConnectionState(); len(state.PeerCertificates) > 0 {
		return state.PeerCertificates, asked, nil
	}
	if err == nil {
		err = errors.New("it showed no certificate")
	}
	return nil, asked, err
}

// untrusted tells why certificates do not lead to an authority that is trusted, leaving dates and names aside.
func untrusted(certificates []*x509.Certificate, c *tls.Config) error {
	o := x509.VerifyOptions{Intermediates: x509.NewCertPool(), CurrentTime: certificates[0].NotBefore.Add(time.Second)}
	if c != nil {
		o.Roots = c.RootCAs
	}
	for _, other := range certificates[1:] {
		o.Intermediates.AddCert(other)
	}
	_, err := certificates[0].Verify(o)
	return err
}

// maxAnswer is the most that is read of an HTTP answer; a member with very many metrics has a few MiB.
const maxAnswer = 64 << 20

// getter asks for paths of one endpoint over HTTP.
type getter struct {
	client *http.Client
	base   string
}

func (a address) getter(c *tls.Config) *getter {
	transport := &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx) },
		TLSClientConfig: c.Clone(),
	}
	g := &getter{client: &http.Client{Transport: transport}, base: "http://" + a.host}
	if a.network == "unix" {
		g.base = "http://localhost"
	}
	if a.secure {
		g.base = "https" + strings.TrimPrefix(g.base, "http")
	}
	return g
}

// get returns the answer, and how far the endpoint's clock seemed to be ahead of this one's, to the second.
func (g *getter) get(ctx context.Context, path string) (code int, body string, ahead time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.base+path, nil)
	if err != nil {
		return 0, "", 0, err
	}
	answer, err := g.client.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return 0, "", 0, err
	}
	defer answer.Body.Close()
	if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		ahead = time.Until(date)
	}
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	return answer.StatusCode, string(b), ahead, err
}

func (g *getter) close() { g.client.CloseIdleConnections() }
