package grpcproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"holdfast/internal/tlsconf"
)

const (
	// dialTimeout is how long a member may take to accept a connection.
	dialTimeout = 5 * time.Second
	// wordsBytes is how much longer than the request a message may be.
	wordsBytes = 512 << 10
	// stopTimeout is how long calls may go on when the proxy stops.
	stopTimeout = 3 * time.Second
)

// run serves until ctx ends or a listener fails.
func (s *settings) run(ctx context.Context) error {
	logging := zap.NewProductionConfig()
	if s.debug {
		logging.Level.SetLevel(zap.DebugLevel)
	}
	logger, err := logging.Build()
	if err != nil {
		return err
	}
	defer func() { _ = logger.Sync() }()
	members, err := s.client(logger)
	if err != nil {
		return err
	}
	defer func() { _ = members.Close() }()
	secure, err := s.secure(logger)
	if err != nil {
		return err
	}
	base, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	defer func() { _ = base.Close() }()
	p, err := New(ctx, members, Options{
		Namespace: s.namespace, LeasingPrefix: s.leasing, Ordering: s.ordering,
		AdvertiseURL: s.advertise, ResolverPrefix: s.resolver, ResolverTTL: s.ttl, Logger: logger,
	})
	if err != nil {
		return err
	}
	defer p.Close()
	var plain *tls.Config
	if secure != nil {
		plain = secure.ServerConfig("h2", "http/1.1")
	}
	self, err := s.self(base.Addr(), secure)
	if err != nil {
		return err
	}
	defer func() { _ = self.Close() }()
	server := grpc.NewServer(s.serverOptions(p, logger)...)
	p.Register(server)
	pages := p.Handler(self, &http.Client{Transport: &http.Transport{TLSClientConfig: s.callTLS()}}, s.pprof)
	web := &http.Server{Handler: pages, ReadHeaderTimeout: hearTimeout, ErrorLog: zap.NewStdLog(zap.NewNop())}
	split := newSplitter(base, plain)
	failures := make(chan error, 4)
	go func() { failures <- split.run() }()
	go func() { failures <- server.Serve(split.grpc) }()
	go func() { failures <- ignoreClosed(web.Serve(split.http)) }()
	if s.metrics != "" {
		l, err := s.metricsListener(secure)
		if err != nil {
			return err
		}
		defer func() { _ = l.Close() }()
		go func() { failures <- ignoreClosed(web.Serve(l)) }()
	}
	logger.Info("started gRPC proxy", zap.Stringer("address", base.Addr()), zap.Strings("endpoints", members.Endpoints()))
	select {
	case err = <-failures:
	case <-ctx.Done():
		logger.Info("stopping, as a signal asked for")
	}
	p.watch.cancel() // streams that would never end do now
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		server.GracefulStop()
	}()
	select {
	case <-stopped:
	case <-time.After(stopTimeout):
		server.Stop()
	}
	_ = web.Close()
	split.close()
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// client makes the client of the members.
func (s *settings) client(logger *zap.Logger) (*clientv3.Client, error) {
	s.upstream.CAFile = s.cacert
	endpoints, _, err := s.upstream.Find(logger)
	if err != nil {
		return nil, err
	}
	spec := &clientv3.ConfigSpec{
		Endpoints: endpoints, DialTimeout: dialTimeout,
		KeepAliveTime: s.dialKeepalive.time, KeepAliveTimeout: s.dialKeepalive.timeout,
		MaxCallSendMsgSize: s.send + wordsBytes, MaxCallRecvMsgSize: s.recv,
		Secure: &clientv3.SecureConfig{Cert: s.cert, Key: s.key, Cacert: s.cacert, InsecureSkipVerify: s.skipVerify,
			InsecureTransport: s.cert == "" && s.cacert == "" && !s.skipVerify},
	}
	if err := emptyName(s.cert, s.key); err != nil {
		return nil, err
	}
	cfg, err := clientv3.NewClientConfig(spec, logger)
	if err != nil {
		return nil, err
	}
	if s.skipVerify {
		logger.Warn("--insecure-skip-tls-verify was given: nobody checks who the members are; this is for tests only")
	}
	cfg.AutoSyncInterval, cfg.PermitWithoutStream = s.sync, s.withoutStream
	cfg.Logger = logger.Named("client")
	return clientv3.New(*cfg)
}

// emptyName refuses a certificate with a common name: members would take every client of the proxy for that user.
func emptyName(cert, key string) error {
	if cert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return err
	}
	if leaf.Subject.CommonName != "" {
		return fmt.Errorf("the certificate in --cert has non empty Common Name (%s): members would take every client of the proxy for that user", leaf.Subject.CommonName)
	}
	return nil
}

