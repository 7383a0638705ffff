package assembly

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// crashes takes clones of a disk as it may be found after a crash before each write operation while it is armed: with
// nothing of what was not synced, and with a seeded part of it.
type crashes struct {
	mem   *vfs.MemFS
	armed atomic.Bool
	mu    sync.Mutex
	found []*vfs.MemFS
	names []string
	rng   *rand.Rand
}

func (c *crashes) fs() vfs.FS {
	return errorfs.Wrap(c.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if c.armed.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.found = append(c.found, c.mem.CrashClone(vfs.CrashCloneCfg{}),
				c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{30, 60, 100}[len(c.found)/2%3], RNG: c.rng}))
			name := fmt.Sprintf("before operation %d, %v of %s", len(c.found)/2, op.Kind, op.Path)
			c.names = append(c.names, name+", what was synced", name+", and some of the rest")
		}
		return nil
	}))
}

// lag makes three members, one of which, number 2 on the disk mem, is left behind by more than the logs of the others hold.
func lag(t *testing.T, w *wire, mem vfs.FS, keys int) (a, b *rig) {
	t.Helper()
	var all [3]*rig
	for i := range all {
		fs := vfs.FS(vfs.NewMem())
		if i == 2 {
			fs = mem
		}
		r, err := w.begin(t, i, fs)
		must(t, err)
		all[i] = r
	}
	first := leading(t, all[:]...)
	random := rand.New(rand.NewPCG(1, 1))
	write := func(to *rig, n int) {
		for i := range n {
			to.put(fmt.Sprintf("key %d", random.IntN(n)), bytes.Repeat([]byte{byte(i)}, 100+random.IntN(200)))
		}
	}
	write(first, keys)
	until(t, "the third to follow", func() bool { return all[2].standing() == first.standing() })
	all[2].halt()
	first = leading(t, all[0], all[1])
	write(first, keys)
	grant := command.Command{Kind: command.KindLeaseGrant, Payload: command.AppendLeaseGrant(nil, &command.LeaseGrant{ID: 77, TTL: 1000})}
	_, err := first.Node().Propose(context.Background(), grant)
	must(t, err)
	_, err = first.Node().Propose(context.Background(), command.Command{Kind: command.KindCompact,
		Payload: command.AppendCompaction(nil, &command.Compaction{Revision: first.Node().KV().Revision() - 10})})
	must(t, err)
	for _, r := range all[:2] {
		until(t, "the log to be cut", func() bool { return r.Node().Replica.Log().FirstIndex() > 1+kind.Index(keys) })
	}
	return all[0], all[1]
}

// A member that is cut off by a crash before any file operation on its way through a snapshot, from the first byte of the
// new store to the removal of what is not needed, starts again, has lost nothing that it had, and comes to the state of
// the others.
func TestCrashDuringAdoption(t *testing.T) {
	w := &wire{ends: make(map[kind.MemberID]*wireEnd)}
	c := &crashes{mem: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(5, 5))}
	a, b := lag(t, w, c.mem, 60)
	defer a.halt()
	defer b.halt()
	before, err := w.begin(t, 2, c.mem)
	must(t, err)
	old := before.standing() // nothing is lost below it
	c.armed.Store(true)
	before.halt()

	r, err := w.begin(t, 2, c.fs())
	must(t, err)
	caught := func(r *rig) func() bool {
		return func() bool { return r.standing() == a.standing() && a.standing() == b.standing() }
	}
	until(t, "the member to come to the others' state", caught(r))
	c.armed.Store(false)
	if name := r.Dir().StoreName(); name == "store-1" {
		t.Fatalf("the member follows in %s, so no snapshot was adopted", name)
	}
	r.halt()

	stride := 1
	if testing.Short() {
		stride = 7
	}
	stores := make(map[string]int)
	for i := 0; i < len(c.found); i += stride {
		// A leader takes for granted what a follower has told it; a new one asks.
		from, to := a, b
		if b.Node().Status().Leading {
			from, to = b, a
		}
		if err := from.Node().TransferLeadership(context.Background(), to.Node().MemberID()); err != nil {
			leading(t, a, b)
		}
		r, err := w.begin(t, 2, c.found[i])
		if err != nil {
			t.Fatalf("%s: %v", c.names[i], err)
		}
		stores[r.Dir().StoreName()]++
		if at := r.standing(); at.Position.Index < old.Position.Index {
			t.Errorf("%s: the member has gone back from entry %d to %d", c.names[i], old.Position.Index, at.Position.Index)
		}
		names, err := c.found[i].List("data")
		must(t, err)
		if n := strings.Count(strings.Join(names, " "), "store-"); n > 2 { // the current one, and one that is being built
			t.Errorf("%s: old stores are left: %q", c.names[i], names)
		}
		until(t, c.names[i], caught(r))
		if err := r.holds(a); err != nil {
			t.Errorf("%s: %v", c.names[i], err)
		}
		if lease, exists := r.Node().Leases().Get(77); !exists || lease.TTL != 1000 {
			t.Errorf("%s: the lease is %+v", c.names[i], lease)
		}
		select {
		case <-r.Node().Failed():
			t.Fatalf("%s: %v", c.names[i], r.Node().Status().Failed)
		default:
		}
		r.halt()
	}
	t.Logf("%d crashes; the members started in %v", len(c.found), stores)
	if len(stores) < 2 {
		t.Errorf("all members started in %v: the crashes saw one side only", stores)
	}
}
