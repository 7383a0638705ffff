// Package assembly puts the parts of one member together, below the API: the data directory, the store, the log, the
// machine, the replica, the node and the leader's duties. The embeddable member and the simulator both run what is made
// here, so that what the simulator proves is what runs.
//
// Invariants:
//
//	B1  The parts are opened in the order in which they depend on each other and closed in the reverse order.
//	B2  A directory is made anew only if it was empty; what is half made or does not belong together is refused.
//	B3  After Close nothing of the member uses a file any more.
//
// Use: Open, Start, then whatever serves clients from Node, Stop, Close. Where the disk comes from is said in Options.
package assembly

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"holdfast/internal/chore"
	"holdfast/internal/config"
	"holdfast/internal/datadir"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/mvcc"
	"holdfast/internal/node"
	"holdfast/internal/replica"
	"holdfast/internal/store"
	"holdfast/internal/wal"
	"holdfast/internal/watch"
)

// Options are where the parts of a member come from.
type Options struct {
	FS         vfs.FS // every file goes through it
	Logger     *zap.Logger
	Registerer prometheus.Registerer // of the metrics
	Sizes      Sizes

	// Birth is asked how the member begins if its directory is empty; nil means as a member of the new cluster that the
	// settings list.
	Birth func() (Birth, error)
	// Transport makes the connections to the other members, once it is known who this one is; nil for a member that never
	// has others. What it returns stays the caller's to close, after Stop.
	Transport func(kind.Identity) (node.Transport, error)
	// Clock is the member's time; nil means that of the system.
	Clock node.Clock
	// ManualCompactions leaves it to the caller of store.DB when the engine compacts its tables.
	ManualCompactions bool
}

// Sizes are those of files and of what is kept in memory for them. Zero values stand for the defaults; tests on a
// file system in memory make them small, so that everything that files do happens often.
type Sizes struct {
	SegmentBytes  int64  // of a segment of the log
	MemTableBytes uint64 // of a memtable of the store
	FlushLogBytes int64  // of the log, after which the store is flushed

	FlushLogEntries uint64 // of the log, after which the store is flushed
	KeepLogBytes    int64  // of the log, which are kept for members that lag
	MaxPending      int    // commands of this member that may be undecided at a time
}

// Member is a member that is open.
type Member struct {
	config *config.Config
	o      Options
	dir    *datadir.Dir
	db     *store.DB
	log    *wal.Log
	state  *machine.Machine
	node   *node.Node

	resting bool // the store is damaged: the engine leaves it as it is until a repair has replaced it

	stopNode  context.CancelFunc
	nodeDone  chan struct{} // closed when the node's Run has returned
	stopChore context.CancelFunc
	choreDone chan struct{} // closed when the chore's Run has returned
	published chan struct{} // closed when the cluster knows the member's name and client URLs

	mu struct {
		sync.Mutex
		storeErr error // a failure of the store that came before there was a node to tell
		failNode func(error)
	}
}

// Dir is the member's data directory, open and locked.
func (m *Member) Dir() *datadir.Dir { return m.dir }

// Node is the member's node.
func (m *Member) Node() *node.Node { return m.node }

// Open opens everything below the server, bottom up, and makes a new member first if the directory is empty. c must not
// change afterwards.
func Open(c *config.Config, o Options) (*Member, error) {
	m := &Member{config: c, o: o, nodeDone: make(chan struct{}), choreDone: make(chan struct{}), published: make(chan struct{})}
	if err := m.open(); err != nil {
		m.Close(false)
		return nil, err
	}
	return m, nil
}

