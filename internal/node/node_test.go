package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/raft/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/replica"
	"holdfast/internal/store"
	"holdfast/internal/wal"
)

// rig is a node on a disk in memory.
type rig struct {
	*Node
	t       *testing.T
	db      *store.DB
	log     *wal.Log
	machine *machine.Machine
	end     context.CancelFunc
	ended   chan error
}

// quiet drops what raft says.
type quiet struct{ *raft.DefaultLogger }

func (quiet) Debugf(string, ...any)   {}
func (quiet) Info(...any)             {}
func (quiet) Infof(string, ...any)    {}
func (quiet) Warningf(string, ...any) {}

// start makes a new member on fs and runs its node; change may alter the settings.
func start(t *testing.T, fs vfs.FS, change func(*Config)) *rig {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cluster, members, err := member.Genesis("test", []member.Member{{Name: "one", PeerURLs: []string{"http://127.0.0.1:2380"}}})
	must(err)
	id := kind.Identity{Cluster: cluster, Member: members[0].ID, Incarnation: 5}
	must(store.Create(fs, "store", id, func(set func(key, value []byte)) error { machine.Genesis(set, members); return nil }))
	must(wal.Create(fs, "log", id, kind.Position{Index: 1, Term: 1}, wal.Options{SegmentBytes: 64 << 10}))
	r := &rig{t: t, ended: make(chan error, 1)}
	fail := func(error) {}
	r.db, err = store.Open(fs, "store", id, store.Options{BlockCacheBytes: 1 << 20, MemTableBytes: 256 << 10, OnFailure: func(err error) { fail(err) }})
	must(err)
	r.log, err = wal.Open(fs, "log", id, wal.Witness{Applied: kind.Position{Index: 1, Term: 1}}, wal.Options{SegmentBytes: 64 << 10})
	must(err)
	kv, err := mvcc.Open(r.db, mvcc.Options{})
	must(err)
	r.machine, err = machine.Open(r.db, kv, machine.Options{})
	must(err)
	rep, err := replica.Open(replica.Config{Member: id.Member, Log: r.log, Machine: r.machine, ElectionTicks: 10, HeartbeatTicks: 1,
		Logger: quiet{new(raft.DefaultLogger)}})
	must(err)
	c := Config{
		Identity: id, Boot: 9, Replica: rep, Logger: zap.NewNop(), Metrics: NewMetrics(prometheus.NewRegistry()),
		TickInterval: 10 * time.Millisecond, ElectionTimeout: 100 * time.Millisecond, MaxRequestBytes: 10_000, FS: fs, Dir: "store",
	}
	if change != nil {
		change(&c)
	}
	r.Node = New(c)
	fail = r.Fail
	ctx, cancel := context.WithCancel(context.Background())
	r.end = cancel
	go func() { r.ended <- r.Run(ctx) }()
	select {
	case <-r.Ready():
	case <-r.Failed():
		t.Fatal(r.Status().Failed)
	}
	return r
}

// stop ends the node and closes what it was made of; it returns what Run has returned.
func (r *rig) stop() error {
	r.t.Helper()
	r.end()
	err := <-r.ended
	_ = r.machine.Close()
	_ = r.log.Close()
	_ = r.db.Close(false)
	return err
}

func put(key, value string) command.Command {
	return command.Command{Kind: command.KindPut, Payload: command.AppendPut(nil, &command.Put{Key: []byte(key), Value: []byte(value)})}
}

func leaks(t *testing.T) {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

// TestProposeThenRead holds N2 and N5: who was answered finds what was written, at once; when Run has returned nothing
// of it runs, and everybody has an answer.
func TestProposeThenRead(t *testing.T) {
	leaks(t)
	r := start(t, vfs.NewMem(), nil)
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := range 50 {
				key := fmt.Sprintf("%d/%d", w, i)
				reply, err := r.Propose(context.Background(), put(key, "x"))
				if err != nil || reply.Err != nil {
					t.Errorf("propose: %v, %v", err, reply.Err)
					return
				}
				if err := r.ReadIndex(context.Background()); err != nil {
					t.Error(err)
				}
				if have := r.KV().Revision(); have < reply.Revision {
					t.Errorf("answered at revision %d, published is %d", reply.Revision, have)
				}
			}
		})
	}
	group.Wait()
	if r.Keys() != 400 {
		t.Errorf("%d keys", r.Keys())
	}
	if err := r.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := r.Propose(context.Background(), put("late", "")); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
}

