// Package holdfast runs a Holdfast member inside a Go program: the same member that the binary runs, started and
// stopped by calls.
//
//	c := holdfast.DefaultConfig()
//	c.DataDir = dir
//	m, err := holdfast.Start(ctx, c, holdfast.Options{})
//	if err != nil { … }
//	defer m.Close()
//	fmt.Println(m.ClientEndpoints())
//
// The package is the composition root: package assembly opens what is below the server in the order in which it depends
// on each other (the directory, the store, the log, the machine, the replica, the node); the server comes on top, and all
// is closed in the reverse order. Nothing below knows where the disk, the clock and the network come from.
package holdfast

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"holdfast/internal/assembly"
	"holdfast/internal/config"
	"holdfast/internal/discovery"
	"holdfast/internal/gateway"
	"holdfast/internal/node"
	"holdfast/internal/server"
	"holdfast/internal/tlsconf"
	"holdfast/internal/transport"
)

// Config is the settings of a member; docs/configuration.md describes each. Start from DefaultConfig.
type Config = config.Config

// DefaultConfig returns the settings that the binary has without flags.
func DefaultConfig() Config { return config.Default("holdfast") }

// Options are what a program may put in the place of the real thing. The zero value is the real thing.
type Options struct {
	FS     vfs.FS      // every file goes through it; nil means the disk
	Logger *zap.Logger // nil means no log

	sizes assembly.Sizes
	world world
}

// world is what tests put in the place of the network. Nil fields stand for the real thing.
type world struct {
	listen   func(network, address string) (net.Listener, error)
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	resolver discovery.Resolver
}

// Member is a running member.
type Member struct {
	config   Config
	world    world
	fs       vfs.FS
	logger   *zap.Logger
	below    *assembly.Member // everything below the server
	node     *node.Node       // of below
	server   *server.Server
	registry *prometheus.Registry

	tls       *tlsconf.Builder // nil when no client speaks TLS
	trustFile string           // what clients trust the member by, if it has made its certificate itself
	ports     []*port

	born        bool                 // the directory was empty
	transport   *transport.Transport // to the other members
	peerPorts   []*peerPort
	peerTLS     *tlsconf.Builder // nil when no member speaks TLS
	peersServed sync.WaitGroup

	tracing *tracing // nil unless calls are traced

	stopRenewing []context.CancelFunc // of certificates
	renewing     sync.WaitGroup

	serving sync.WaitGroup
	done    chan struct{} // closed when the member has failed or was closed

	mu struct {
		sync.Mutex
		err    error
		closed bool
	}
}

// ErrRemoved is why a member ends that the cluster has removed.
var ErrRemoved = node.ErrRemoved

// ErrStillOpen is what Close returns when it has given up waiting: the member serves nothing any more and nothing that
// it acknowledged is lost, but its files are open, and its directory locked, until the process ends.
var ErrStillOpen = errors.New("the member has stopped serving, but a part of it did not end in time; its files stay open until the process exits")

// closeTimeout is how long Close waits for what is below the server. The engine may have lost a goroutine that a
// writer waits for, and then that writer never ends; the log is safe without it.
const closeTimeout = 5 * time.Second

// serverTimeout is how long the requests under way may take to finish when the member stops.
const serverTimeout = time.Second