func (m *Member) open() error {
	c, fs := m.config, m.o.FS
	warn := func(format string, args ...any) { m.o.Logger.Warn(fmt.Sprintf(format, args...)) }
	dir, err := datadir.Open(fs, c.DataDir, datadir.Options{StrictPermissions: c.StrictPermissions, Modes: Modes(fs)})
	if err != nil {
		return err
	}
	m.dir = dir
	for _, w := range dir.Warnings() {
		m.o.Logger.Warn(w)
	}
	if dir.Fresh() {
		if err := m.bear(); err != nil {
			return err
		}
	}
	if err := dir.RemoveStaleStores(); err != nil { // of snapshots that were not finished, or have replaced them
		return err
	}
	mark, _, err := dir.Quarantine()
	if err != nil {
		return err
	}
	m.resting = mark.Damaged
	id := dir.Identity()
	if m.db, err = m.openStore(dir.StoreDir()); err != nil {
		return advise(err)
	}
	applied, err := m.db.Applied()
	if err != nil {
		return advise(err)
	}
	adopted, err := m.db.Adopted()
	if err != nil {
		return advise(err)
	}
	m.log, err = wal.Open(fs, dir.LogDir(), id, wal.Witness{Applied: applied.Position, Adopted: adopted}, wal.Options{
		SegmentBytes: m.o.Sizes.SegmentBytes,
		NoSync:       c.UnsafeNoFsync,
		Logf:         warn,
	})
	if err != nil {
		return advise(err)
	}
	if err := m.db.ForgetAdoption(); err != nil {
		return advise(err)
	}
	if m.state, err = m.openMachine(m.db); err != nil {
		return err
	}
	if err := m.isolate(); err != nil {
		return err
	}
	if said := moved(id.Member, m.state.Everyone(), texts(c.InitialAdvertisePeerURLs)); said != "" {
		m.o.Logger.Warn(said)
	}
	election := max(2, int(c.ElectionTimeout/c.HeartbeatInterval))
	r, err := replica.Open(replica.Config{
		Member:         id.Member,
		Log:            m.log,
		Machine:        m.state,
		ElectionTicks:  election,
		HeartbeatTicks: 1,
		PreVote:        c.PreVote,
		Logger:         raftLogger{m.o.Logger.Named("raft").Sugar()},
	})
	if err != nil {
		return err
	}
	var others node.Transport
	if m.o.Transport != nil {
		if others, err = m.o.Transport(id); err != nil {
			return err
		}
	}
	quota, _ := c.Quota()
	m.node = node.New(node.Config{
		Identity:     id,
		Boot:         randomNumber(),
		Replica:      r,
		Logger:       m.o.Logger.Named("node"),
		Metrics:      node.NewMetrics(m.o.Registerer),
		Transport:    others,
		Clock:        m.o.Clock,
		TickInterval: c.HeartbeatInterval,

		InitialElectionTickAdvance: c.InitialElectionTickAdvance,
		StrictReconfiguration:      c.StrictReconfigCheck,
		MaxLearners:                orOff(int(c.MaxLearners)),

		ElectionTimeout: c.ElectionTimeout,
		MaxRequestBytes: int(c.MaxRequestBytes),
		QuotaBytes:      quota,
		FS:              fs,
		Dir:             c.DataDir,
		MinFreeBytes:    uint64(c.MinFreeBytes),
		FlushLogBytes:   m.o.Sizes.FlushLogBytes,
		FlushLogEntries: m.o.Sizes.FlushLogEntries,
		KeepLogBytes:    m.o.Sizes.KeepLogBytes,
		MaxPending:      m.o.Sizes.MaxPending,
		CatchUpEntries:  max(1, c.CatchUpEntries), // 0 would mean the default
		SweepPause:      c.CompactionSleepInterval,
		SlowApply:       c.WarningApplyDuration,
		Watch:           watch.Options{RingBytes: c.WatchCacheBytes},
		Stores:          &node.Stores{Dir: dir, Open: m.openBoth},
		MaxSnapshots:    int(c.MaxSnapshotsSending),
		SnapshotMaxAge:  c.SnapshotMaxAge,
		Hold:            node.Hold{Cause: mark.Cause, Damaged: mark.Damaged, Keep: dir.SetQuarantine, Release: dir.EndQuarantine},
		ScrubInterval:   c.ScrubInterval,
		ScrubBytes:      c.ScrubBytes,
	})
	m.node.Register(m.o.Registerer)
	m.mu.Lock()
	m.mu.failNode = m.node.Fail
	early := m.mu.storeErr
	m.mu.Unlock()
	return early
}

// openStore opens the store of this member that lies at path.
func (m *Member) openStore(path string) (*store.DB, error) {
	return store.Open(m.o.FS, path, m.dir.Identity(), store.Options{
		BlockCacheBytes: m.config.BlockCacheBytes,
		MemTableBytes:   m.o.Sizes.MemTableBytes,
		Logf:            func(format string, args ...any) { m.o.Logger.Debug(fmt.Sprintf(format, args...)) },
		OnFailure:       m.storeFailed,

		ManualCompactions: m.o.ManualCompactions || m.resting && path == m.dir.StoreDir(),
	})
}

// openMachine opens the machine of a store.
func (m *Member) openMachine(db *store.DB) (*machine.Machine, error) {
	c := m.config
	kv, err := mvcc.Open(db, mvcc.Options{RowCacheBytes: orOff(c.CacheBytes), AnswerBudgetBytes: c.AnswerBudgetBytes, StepChanges: int(c.CompactionBatchLimit)})
	if err != nil {
		return nil, err
	}
	return machine.Open(db, kv, machine.Options{})
}

// openBoth opens a store that was built of a snapshot, and its machine.
func (m *Member) openBoth(path string) (*machine.Machine, error) {
	db, err := m.openStore(path)
	if err != nil {
		return nil, err
	}
	state, err := m.openMachine(db)
	if err != nil {
		return nil, errors.Join(err, db.Close(false))
	}
	return state, nil
}

// Start runs the node, and returns when it has applied all that its log knew as committed, or has failed, or ctx has
// ended. failed is told once, from a goroutine, if the node fails by itself; that may come before Start returns.
func (m *Member) Start(ctx context.Context, failed func(error)) error {
	running, cancel := context.WithCancel(context.Background())
	m.stopNode = cancel
	go func() {
		defer close(m.nodeDone)
		if err := m.node.Run(running); err != nil {
			failed(err)
		}
	}()
	// A failure is told at once: Run may never return after it, if a goroutine waits for a part of the engine that is
	// gone.
	go func() {
		select {
		case <-m.node.Failed():
			failed(m.node.Status().Failed)
		case <-m.nodeDone:
		}
	}()
	select {
	case <-m.node.Ready():
		return m.initialCheck(ctx)
	case <-m.node.Failed():
		return m.node.Status().Failed
	case <-ctx.Done():
		return fmt.Errorf("start: the log is still being applied: %w", ctx.Err())
	}
}

