package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"holdfast/internal/kind"
)

// dialDefault connects without delaying small writes (TCP_NODELAY is Go's default), and has the kernel notice hosts
// that have gone without a word.
func dialDefault(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 5}}
	return d.DialContext(ctx, network, address)
}

// dial opens a connection of a class to a peer, at the first of its URLs that works. The error says what is wrong with
// each, and is one of ErrRemoved, ErrWrongCluster, ErrWrongMember and ErrVersion if one of them has answered so.
func (t *Transport) dial(ctx context.Context, id kind.MemberID, urls []string, class Class) (net.Conn, Hello, error) {
	var failed error
	for _, u := range urls {
		conn, h, err := t.dialURL(ctx, id, u, class)
		if err == nil {
			return conn, h, nil
		}
		failed = errors.Join(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	if failed == nil {
		failed = fmt.Errorf("no URL of member %v is known", id)
	}
	return nil, Hello{}, failed
}

func (t *Transport) dialURL(ctx context.Context, id kind.MemberID, peerURL string, class Class) (net.Conn, Hello, error) {
	attempt, cancel := context.WithTimeout(ctx, t.limits.DialTimeout)
	defer cancel()
	conn, err := connect(attempt, peerURL, t.config.ClientTLS, t.dialer)
	if err != nil {
		return nil, Hello{}, err
	}
	// The context may end while something is read or written.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(t.limits.HelloTimeout))
	h := t.hello(id, class)
	w, err := greet(conn, h)
	if err != nil {
		_ = conn.Close()
		return nil, Hello{}, fmt.Errorf("greet member %v at %s: %w", id, peerURL, err)
	}
	if err := h.refusal(w, peerURL); err != nil {
		_ = conn.Close()
		return nil, Hello{}, err
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, w.versions, nil
}

// greet says hello and hears the answer.
func greet(conn net.Conn, h hello) (welcome, error) {
	if _, err := conn.Write(h.encode()); err != nil {
		return welcome{}, explain(err)
	}
	body, err := readSealed(conn)
	if err != nil {
		return welcome{}, explain(err)
	}
	return decodeWelcome(body)
}

// connect opens a connection to a URL, with TLS where it asks for it.
func connect(ctx context.Context, peerURL string, settings func(host string) *tls.Config,
	dial func(ctx context.Context, network, address string) (net.Conn, error)) (net.Conn, error) {
	u, err := url.Parse(peerURL)
	if err != nil {
		return nil, fmt.Errorf("the peer URL %q is not understood: %w", peerURL, err)
	}
	network, address, host := "tcp", u.Host, u.Hostname()
	secure := u.Scheme == "https" || u.Scheme == "unixs"
	switch u.Scheme {
	case "http", "https":
		if u.Port() == "" {
			return nil, fmt.Errorf("the peer URL %s has no port", peerURL)
		}
	case "unix", "unixs":
		network, address = "unix", u.Host+u.Path
		host = address[strings.LastIndexByte(address, '/')+1:]
	default:
		return nil, fmt.Errorf("the peer URL %s begins with none of http://, https://, unix:// and unixs://", peerURL)
	}
	var config *tls.Config
	if secure {
		if settings != nil {
			config = settings(host)
		}
		if config == nil {
			return nil, fmt.Errorf("the peer URL %s asks for TLS, but this member has no settings for it", peerURL)
		}
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", peerURL, err)
	}
	if config == nil {
		return conn, nil
	}
	client := tls.Client(conn, config)
	if err := client.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to %s: TLS: %w", peerURL, explain(err))
	}
	return client, nil
}

// explain adds to an error of TLS, or of a connection that ends too early, what an operator can do about it.
func explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		return fmt.Errorf("no authority in --peer-trusted-ca-file vouches for the other member's certificate: %w", err)
	case errors.As(err, &name):
		return fmt.Errorf("the other member's certificate does not bear the host of its peer URL: %w", err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("the other member's certificate is not valid now (or this member's clock is wrong): %w", err)
	case errors.As(err, &record):
		return fmt.Errorf("the other member does without TLS there; its peer URL should begin with http://: %w", err)
	case strings.Contains(err.Error(), "remote error: tls"):
		return fmt.Errorf("the other member refuses this member's certificate, as its log says: check --peer-cert-file, or "+
			"--peer-client-cert-file, against its --peer-trusted-ca-file, --peer-cert-allowed-cn, --peer-cert-allowed-hostname "+
			"and --peer-crl-file: %w", err)
	case errors.Is(err, errNotAPeer):
		return fmt.Errorf("%w; check that the URL is a peer URL and not a client URL, and whether it asks for TLS", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the other side hung up without a word; check whether the URL should begin with https://: %w", err)
	}
	return err
}

// hello returns what this member says when it calls another one.
func (t *Transport) hello(to kind.MemberID, class Class) hello {
	t.mu.Lock()
	defer t.mu.Unlock()
	return hello{
		min: protocolMin, max: protocolMax, class: class,
		cluster: t.config.Identity.Cluster, from: t.self, to: to,
		versions: t.config.Hello, urls: t.mu.urls,
	}
}