// Start opens the data directory, makes a new member in it if it is empty, recovers what is there, and serves clients.
// It returns when the member serves. ctx bounds the start alone.
func Start(ctx context.Context, c Config, o Options) (_ *Member, err error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	m := &Member{
		config:   c,
		world:    o.world,
		fs:       o.FS,
		logger:   o.Logger,
		registry: prometheus.NewRegistry(),
		done:     make(chan struct{}),
	}
	defer func() {
		if err != nil {
			m.release(false)
		}
	}()
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := m.loadCertificate(o.FS); err != nil {
		return nil, err
	}
	if m.tracing, err = newTracing(&m.config); err != nil {
		return nil, err
	}
	m.below, err = assembly.Open(&m.config, assembly.Options{
		FS: o.FS, Logger: m.logger, Registerer: m.registry, Sizes: o.sizes,
		Birth:     func() (assembly.Birth, error) { return m.birth(ctx) },
		Transport: m.connect,
	})
	if err != nil {
		return nil, err
	}
	m.node = m.below.Node()
	m.registry.MustRegister(ownFigures{m})
	m.compareWithDirectory()
	if err := m.makeCertificate(o.FS); err != nil {
		return nil, err
	}
	// The others can be heard before the node runs, and it runs before clients can be heard.
	m.transport.SetHandler(m.node)
	m.servePeers()
	if err := m.below.Start(ctx, m.finish); err != nil {
		return nil, err
	}
	m.below.Attend()
	if err := m.awaitCluster(ctx); err != nil {
		return nil, err
	}
	if err := m.listen(); err != nil {
		return nil, err
	}
	return m, nil
}

// awaitCluster waits until the cluster knows this member's name and client URLs, so that who reaches it finds it whole.
// A member without a majority is not kept from serving for longer than three election timeouts: it can say what is the
// matter, and answer reads that ask nobody else.
func (m *Member) awaitCluster(ctx context.Context) error {
	patience := 3 * m.config.ElectionTimeout
	if m.node.Status().Leader == 0 {
		patience = 0 // the node has waited for one before it said that it is ready
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-m.below.Published():
	case <-timer.C:
		m.logger.Warn("serving clients without having reached a majority of the members yet")
	case <-m.node.Failed():
		return m.node.Status().Failed
	case <-ctx.Done():
		return fmt.Errorf("start: the other members are waited for: %w", ctx.Err())
	}
	return nil
}

// minLeaseTTL is the least TTL of a lease in seconds: one and a half election timeouts, counted in ticks as etcd does, so
// that a change of leader does not end leases that are kept alive.
func minLeaseTTL(c *Config) int64 {
	ticks := max(2, c.ElectionTimeout/c.HeartbeatInterval)
	return int64((3*ticks/2*c.HeartbeatInterval + time.Second - 1) / time.Second)
}

// keepAliveInterval is after how long a quiet client is pinged. Without an interval, or without a time to answer, it
// never is; the transport takes that as a time that does not come.
func keepAliveInterval(c *Config) time.Duration {
	if c.GRPCKeepAliveInterval == 0 || c.GRPCKeepAliveTimeout == 0 {
		return math.MaxInt64
	}
	return c.GRPCKeepAliveInterval
}

// listen opens the client ports and serves them.
func (m *Member) listen() error {
	c := &m.config
	reported, limited := c.Quota()
	if !limited {
		reported = -1 // as etcd reports that there is none; 0 would make alerts on the share that is used fire
	}
	if err := m.openPorts(); err != nil {
		return err
	}
	tokens, err := server.ParseTokens(c.AuthToken, time.Duration(c.AuthTokenTTL)*time.Second, os.ReadFile)
	if err != nil {
		return err
	}
	m.server = server.New(m.node, server.Options{
		Logger:               m.logger.Named("server"),
		Registerer:           m.registry,
		Gatherer:             m.registry,
		HandlingTimes:        c.Metrics == "extensive",
		GRPC:                 m.tracing.serverOptions(),
		MaxRequestBytes:      int(c.MaxRequestBytes),
		MaxTxnOps:            int(c.MaxTxnOps),
		Tokens:               tokens,
		BcryptCost:           int(c.BcryptCost),
		ClientCertAuth:       c.ClientCertAuth,
		MaxStreamAge:         c.ViewMaxAge,
		MinLeaseTTL:          minLeaseTTL(c),
		MaxConcurrentStreams: c.MaxConcurrentStreams,
		KeepAliveMinTime:     max(c.GRPCKeepAliveMinTime, 1), // there 0 stands for the default
		KeepAliveInterval:    keepAliveInterval(c),
		KeepAliveTimeout:     c.GRPCKeepAliveTimeout,
		QuotaBytes:           reported,
		SlowRequest:          c.WarningUnaryRequestDuration,

		WatchProgressInterval: c.WatchProgressNotifyInterval,
		ElectionTimeout:       c.ElectionTimeout,

		Snapshot: m.snapshots(),

		Hosts:    c.HostWhitelist,
		Profiles: c.EnablePprof,
		WrapHTTP: gateway.NewOrigins(c.CORS).Wrap,

		Fail: m.node.Fail,
	})
	m.registerFacts(reported)
	if c.EnableGRPCGateway {
		if err := m.addGateway(); err != nil {
			return err
		}
	}
	m.servePorts()
	return nil
}

