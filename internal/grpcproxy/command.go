package grpcproxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/client/pkg/v3/tlsutil"

	"holdfast/internal/cli"
	"holdfast/internal/tcpproxy"
)

// settings are the flags of grpc-proxy start.
type settings struct {
	listen, metrics, advertise string
	dataDir                    string
	debug, pprof, logCalls     bool

	upstream      tcpproxy.Discovery
	sync          time.Duration
	dialKeepalive struct{ time, timeout time.Duration }
	withoutStream bool
	send, recv    int

	cacert, cert, key string // towards the members
	skipVerify        bool

	listenCert, listenKey, listenCA, listenCRL string // towards the clients
	autoTLS                                    bool
	autoYears                                  uint
	ciphers                                    []string
	minTLS, maxTLS                             string

	keepalive struct{ minTime, interval, timeout time.Duration }
	streams   uint32

	namespace, leasing, resolver string
	ttl                          int
	ordering                     bool

	minVersion, maxVersion uint16
	suites                 []uint16
}

// Command returns the command grpc-proxy, with its start below it.
func Command() *cobra.Command {
	c := &cobra.Command{Use: "grpc-proxy", Short: "Serve the API of a cluster to many clients over few connections"}
	c.AddCommand(startCommand())
	return c
}

func startCommand() *cobra.Command {
	s := &settings{}
	c := &cobra.Command{
		Use:   "start",
		Short: "Start the proxy",
		Long: "Serves the API of the cluster at the endpoints. Watchers of the same keys share one watcher of the cluster; all else is passed " +
			"on. /proxy/health and /proxy/metrics are about the proxy, /health and /metrics about the cluster.",
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.BadArguments("grpc-proxy start takes no arguments, and got %q", args)
			}
			if err := s.check(); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return s.run(ctx)
		}),
	}
	f := c.Flags()
	f.StringVar(&s.listen, "listen-addr", "127.0.0.1:23790", "where clients connect, as `host:port`")
	f.StringVar(&s.metrics, "metrics-addr", "", "`URL` of a listener for the HTTP pages alone")
	f.StringVar(&s.advertise, "advertise-client-url", "127.0.0.1:23790", "where clients reach this proxy; it is named as the member")
	f.StringVar(&s.dataDir, "data-dir", "default.proxy", "where --auto-tls keeps its certificate")
	f.BoolVar(&s.debug, "debug", false, "log what happens in detail")
	f.BoolVar(&s.pprof, "enable-pprof", false, "serve profiles of the proxy at /debug/pprof/")
	f.BoolVar(&s.logCalls, "experimental-enable-grpc-logging", false, "log each call, without keys and values")

	f.StringSliceVar(&s.upstream.Given, "endpoints", []string{"127.0.0.1:2379"}, "members to speak to, separated by commas")
	f.StringVar(&s.upstream.Domain, "discovery-srv", "", "DNS `domain` whose SRV records name the members")
	f.StringVar(&s.upstream.Service, "discovery-srv-name", "", "`suffix` of the service name in the SRV records")
	f.BoolVar(&s.upstream.Insecure, "insecure-discovery", false, "take the members that DNS names without checking their certificates")
	f.DurationVar(&s.sync, "endpoints-auto-sync-interval", 0, "how often the members are asked for new members (0 means never)")
	f.DurationVar(&s.dialKeepalive.time, "dial-keepalive-time", 0, "pause between two probes of a connection to a member (0 means none)")
	f.DurationVar(&s.dialKeepalive.timeout, "dial-keepalive-timeout", 20*time.Second, "how long to wait for the answer to a probe of a member")
	f.BoolVar(&s.withoutStream, "permit-without-stream", false, "probe a member even while nothing is asked of it")
	f.IntVar(&s.send, "max-send-bytes", 3<<19, "largest request that is passed on, in bytes")
	f.IntVar(&s.recv, "max-recv-bytes", math.MaxInt32, "largest answer that is passed on, in bytes")

	f.StringVar(&s.cert, "cert", "", "`file` of the certificate that members are shown (PEM); it may bear no common name")
	f.StringVar(&s.key, "key", "", "`file` of its private key (PEM)")
	f.StringVar(&s.cacert, "cacert", "", "`file` of the authorities that vouch for the members (PEM)")
	f.BoolVar(&s.skipVerify, "insecure-skip-tls-verify", false, "do not check the members' certificates (for tests only)")

	f.StringVar(&s.listenCert, "cert-file", "", "`file` of the proxy's own certificate (PEM)")
	f.StringVar(&s.listenKey, "key-file", "", "`file` of its private key (PEM)")
	f.StringVar(&s.listenCA, "trusted-ca-file", "", "`file` of the authorities that vouch for clients (PEM); they must show a certificate then")
	f.StringVar(&s.listenCRL, "client-crl-file", "", "`file` of revoked certificates of clients (PEM or DER)")
	f.BoolVar(&s.autoTLS, "auto-tls", false, "serve with a certificate that the proxy makes for itself")
	f.UintVar(&s.autoYears, "self-signed-cert-validity", 1, "for how many `years` such a certificate is valid")
	f.StringSliceVar(&s.ciphers, "listen-cipher-suites", nil, "cipher suites of TLS 1.2 that are allowed, separated by commas (default: Go's choice)")
	f.StringVar(&s.minTLS, "tls-min-version", "TLS1.2", "oldest version of TLS: TLS1.2 or TLS1.3")
	f.StringVar(&s.maxTLS, "tls-max-version", "", "newest version of TLS: TLS1.2 or TLS1.3 (default: the newest)")

	f.DurationVar(&s.keepalive.minTime, "grpc-keepalive-min-time", 5*time.Second, "a client that probes more often is sent away")
	f.DurationVar(&s.keepalive.interval, "grpc-keepalive-interval", 2*time.Hour, "after which silence a client is probed (0 means never)")
	f.DurationVar(&s.keepalive.timeout, "grpc-keepalive-timeout", 20*time.Second, "how long to wait for the answer of a client")
	f.Uint32Var(&s.streams, "max-concurrent-streams", math.MaxUint32, "calls that a client may have open on one connection")

	f.StringVar(&s.namespace, "namespace", "", "`prefix` that is put before all keys")
	f.StringVar(&s.leasing, "experimental-leasing-prefix", "", "`prefix` of the keys by which the proxy keeps leases on keys it answers reads of")
	f.BoolVar(&s.ordering, "experimental-serializable-ordering", false, "refuse serializable reads from a member that is behind what was read before")
	f.StringVar(&s.resolver, "resolver-prefix", "", "`prefix` of the keys by which the proxies of a cluster find each other")
	f.IntVar(&s.ttl, "resolver-ttl", 0, "for how many `seconds` a proxy that has gone stays registered")
	return c
}

