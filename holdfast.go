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
// The package is the composition root: it opens what is below in the order in which it depends on each other (the
// directory, the store, the log, the machine, the replica, the node, the server) and closes it in the reverse
// order. Nothing below knows where the disk, the clock and the network come from.
package holdfast

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"holdfast/internal/chore"
	"holdfast/internal/config"
	"holdfast/internal/datadir"
	"holdfast/internal/machine"
	"holdfast/internal/mvcc"
	"holdfast/internal/node"
	"holdfast/internal/replica"
	"holdfast/internal/server"
	"holdfast/internal/store"
	"holdfast/internal/tlsconf"
	"holdfast/internal/wal"
	"holdfast/internal/watch"
)

// Config is the settings of a member; docs/configuration.md describes each. Start from DefaultConfig.
type Config = config.Config

// DefaultConfig returns the settings that the binary has without flags.
func DefaultConfig() Config { return config.Default("holdfast") }

// Options are what a program may put in the place of the real thing. The zero value is the real thing.
type Options struct {
	FS     vfs.FS      // every file goes through it; nil means the disk
	Logger *zap.Logger // nil means no log

	sizes sizes
}

// sizes are those of files and of what is kept in memory for them. Zero values stand for the defaults; tests on a
// file system in memory make them small, so that everything that files do happens often.
type sizes struct {
	segmentBytes  int64  // of a segment of the log
	memTableBytes uint64 // of a memtable of the store
	flushLogBytes int64  // of the log, after which the store is flushed
}

// Member is a running member.
type Member struct {
	config   Config
	sizes    sizes
	logger   *zap.Logger
	dir      *datadir.Dir
	db       *store.DB
	log      *wal.Log
	machine  *machine.Machine
	node     *node.Node
	server   *server.Server
	registry *prometheus.Registry

	tls       *tlsconf.Builder // nil when no client speaks TLS
	trustFile string           // what clients trust the member by, if it has made its certificate itself
	ports     []*port
	stopNode  context.CancelFunc
	nodeDone  chan struct{} // closed when the node's Run has returned
	stopChore context.CancelFunc
	choreDone chan struct{} // closed when the chore's Run has returned
	serving   sync.WaitGroup
	done      chan struct{} // closed when the member has failed or was closed

	mu struct {
		sync.Mutex
		err      error
		closed   bool
		storeErr error // a failure of the store that came before there was a node to tell
		failNode func(error)
	}
}

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
		config:    c,
		sizes:     o.sizes,
		logger:    o.Logger,
		registry:  prometheus.NewRegistry(),
		nodeDone:  make(chan struct{}),
		choreDone: make(chan struct{}),
		done:      make(chan struct{}),
	}
	defer func() {
		if err != nil {
			m.release(false)
		}
	}()
	if err := refuseUnsupported(&c); err != nil {
		return nil, err
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := m.loadCertificate(o.FS); err != nil {
		return nil, err
	}
	if err := m.open(o.FS); err != nil {
		return nil, err
	}
	if err := m.makeCertificate(o.FS); err != nil {
		return nil, err
	}
	runCtx, cancel := context.WithCancel(context.Background())
	m.stopNode = cancel
	go func() {
		defer close(m.nodeDone)
		if err := m.node.Run(runCtx); err != nil {
			m.finish(err)
		}
	}()
	// A failure is told at once: Run may never return after it, if a goroutine waits for a part of the engine that is
	// gone.
	go func() {
		select {
		case <-m.node.Failed():
			m.finish(m.node.Status().Failed)
		case <-m.nodeDone:
		}
	}()
	select {
	case <-m.node.Ready():
	case <-m.node.Failed():
		return nil, m.node.Status().Failed
	case <-ctx.Done():
		return nil, fmt.Errorf("start: the log is still being applied: %w", ctx.Err())
	}
	choreCtx, cancelChore := context.WithCancel(context.Background())
	m.stopChore = cancelChore
	go func() {
		defer close(m.choreDone)
		var tokens sync.WaitGroup
		tokens.Go(func() { chore.NewTokens(m.node, m.logger.Named("chore")).Run(choreCtx) })
		defer tokens.Wait()
		if err := chore.New(chore.Config{Node: m.node, Logger: m.logger.Named("chore")}).Run(choreCtx); err != nil {
			m.node.Fail(err)
		}
	}()
	if err := m.listen(); err != nil {
		return nil, err
	}
	return m, nil
}

