// Package node is the shell round a replica: its goroutines, its timers, the callers that wait, and the order in
// which things start and stop.
//
// Four goroutines carry a command from its caller to its answer, and each owns one thing:
//
//	loop     the Replica: ticks, messages of other members, packs waiting commands into entries or forwards them to the
//	         leader, hands out work, takes finished work back
//	writer   the log: appends what is queued, one sync for all of it
//	applier  the machine: applies what is queued, wakes the callers
//	keeper   the disk: flushes the store so that the log can be cut, watches free space
//
// Three more work ahead and behind: the preparer makes the log's next segment, the sweeper deletes compacted versions
// in small steps, stores sends snapshots and removes stores that were replaced. They meet in queues that are bounded by
// what the proposal queue lets in and by raft's limits. What other members send is bounded too, and what keeps a leader
// in office, ticks first, goes before data and commands.
//
// # The fate of a command
//
// A command is bound to the term in which it is put into an entry, or sent to the leader, which takes it in exactly that
// term or says that it did not. It is delivered when this member applies it. It is certainly lost when this member has
// applied an entry of a later term without having met it, since the terms of a log never decrease; then, and when the
// leader has refused it, it is proposed again, its deadline unchanged. The network may deliver a forward twice: forwards
// are numbered, and a leader takes each once. Only an adopted snapshot hides what has become of a command.
//
// Invariants:
//
//	N1  A command is applied at most once: it is proposed again only when it is certain that it was not, and never when
//	    its caller has left.
//	N2  A caller is answered after its command's batch is in the store and published, not before.
//	N3  The log is cut only below the applied index that the store has flushed (I3).
//	N4  After a failure of the log or the store nothing more is acknowledged: the node stops by itself and
//	    Failed says why (I4).
//	N5  When Run has returned, every goroutine it started is gone and every caller has been answered.
//	N6  A snapshot takes the place of the store in steps that are each durable before the next; a start finishes or
//	    forgets what was interrupted. Who reads the store that was replaced reads on.
//	N7  A linearizable read is answered only from an index that the leader had committed when a majority still followed
//	    it, asked for after the read has begun, in this life of the member.
//	N8  Changes of the membership are proposed one at a time, when the first entry of the leader's term and every change
//	    before are applied.
package node

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
	"holdfast/internal/replica"
	"holdfast/internal/store"
	"holdfast/internal/watch"
)

// Config is what a Node is made of. Replica, its log, its machine and the machine's store are open; those that it has
// when Run has returned are the caller's to close.
type Config struct {
	Identity kind.Identity
	Boot     uint64 // names this life of the member among all its lives; never reused
	Replica  *replica.Replica
	Logger   *zap.Logger
	Metrics  *Metrics

	Transport Transport // to the other members; nil for a cluster of one that never had another member to reach
	Clock     Clock     // nil means that of the system

	TickInterval    time.Duration // one raft tick
	ElectionTimeout time.Duration

	// InitialElectionTickAdvance lets a member that starts campaign as soon as it has met enough others.
	InitialElectionTickAdvance bool
	StrictReconfiguration      bool // a change of the membership must leave a majority that is there
	MaxLearners                int  // how many learners there may be; 0 means 1

	MaxRequestBytes int // a larger command is refused
	MaxPending      int // commands of this member that may be undecided at a time; 0 means 65536
	MaxPendingBytes int // and their bytes; 0 means 256 MiB

	FS           vfs.FS // with Dir, where the free space is asked for
	Dir          string
	QuotaBytes   int64  // of live keys and values; at it commands that grow the store are refused; 0 means no quota
	MinFreeBytes uint64 // below it commands that grow the store are refused; 0 means no guard

	FlushLogBytes   int64         // the store is flushed when the log above its durable index is larger; 0 means 64 MiB
	FlushLogEntries uint64        // or longer; 0 means 100,000
	FlushInterval   time.Duration // or older; 0 means 5 minutes

	// In a cluster of several the log is kept longer than this member needs it itself, for members that lag or come
	// back: its newest entries, and what a follower that answers still lacks, or lacks when the snapshot that it is sent
	// has arrived; within these bounds.
	CatchUpEntries uint64        // how many of the newest entries; 0 means 5000
	KeepLogBytes   int64         // 0 means 256 MiB
	KeepLogTime    time.Duration // since the follower last came on; 0 means 30 minutes

	SweepPause time.Duration // between two steps of the deleting after a compaction; 0 means 10 ms
	SlowApply  time.Duration // a batch whose application takes longer is logged; 0 means never

	Watch watch.Options // of the hub of watchers

	Stores         *Stores       // where snapshots of other members become stores; nil refuses them
	MaxSnapshots   int           // that may be sent at a time; 0 means 2
	SnapshotMaxAge time.Duration // how long the view of one that is sent may live; 0 means for ever

	Hold          Hold          // what keeps a quarantine over a restart
	ScrubInterval time.Duration // between two passes that read the whole store over; 0 means never
	ScrubBytes    int64         // how much of it in a second; 0 means 4 MiB
}

func (c *Config) setDefaults() {
	setDefault(&c.MaxPending, 1<<16)
	setDefault(&c.MaxPendingBytes, 256<<20)
	setDefault(&c.FlushLogBytes, 64<<20)
	setDefault(&c.FlushLogEntries, 100_000)
	setDefault(&c.FlushInterval, 5*time.Minute)
	setDefault(&c.CatchUpEntries, 5000)
	setDefault(&c.KeepLogBytes, 256<<20)
	setDefault(&c.KeepLogTime, 30*time.Minute)
	setDefault(&c.SweepPause, 10*time.Millisecond)
	setDefault(&c.MaxLearners, 1)
	setDefault(&c.ScrubBytes, 4<<20)
	setDefault(&c.MaxSnapshots, 2)
	if c.Transport == nil {
		c.Transport = alone{}
	}
	if c.Clock == nil {
		c.Clock = SystemClock()
	}
}

func setDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// Node runs one member. All methods may be called from any goroutine.
type Node struct {
	Config

	queue   *queue
	reads   readQueue
	tokens  tokenUses
	inbox   inbox                           // messages of other members
	ordered mailbox[func(*loopState) error] // what else the loop is to do
	loop    mailbox[replica.Work]           // finished work on its way back to the replica; what wakes the loop
	peers   peers
	writer  writer
	applier applier
	hub     *watch.Hub
	sweeper sweeper
	space   space

	digests    digests
	quarantine quarantine
	repairing  atomic.Bool

	stores    stores
	snapshots snapshots

	status  atomic.Pointer[Status]
	applied atomic.Pointer[store.Applied]
	settled atomic.Uint64 // the index up to which raft knows that entries are applied; it may read the log behind it
	leading atomic.Pointer[leading]
	changed atomic.Pointer[chan struct{}] // see LeaderChanged

	followers atomic.Pointer[[]Follower] // see Followers
	ready     chan struct{}              // closed when everything the log knew as committed at start is applied

	stop   chan struct{} // closed when the goroutines are to end
	failed chan struct{} // closed after failure is set
	once   sync.Once
	cause  error
}

// New makes a node; Run starts it.
func New(c Config) *Node {
	c.setDefaults()
	n := &Node{
		Config:  c,
		queue:   newQueue(c.MaxPending, c.MaxPendingBytes),
		loop:    newMailbox[replica.Work](),
		ordered: newMailbox[func(*loopState) error](),
		ready:   make(chan struct{}),
		stop:    make(chan struct{}),
		failed:  make(chan struct{}),
	}
	n.reads.init(c.Boot)
	changed := make(chan struct{})
	n.changed.Store(&changed)
	n.tokens.init()
	n.writer.init()
	n.applier.init(n.Replica.Machine().Applied().Index)
	n.stores.closing = newMailbox[*retired]()
	n.snapshots.init()
	n.hub = watch.New(n.KV(), c.Watch)
	n.sweeper.init(n.KV().Compacted())
	applied := n.Replica.Machine().State()
	n.applied.Store(&applied)
	n.publishStatus(n.Replica.State())
	n.digests.init()
	n.initQuarantine()
	return n
}

// now is the node's monotonic time.
func (n *Node) now() time.Duration { return n.Clock.Now() }

// DB is the store that everything lies in. Who uses it asks each time, as with KV, Leases and Auth: an adopted
// snapshot takes the place of all of them.
func (n *Node) DB() *store.DB { return n.Replica.Machine().DB() }

// KV is the store of keys, for readers.
func (n *Node) KV() *mvcc.Store { return n.Replica.Machine().KV() }

// Watch is the hub of those who watch the keys.
func (n *Node) Watch() *watch.Hub { return n.hub }

// Run runs the node until ctx ends or it fails. It returns nil after ctx has ended and the failure otherwise; both
// after every goroutine has ended and every caller has an answer (N5).
func (n *Node) Run(ctx context.Context) error {
	var group sync.WaitGroup
	running, end := context.WithCancel(ctx)
	defer end()
	n.tellPeers()
	for name, run := range map[string]func(){
		"loop":     n.runLoop,
		"writer":   n.runWriter,
		"applier":  n.runApplier,
		"keeper":   n.runKeeper,
		"sweeper":  n.runSweeper,
		"preparer": n.runPreparer,
		"digests":  n.runDigests,
		"scrubber": n.runScrubber,
		"stores":   n.runStores,
		"watchers": func() { n.runWatchers(running) },
	} {
		group.Go(func() {
			defer n.guard(name)
			run()
		})
	}
	select {
	case <-ctx.Done():
		n.handOver()
	case <-n.failed:
		n.holdDamaged(n.cause)
	}
	close(n.stop)
	end()
	n.queue.close(ErrStopped)
	n.reads.close(ErrStopped)
	group.Wait()
	n.endStores()
	select {
	case <-n.failed:
		return n.cause
	default:
		return nil
	}
}

// guard turns a panic of one of the node's goroutines into a failure of the node: a stopped member is better
// than a wrong one, and a stopped process should say why.
func (n *Node) guard(name string) {
	p := recover()
	if p == nil {
		return
	}
	err, ok := p.(error)
	if !ok {
		err = fmt.Errorf("%v", p)
	}
	var v invariant.Violation
	if !errors.As(err, &v) {
		err = fmt.Errorf("%s panicked: %w", name, err)
	}
	n.Logger.Error("stopping: a goroutine of the node panicked", zap.String("goroutine", name), zap.Error(err), zap.ByteString("stack", debug.Stack()))
	n.Fail(err)
}

// Fail stops the node because of err; the first call counts. Nothing is acknowledged after it.
func (n *Node) Fail(err error) {
	n.once.Do(func() {
		n.cause = n.advised(err)
		n.queue.close(ErrStopped)
		close(n.failed)
	})
}

// Failed is closed when the node has failed.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Ready is closed when the node has applied everything that the leader had committed when it was asked after the start,
// or, after five seconds without a leader, everything that the log knew as committed at start: from then on no revision
// that a client has seen before the start is missing (I6).
func (n *Node) Ready() <-chan struct{} { return n.ready }