// initialCheckTime is how long the other members may take at the start to say what they hold.
const initialCheckTime = time.Minute

// initialCheck compares what this member holds with the others before it serves, if that is asked for.
func (m *Member) initialCheck(ctx context.Context) error {
	if !m.config.Enabled(config.InitialCorruptCheck) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, initialCheckTime)
	defer cancel()
	if err := m.node.InitialCheck(ctx); err != nil {
		return fmt.Errorf("start: compare the keys with the other members': %w", err)
	}
	return nil
}

// checks are the comparisons of what all members hold, as the settings have them.
func (m *Member) checks(log *zap.Logger) *chore.Checks {
	c := chore.ChecksConfig{Node: m.node, Logger: log, Clock: m.o.Clock, Always: m.config.CorruptCheckTime}
	if m.config.Enabled(config.CompactHashCheck) {
		c.Compactions = m.config.CompactHashCheckTime
	}
	return chore.NewChecks(c)
}

// compactor is the compaction by itself, as the settings have it.
func (m *Member) compactor(log *zap.Logger) *chore.Compactor {
	period, revisions := m.config.Compaction()
	return chore.NewCompactor(chore.CompactorConfig{Node: m.node, Logger: log, Clock: m.o.Clock, Period: period, Revisions: revisions})
}

// Attend runs the leader's duties, keeps the tokens and publishes the member's name and client URLs, after Start, until
// Stop.
func (m *Member) Attend() {
	ctx, cancel := context.WithCancel(context.Background())
	m.stopChore = cancel
	log := m.o.Logger.Named("chore")
	go func() {
		defer close(m.choreDone)
		var tokens sync.WaitGroup
		tokens.Go(func() { chore.NewTokens(m.node, log, m.o.Clock).Run(ctx) })
		tokens.Go(func() { m.publish(ctx) })
		if m.config.AutoPromoteLearners {
			tokens.Go(func() { chore.NewPromoter(m.node, log).Run(ctx) })
		}
		tokens.Go(func() { m.checks(log).Run(ctx) })
		tokens.Go(func() { m.compactor(log).Run(ctx) })
		defer tokens.Wait()
		if err := chore.New(chore.Config{Node: m.node, Logger: log, Clock: m.o.Clock}).Run(ctx); err != nil {
			m.node.Fail(err)
		}
	}()
}

// Stop ends what Attend and Start have begun, top down, and returns when every goroutine of it has ended. After a failure
// of the engine that may be never: the caller waits no longer than it likes.
func (m *Member) Stop() {
	if m.stopChore != nil {
		m.stopChore()
		<-m.choreDone
	}
	if m.stopNode != nil {
		m.stopNode()
		<-m.nodeDone
	}
}

// advise says what an operator can do about a log or a store that cannot be opened. Damage of the log says it itself.
func advise(err error) error {
	var damage *wal.Corruption
	if errors.As(err, &damage) {
		return err
	}
	return fmt.Errorf("%w; \"holdfast inspect\" shows what is there; in a cluster whose majority runs, replace this member (holdfast member "+
		"replace), as neither an older copy of its data nor an empty directory may take its place; a member that is alone is restored from "+
		"a backup (holdfast snapshot restore)", err)
}

// orOff turns the settings' "0 switches it off", or "none", into what stands for that where 0 stands for the default.
func orOff[T int | int64](n T) T {
	if n == 0 {
		return -1
	}
	return n
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

// Modes are the real disk's permissions; other file systems have none.
func Modes(fs vfs.FS) datadir.Modes {
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

// Close closes the machine, the log, the store and the directory, after Stop. clean says that the member has not failed:
// then the store is flushed, and what goes wrong is logged.
func (m *Member) Close(clean bool) {
	if m.node != nil {
		m.state, m.db = m.node.Replica.Machine(), m.node.DB() // a snapshot may have replaced those of the start
	}
	if m.state != nil {
		if err := m.state.Close(); err != nil && clean {
			m.o.Logger.Warn("closing the machine failed", zap.Error(err))
		}
	}
	if m.log != nil {
		if err := m.log.Close(); err != nil && clean {
			m.o.Logger.Warn("closing the log failed; what was acknowledged is synced", zap.Error(err))
		}
	}
	if m.db != nil {
		// A clean stop flushes, at most the engine's memtables, so that the next start has nothing to apply
		// again. It is only a matter of speed: the log holds everything.
		if err := m.db.Close(clean); err != nil && clean {
			m.o.Logger.Warn("closing the store failed; the next start applies from the log what is missing", zap.Error(err))
		}
	}
	if m.dir != nil {
		if err := m.dir.Close(); err != nil {
			m.o.Logger.Warn("releasing the data directory failed", zap.Error(err))
		}
	}
}
