package holdfast_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast"
)

// A cut is the disk as a power cut left it, and what the clients had been told by then.
type cut struct {
	number int
	disk   *vfs.MemFS
	ledger *ledger
}

// cuts takes a power cut right before each of the syncs that a member makes: that is after everything that came
// behind the sync before it. What was not synced is there with the chance of a coin, block by block.
type cuts struct {
	disk  *vfs.MemFS
	every int64 // only each such sync
	taken func(cut)

	ledger atomic.Pointer[ledger]
	syncs  atomic.Int64
	over   atomic.Bool
	mu     sync.Mutex // one cut at a time
	rng    *rand.Rand
}

func (c *cuts) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
	default:
		return nil
	}
	n := c.syncs.Add(1)
	if c.over.Load() || n%c.every != 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	config := vfs.CrashCloneCfg{RNG: rand.New(rand.NewPCG(c.rng.Uint64(), 0))}
	switch c.rng.IntN(4) {
	case 0: // Exactly what was synced.
	case 1:
		config.UnsyncedDataPercent = 100
	default:
		config.UnsyncedDataPercent = 50
	}
	taken := cut{number: int(n)}
	taken.ledger = c.ledger.Load().copy(func() { taken.disk = c.disk.CrashClone(config) })
	c.taken(taken)
	return nil
}

func (c *cuts) String() string { return "power cuts" }

// TestPowerCut holds I1, I2, I3 and I6 for the whole member: from the first start over load to a clean stop the power
// is cut at every sync, in the log and in the store alike, and each time a member starts on what is left, serves what
// was acknowledged, and can be written to. HOLDFAST_POWER_CUTS is after how many cuts the load ends.
func TestPowerCut(t *testing.T) {
	limit := int64(fromEnv(t, "HOLDFAST_POWER_CUTS", 500))
	seed := seed(t)
	queue := make(chan cut) // without room: the disk waits while a cut is looked at
	disk := vfs.NewCrashableMem()
	c := &cuts{disk: disk, every: 1, rng: rand.New(rand.NewPCG(seed, 7))}
	c.taken = func(taken cut) { queue <- taken }
	c.ledger.Store(newLedger(seed, 4, 25))
	looked := make(chan struct{})
	ctx, stopLoad := context.WithCancel(context.Background())
	defer stopLoad()
	var count int64
	go func() {
		defer close(looked)
		for taken := range queue {
			if !t.Failed() {
				lookAt(t, taken)
			}
			if count++; count >= limit || t.Failed() {
				stopLoad()
			}
			if count >= limit+limit/4 || t.Failed() {
				c.over.Store(true)
			}
		}
	}()
	// Several lives, so that starts and clean stops are cut as well.
	l := c.ledger.Load()
	for ctx.Err() == nil && !t.Failed() {
		oneLife(ctx, t, c, l, limit/3)
	}
	c.over.Store(true)
	close(queue)
	<-looked
	t.Logf("%d power cuts in %d syncs, %d acknowledged writes", count, c.syncs.Load(), l.writes())
	if count < limit && !t.Failed() {
		t.Errorf("only %d power cuts", count)
	}
}

// oneLife runs a member under load for some syncs and closes it.
func oneLife(ctx context.Context, t *testing.T, c *cuts, l *ledger, syncs int64) {
	m := start(t, settings(), inMemory(errorfs.Wrap(c.disk, c)))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := c.syncs.Load() + syncs
	go func() {
		defer cancel()
		poll := time.NewTicker(time.Millisecond)
		defer poll.Stop()
		for ctx.Err() == nil && c.syncs.Load() < end {
			<-poll.C
		}
	}()
	l.run(ctx, func() (*clientv3.Client, error) { return connect(m.ClientEndpoints()[0]) },
		func() bool { return true }, func(err error) { t.Error(err) })
	cancel()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		return
	}
	m = start(t, settings(), inMemory(errorfs.Wrap(c.disk, c)))
	if err := l.verify(within(t), client(t, m.ClientEndpoints()[0])); err != nil {
		t.Errorf("after a clean stop: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// lookAt starts a member on what a power cut has left.
func lookAt(t *testing.T, taken cut) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := holdfast.Start(ctx, settings(), inMemory(taken.disk))
	if err != nil {
		t.Errorf("after the power cut before sync %d: %v", taken.number, err)
		return
	}
	defer m.Close()
	c, err := connect(m.ClientEndpoints()[0])
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	err = taken.ledger.verify(ctx, c)
	if err == nil {
		_, err = c.Put(ctx, "written after the cut", "")
	}
	if err != nil {
		t.Errorf("after the power cut before sync %d: %v", taken.number, err)
	}
	if err := m.Err(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("after the power cut before sync %d the member stopped: %v", taken.number, err)
	}
}