// refuseUnsupported says what this version cannot do yet, rather than doing something else.
func refuseUnsupported(c *Config) error {
	if len(c.InitialCluster) > 1 {
		return errors.New("--initial-cluster names several members; this version runs clusters of one")
	}
	if c.InitialClusterState == "existing" {
		return errors.New("--initial-cluster-state=existing: this version cannot join a cluster; leave it at new")
	}
	return nil
}

// open opens everything below the server, bottom up.
func (m *Member) open(fs vfs.FS) error {
	c := &m.config
	warn := func(format string, args ...any) { m.logger.Warn(fmt.Sprintf(format, args...)) }
	dir, err := datadir.Open(fs, c.DataDir, datadir.Options{StrictPermissions: c.StrictPermissions, Modes: modes(fs)})
	if err != nil {
		return err
	}
	m.dir = dir
	for _, w := range dir.Warnings() {
		m.logger.Warn(w)
	}
	if dir.Fresh() {
		if err := c.CheckBootstrap(); err != nil {
			return err
		}
		if err := m.initialise(fs); err != nil {
			return fmt.Errorf("make a new member in %s: %w", c.DataDir, err)
		}
	}
	id := dir.Identity()
	m.db, err = store.Open(fs, dir.StoreDir(), id, store.Options{
		BlockCacheBytes: c.BlockCacheBytes,
		MemTableBytes:   m.sizes.memTableBytes,
		Logf:            func(format string, args ...any) { m.logger.Debug(fmt.Sprintf(format, args...)) },
		OnFailure:       m.storeFailed,
	})
	if err != nil {
		return advise(err)
	}
	applied, err := m.db.Applied()
	if err != nil {
		return advise(err)
	}
	m.log, err = wal.Open(fs, dir.LogDir(), id, wal.Witness{Applied: applied.Position}, wal.Options{
		SegmentBytes: m.sizes.segmentBytes,
		NoSync:       c.UnsafeNoFsync,
		Logf:         warn,
	})
	if err != nil {
		return advise(err)
	}
	kv, err := mvcc.Open(m.db, mvcc.Options{RowCacheBytes: orOff(c.CacheBytes), AnswerBudgetBytes: c.AnswerBudgetBytes, StepChanges: int(c.CompactionBatchLimit)})
	if err != nil {
		return err
	}
	m.machine, err = machine.Open(m.db, kv, machine.Options{})
	if err != nil {
		return err
	}
	election := max(2, int(c.ElectionTimeout/c.HeartbeatInterval))
	r, err := replica.Open(replica.Config{
		Member:         id.Member,
		Log:            m.log,
		Machine:        m.machine,
		ElectionTicks:  election,
		HeartbeatTicks: 1,
		PreVote:        c.PreVote,
		Logger:         raftLogger{m.logger.Named("raft").Sugar()},
	})
	if err != nil {
		return err
	}
	quota, _ := c.Quota()
	m.node = node.New(node.Config{
		Identity:        id,
		Boot:            randomNumber(),
		Replica:         r,
		Logger:          m.logger.Named("node"),
		Metrics:         node.NewMetrics(m.registry),
		TickInterval:    c.HeartbeatInterval,
		ElectionTimeout: c.ElectionTimeout,
		MaxRequestBytes: int(c.MaxRequestBytes),
		QuotaBytes:      quota,
		FS:              fs,
		Dir:             c.DataDir,
		MinFreeBytes:    uint64(c.MinFreeBytes),
		FlushLogBytes:   m.sizes.flushLogBytes,
		SweepPause:      c.CompactionSleepInterval,
		SlowApply:       c.WarningApplyDuration,
		Watch:           watch.Options{RingBytes: c.WatchCacheBytes},
	})
	m.node.Register(m.registry)
	m.mu.Lock()
	m.mu.failNode = m.node.Fail
	early := m.mu.storeErr
	m.mu.Unlock()
	return early
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

// advise says what an operator can do about a log or a store that cannot be opened. Damage of the log says it itself.
func advise(err error) error {
	var damage *wal.Corruption
	if errors.As(err, &damage) {
		return err
	}
	return fmt.Errorf("%w; \"holdfast inspect\" shows what is there; restore the data directory from a copy, or give the member "+
		"an empty one with --data-dir if what it holds may be lost", err)
}

// orOff turns the settings' "0 switches it off" into the cache's own sign for that.
func orOff(bytes int64) int64 {
	if bytes == 0 {
		return -1
	}
	return bytes
}

// storeFailed is told by the engine of a failure that nobody has asked about, such as a broken table met in a
// compaction. The engine may hold its locks meanwhile, so nothing here waits for anything: Fail closes channels and
// takes the lock of the node's queue, which nobody holds while calling the engine.
func (m *Member) storeFailed(err error) {
	err = fmt.Errorf("the store: %w", err)
	m.mu.Lock()
	fail := m.mu.failNode
	if fail == nil {
		m.mu.storeErr = err // open returns it
	}
	m.mu.Unlock()
	if fail != nil {
		fail(err)
	}
}

// modes are the real disk's permissions; other file systems have none.
func modes(fs vfs.FS) datadir.Modes {
	if fs != vfs.Default {
		return datadir.Modes{}
	}
	return datadir.OSModes()
}

// randomNumber draws what has to differ from life to life. It is not a secret.
func randomNumber() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails; see its documentation
	return binary.LittleEndian.Uint64(b[:])
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

		Fail: m.node.Fail,
	})
	m.servePorts()
	return nil
}