// check refuses settings that contradict each other.
func (s *settings) check() error {
	switch {
	case s.resolver != "" && s.ttl < 1:
		return fmt.Errorf("invalid resolver-ttl %d: with --resolver-prefix it must be at least 1", s.ttl)
	case s.resolver == "" && s.ttl > 0:
		return fmt.Errorf("invalid resolver-prefix %q: --resolver-ttl needs it", s.resolver)
	case s.resolver != "" && s.advertise == "":
		return fmt.Errorf("invalid advertise-client-url %q: --resolver-prefix needs it", s.advertise)
	case s.autoTLS && s.autoYears == 0:
		return errors.New("--self-signed-cert-validity is invalid: it should be greater than 0")
	case (s.listenCert == "") != (s.listenKey == ""):
		return errors.New("--cert-file and --key-file must be given together")
	case (s.cert == "") != (s.key == ""):
		return errors.New("--cert and --key must be given together")
	case s.send <= 0 || s.recv <= 0:
		return errors.New("--max-send-bytes and --max-recv-bytes must be above 0")
	case s.listenCert == "" && !s.autoTLS && (s.listenCA != "" || s.listenCRL != ""):
		return errors.New("--trusted-ca-file and --client-crl-file need --cert-file and --key-file, or --auto-tls")
	}
	var err error
	if s.minVersion, err = tlsutil.GetTLSVersion(s.minTLS); err != nil {
		return fmt.Errorf("--tls-min-version is invalid: %w", err)
	}
	if s.maxVersion, err = tlsutil.GetTLSVersion(s.maxTLS); err != nil {
		return fmt.Errorf("--tls-max-version is invalid: %w", err)
	}
	if s.maxVersion != 0 && s.minVersion > s.maxVersion {
		return fmt.Errorf("min version (%s) is greater than max version (%s)", s.minTLS, s.maxTLS)
	}
	if s.minVersion == tls.VersionTLS13 && len(s.ciphers) > 0 {
		return errors.New("cipher suites cannot be configured when only TLS1.3 is enabled")
	}
	if len(s.ciphers) > 0 {
		if s.suites, err = tlsutil.GetCipherSuites(s.ciphers); err != nil {
			return fmt.Errorf("--listen-cipher-suites is invalid: %w", err)
		}
	}
	return nil
}