// callTLS are the settings by which pages of members are fetched.
func (s *settings) callTLS() *tls.Config {
	c, err := clientv3.NewClientConfig(&clientv3.ConfigSpec{Secure: &clientv3.SecureConfig{Cert: s.cert, Key: s.key, Cacert: s.cacert, InsecureSkipVerify: s.skipVerify}}, nil)
	if err != nil {
		return nil // the same settings have made the client of the members, so this does not happen
	}
	return c.TLS
}

// secure makes the TLS settings for clients, nil if there are none.
func (s *settings) secure(logger *zap.Logger) (*tlsconf.Builder, error) {
	cert, key := s.listenCert, s.listenKey
	if cert == "" {
		if !s.autoTLS {
			return nil, nil
		}
		host, _, err := net.SplitHostPort(s.listen)
		if err != nil {
			return nil, err
		}
		made := tlsconf.SelfSigned{FS: vfs.Default, Dir: filepath.Join(s.dataDir, "fixtures", "proxy"), Chmod: os.Chmod,
			Hosts: []string{host}, Extra: []string{"localhost", "127.0.0.1"}, Years: int(s.autoYears)}
		if cert, key, _, err = made.Make(); err != nil {
			return nil, err
		}
		logger.Info("clients trust this proxy by its certificate", zap.String("cacert", cert))
	}
	return tlsconf.New(tlsconf.Options{
		FS: vfs.Default, CertFile: cert, KeyFile: key, TrustedCAFile: s.listenCA, CRLFile: s.listenCRL,
		ClientCertificates: s.listenCA != "", MinVersion: s.minVersion, MaxVersion: s.maxVersion, CipherSuites: s.suites, Logger: logger,
	})
}

// self makes a client of the proxy itself, by which its health is checked. It dials the listener, whatever the proxy is
// called outside, and shows the proxy's own certificate.
func (s *settings) self(address net.Addr, secure *tlsconf.Builder) (*clientv3.Client, error) {
	host, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	cfg := clientv3.Config{Endpoints: []string{net.JoinHostPort(host, port)}, DialTimeout: dialTimeout, Logger: zap.NewNop()}
	if secure != nil {
		// It speaks to itself, so the certificate is compared, not judged.
		c := secure.ClientConfig(host)
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if own := secure.Certificate(); own == nil || !own.Equal(state.PeerCertificates[0]) {
				return errors.New("somebody else answers at the proxy's own address")
			}
			return nil
		}
		c.VerifyPeerCertificate = nil
		cfg.TLS = c
	}
	return clientv3.New(cfg)
}

func (s *settings) serverOptions(p *Proxy, logger *zap.Logger) []grpc.ServerOption {
	opts := append(p.ServerOptions(),
		grpc.MaxConcurrentStreams(s.streams),
		grpc.MaxRecvMsgSize(s.send+wordsBytes), grpc.MaxSendMsgSize(s.recv),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: s.keepalive.minTime}))
	if s.keepalive.interval > 0 {
		opts = append(opts, grpc.KeepaliveParams(keepalive.ServerParameters{Time: s.keepalive.interval, Timeout: s.keepalive.timeout}))
	}
	if s.logCalls {
		opts = append(opts, grpc.ChainUnaryInterceptor(func(ctx context.Context, r any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			start := time.Now()
			answer, err := next(ctx, r)
			logger.Info("finished call", zap.String("method", info.FullMethod), zap.Duration("took", time.Since(start)), zap.Error(err))
			return answer, err
		}), grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			start := time.Now()
			err := next(srv, stream)
			logger.Info("finished call", zap.String("method", info.FullMethod), zap.Duration("took", time.Since(start)), zap.Error(err))
			return err
		}))
	}
	return opts
}

// metricsListener listens at --metrics-addr, with TLS if it is an https URL.
func (s *settings) metricsListener(secure *tlsconf.Builder) (net.Listener, error) {
	u, err := url.Parse(s.metrics)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("cannot parse %q as the URL of --metrics-addr: write http://host:port", s.metrics)
	}
	l, err := net.Listen("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Scheme == "http":
		return l, nil
	case u.Scheme == "https" && secure != nil:
		return tls.NewListener(l, secure.ServerConfig("http/1.1")), nil
	}
	_ = l.Close()
	return nil, fmt.Errorf("--metrics-addr is %q: the scheme must be http, or https with --cert-file or --auto-tls", s.metrics)
}