// addGateway lets the server speak JSON.
func (m *Member) addGateway() error {
	g, err := gateway.New(gateway.Config{
		Conn:            m.server.Local(),
		MaxRequestBytes: int(m.config.MaxRequestBytes),
		Address:         server.ClientAddress,
	})
	if err != nil {
		return fmt.Errorf("make the JSON gateway: %w", err)
	}
	for _, prefix := range gateway.Prefixes() {
		m.server.Handle(prefix, g)
	}
	return nil
}

// Describe returns what an operator wants to know about a member that has just started, a sentence a line.
func (m *Member) Describe() []string {
	id := m.below.Dir().Identity()
	lines := []string{
		fmt.Sprintf("Holdfast %s, speaking the API of etcd %s.", server.Version, server.EtcdVersion),
		fmt.Sprintf("Member %s (%v) of cluster %v.", m.config.Name, id.Member, id.Cluster),
		fmt.Sprintf("Data in %s: the log in %s, the store in %s.", m.config.DataDir, m.below.Dir().LogDir(), m.below.Dir().StoreDir()),
		fmt.Sprintf("At revision %d, %d keys.", m.node.KV().Revision(), m.node.Keys()),
	}
	lines = append(lines, m.describePeers()...)
	return append(lines, m.describeTLS()...)
}

// Done is closed when the member has failed or was closed; Err then says which.
func (m *Member) Done() <-chan struct{} { return m.done }

// Err returns why the member stopped by itself; nil while it runs and after Close.
func (m *Member) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.err
}

// finish notes the failure that ended the member.
func (m *Member) finish(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.err == nil && !m.mu.closed {
		m.mu.err = err
		close(m.done)
	}
}

// Close stops the member: it lets the requests under way finish, for as long as a second, closes the ports, and leaves
// the directory as a start likes it best. It returns the failure that ended the member before, if there was one.
//
// What is below the server gets five seconds. If the engine has failed in such a way that a goroutine waits for it for
// ever, or if a command is being applied that takes longer, Close leaves the files open and returns ErrStillOpen,
// joined to the failure: a program that wants to open the directory again has to be started anew.
func (m *Member) Close() error {
	m.mu.Lock()
	if m.mu.closed {
		defer m.mu.Unlock()
		return m.mu.err
	}
	m.mu.closed = true
	failed := m.mu.err
	if failed == nil {
		close(m.done)
	}
	m.mu.Unlock()
	if !m.release(failed == nil) {
		return errors.Join(failed, ErrStillOpen)
	}
	return failed
}

// release closes what is open, top down, and reports whether all of it is closed. The order matters: callers are let
// go before the node that answers them; the node, which hands over first if it leads, before the connections to the other
// members and before the log and the store that its goroutines use; the directory's lock last of all.
func (m *Member) release(clean bool) (closed bool) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.stopServing()
		if m.below != nil {
			m.below.Stop()
		}
		m.stopTransport()
		if m.below != nil {
			m.below.Close(clean)
		}
	}()
	select {
	case <-ended:
		return true
	case <-time.After(serverTimeout + closeTimeout):
		return false
	}
}

func (m *Member) stopServing() {
	if m.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), serverTimeout)
		m.server.GracefulStop(ctx)
		cancel()
	}
	for _, p := range m.ports {
		_ = p.listener.Close() // the server has closed those it served
	}
	m.serving.Wait()
	m.tracing.close()
	m.endRenewing()
}