// TestRefusals: what is too large is refused, and what nobody waits for does not hold its place.
func TestRefusals(t *testing.T) {
	leaks(t)
	r := start(t, vfs.NewMem(), func(c *Config) { c.QuotaBytes = 1000 })
	if _, err := r.Propose(context.Background(), put("large", strings.Repeat("x", 20_000))); !errors.Is(err, ErrRequestTooLarge) {
		t.Errorf("a large command: %v", err)
	}
	if err := r.Space(); err != nil {
		t.Errorf("an empty store: %v", err)
	}
	if _, err := r.Propose(context.Background(), put("much", strings.Repeat("x", 2000))); err != nil {
		t.Fatal(err)
	}
	if err := r.Space(); !errors.Is(err, ErrNoSpace) || len(r.Alarms()) != 1 {
		t.Errorf("over the quota: %v, %v", err, r.Alarms())
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// TestFailedSyncStops holds N4: after a sync of the log that failed nobody is acknowledged, and Run says why.
func TestFailedSyncStops(t *testing.T) {
	leaks(t)
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpFileSyncData && strings.HasPrefix(op.Path, "log/") {
			return syscall.EIO
		}
		return nil
	}))
	r := start(t, fs, nil)
	if _, err := r.Propose(context.Background(), put("before", "x")); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			if _, err := r.Propose(context.Background(), put("after", "x")); !errors.Is(err, ErrStopped) {
				t.Errorf("a command that waited for the sync: %v", err)
			}
		})
	}
	group.Wait()
	<-r.Failed()
	if err := r.stop(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Run: %v", err)
	}
	if !errors.Is(r.Status().Failed, syscall.EIO) {
		t.Errorf("the status says %v", r.Status().Failed)
	}
	if r.Keys() != 1 {
		t.Errorf("%d keys: what was not synced was applied", r.Keys())
	}
}

// TestFailAnswersEverybody: Fail from outside, any number of times, is one failure.
func TestFailAnswersEverybody(t *testing.T) {
	leaks(t)
	r := start(t, vfs.NewMem(), nil)
	why := errors.New("the roof is on fire")
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() { r.Fail(why) })
	}
	group.Wait()
	if _, err := r.Propose(context.Background(), put("a", "")); !errors.Is(err, ErrStopped) {
		t.Errorf("propose: %v", err)
	}
	if err := r.stop(); !errors.Is(err, why) {
		t.Errorf("Run: %v", err)
	}
}

// stalled is a disk whose log can be made to wait with its syncs.
func stalled() (fs vfs.FS, stall, release func()) {
	var gate atomic.Pointer[chan struct{}]
	fs = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if g := gate.Load(); g != nil && op.Kind == errorfs.OpFileSyncData && strings.HasPrefix(op.Path, "log/") {
			<-*g
		}
		return nil
	}))
	stall = func() { g := make(chan struct{}); gate.Store(&g) }
	release = func() { close(*gate.Swap(nil)) }
	return fs, stall, release
}

// TestStalledDisk: while a sync hangs callers may leave, the queue fills and refuses, those who stay are told of the
// timeout when it is time, and nothing is proposed twice when the disk comes back (N1).
func TestStalledDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, stall, release := stalled()
		r := start(t, fs, func(c *Config) { c.MaxPending = 3 })
		stall()
		began := time.Now()
		results := make(chan error, 3)
		propose := func(ctx context.Context, key string) {
			_, err := r.Propose(ctx, put(key, "x"))
			results <- err
		}
		leaving, leave := context.WithCancel(t.Context())
		go propose(t.Context(), "a")
		synctest.Wait()
		go propose(t.Context(), "b")
		go propose(leaving, "c")
		synctest.Wait()
		if _, err := r.Propose(t.Context(), put("d", "x")); !errors.Is(err, ErrTooManyRequests) {
			t.Errorf("a fourth of three: %v", err)
		}
		leave()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v", err)
		}
		for range 2 {
			if err := <-results; !errors.Is(err, ErrTimeout) {
				t.Errorf("who stayed: %v", err)
			}
		}
		if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("the timeout took %v", took)
		}
		release()
		if _, err := r.Propose(t.Context(), put("e", "x")); err != nil {
			t.Errorf("when the disk is back: %v", err)
		}
		// Each of them was proposed at most once, so each key has one version at most.
		if revision, keys := r.KV().Revision(), r.Keys(); int64(revision)-1 != keys || keys < 2 {
			t.Errorf("%d keys at revision %d", keys, revision)
		}
		if err := r.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