// Describe returns what an operator wants to know about a member that has just started, a sentence a line.
func (m *Member) Describe() []string {
	id := m.dir.Identity()
	lines := []string{
		fmt.Sprintf("Holdfast %s, speaking the API of etcd %s.", server.Version, server.EtcdVersion),
		fmt.Sprintf("Member %s (%v) of cluster %v.", m.config.Name, id.Member, id.Cluster),
		fmt.Sprintf("Data in %s: the log in %s, the store in %s.", m.config.DataDir, m.dir.LogDir(), m.dir.StoreDir()),
		fmt.Sprintf("At revision %d, %d keys.", m.node.KV().Revision(), m.node.Keys()),
	}
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
// go before the node that answers them, the node before the log and the store that its goroutines use, the
// directory's lock last of all.
func (m *Member) release(clean bool) (closed bool) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.stopServing()
		if m.stopChore != nil {
			m.stopChore()
			<-m.choreDone
		}
		if m.stopNode != nil {
			m.stopNode()
			<-m.nodeDone
		}
		m.closeFiles(clean)
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
}

// closeFiles closes the machine, the log, the store and the directory. Nothing uses them any more.
func (m *Member) closeFiles(clean bool) {
	if m.node != nil {
		m.machine, m.db = m.node.Replica.Machine(), m.node.DB() // a snapshot may have replaced those of the start
	}
	if m.machine != nil {
		if err := m.machine.Close(); err != nil && clean {
			m.logger.Warn("closing the machine failed", zap.Error(err))
		}
	}
	if m.log != nil {
		if err := m.log.Close(); err != nil && clean {
			m.logger.Warn("closing the log failed; what was acknowledged is synced", zap.Error(err))
		}
	}
	if m.db != nil {
		// A clean stop flushes, at most the engine's memtables, so that the next start has nothing to apply
		// again. It is only a matter of speed: the log holds everything.
		if err := m.db.Close(clean); err != nil && clean {
			m.logger.Warn("closing the store failed; the next start applies from the log what is missing", zap.Error(err))
		}
	}
	if m.dir != nil {
		if err := m.dir.Close(); err != nil {
			m.logger.Warn("releasing the data directory failed", zap.Error(err))
		}
	}
}
