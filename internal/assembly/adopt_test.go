package assembly

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/store"
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
			c.take(fmt.Sprintf("before a write (%d) to %s", op.Kind, op.Path))
		}
		return nil
	}))
}

func (c *crashes) take(when string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found = append(c.found, c.mem.CrashClone(vfs.CrashCloneCfg{}),
		c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{30, 60, 100}[len(c.found)/2%3], RNG: c.rng}))
	name := fmt.Sprintf("operation %d, %s", len(c.found)/2, when)
	c.names = append(c.names, name+", what was synced", name+", and some of the rest")
}

// end takes the last clones.
func (c *crashes) end() {
	c.armed.Store(false)
	c.take("after all")
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
	c.end()
	if name := r.Dir().StoreName(); name == "store-1" {
		t.Fatalf("the member follows in %s, so no snapshot was adopted", name)
	}
	r.halt()

	stores := c.each(t, w, a, b, old.Position.Index, func(r *rig, name string) {
		if err := r.holds(a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if lease, exists := r.Node().Leases().Get(77); !exists || lease.TTL != 1000 {
			t.Errorf("%s: the lease is %+v", name, lease)
		}
	})
	if len(stores) < 2 {
		t.Errorf("all members started in %v: the crashes saw one side only", stores)
	}
}

// each starts member number 2 from each of the clones, lets it come to where the others stand, and calls look. None may
// stand below the entry lowest. It returns in which stores they started, how often.
func (c *crashes) each(t *testing.T, w *wire, a, b *rig, lowest kind.Index, look func(r *rig, name string)) map[string]int {
	stride := 1
	if testing.Short() {
		stride = 7
	}
	stores := make(map[string]int)
	for i := len(c.found) - 1; i >= 0; i -= stride {
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
		if at := r.standing(); at.Position.Index < lowest {
			t.Errorf("%s: the member has gone back from entry %d to %d", c.names[i], lowest, at.Position.Index)
		}
		names, err := c.found[i].List("data")
		must(t, err)
		if n := strings.Count(strings.Join(names, " "), "store-"); n > 2 { // the current one, and one that is being built
			t.Errorf("%s: old stores are left: %q", c.names[i], names)
		}
		until(t, c.names[i], func() bool {
			at := a.standing().Position
			return at == b.standing().Position && at == r.standing().Position
		})
		look(r, c.names[i])
		select {
		case <-r.Node().Failed():
			t.Fatalf("%s: %v", c.names[i], r.Node().Status().Failed)
		default:
		}
		r.halt()
	}
	t.Logf("%d crashes; the members started in %v", len(c.found), stores)
	return stores
}

// spoil writes into a member's store what the others do not have.
func (r *rig) spoil(key string) {
	row := binary.AppendUvarint([]byte{0x0a}, uint64(len(key)))
	row = append(append(row, key...), 0x10, 2, 0x18, 2, 0x20, 1, 0x2a, 5)
	row = append(row, "wrong"...)
	k := append(append(append([]byte{store.FamilyVersion}, key...), 0), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfd, 9)
	must(r.t, r.Node().DB().Set(k, row, pebble.NoSync))
	must(r.t, r.Node().DB().Flush())
}

// three makes three members that hold the same.
func three(t *testing.T, w *wire, mem vfs.FS, keys int) (all [3]*rig) {
	t.Helper()
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
	for i := range keys {
		first.put(fmt.Sprintf("key %d", i), bytes.Repeat([]byte{byte(i)}, 200))
	}
	return all
}

// follower sees to it that member number 2 does not lead.
func follower(t *testing.T, all [3]*rig) {
	t.Helper()
	until(t, "another leader", func() bool {
		if s := all[2].Node().Status(); !s.Leading {
			return s.Leader != 0
		}
		_ = all[2].Node().TransferLeadership(context.Background(), all[0].Node().MemberID())
		return false
	})
}

// A member whose state differs gets the leader's by one call, while clients write; it goes back nowhere, and the
// snapshot may stand before what it has applied.
func TestRefetch(t *testing.T) {
	w := &wire{ends: make(map[kind.MemberID]*wireEnd)}
	all := three(t, w, vfs.NewMem(), 50)
	defer func() {
		for _, r := range all {
			r.halt()
		}
	}()
	for round := range 4 {
		follower(t, all)
		leader := leading(t, all[0], all[1])
		all[2].spoil(fmt.Sprint("zz", round))
		all[2].Node().SetDiscarding(round%2 == 1)
		until(t, "the same position", func() bool { return round%2 == 1 || all[2].standing().Position == leader.standing().Position })
		if err := all[2].holds(leader); err == nil {
			t.Fatal("the spoiled member holds the same as the leader")
		}
		stop, written := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(written)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					leader.put(fmt.Sprint("while ", i%20), []byte{byte(i)})
				}
			}
		}()
		applied, back := all[2].Node().Status().Applied, false
		watching := make(chan struct{})
		go func() {
			defer close(watching)
			for {
				select {
				case <-stop:
					return
				default:
					now := all[2].Node().Status().Applied
					back, applied = back || now < applied, now
				}
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		err := all[2].Node().Refetch(ctx)
		cancel()
		close(stop)
		<-written
		<-watching
		must(t, err)
		if back {
			t.Errorf("round %d: the applied index has gone back", round)
		}
		until(t, "the state of the leader", func() bool { return all[2].standing() == leader.standing() })
		if err := all[2].holds(leader); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
}

// The leader's state can be fetched anew at the very entry at which a snapshot was adopted before, as in a cluster in which
// nothing happens.
func TestRefetchWhereItWasAdopted(t *testing.T) {
	w := &wire{ends: make(map[kind.MemberID]*wireEnd)}
	mem := vfs.NewMem()
	a, b := lag(t, w, mem, 60)
	defer a.halt()
	defer b.halt()
	r, err := w.begin(t, 2, mem)
	must(t, err)
	defer r.halt()
	until(t, "the member to come to the others' state", func() bool { return r.standing() == a.standing() && a.standing() == b.standing() })
	adopted := r.Dir().StoreName()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must(t, r.Node().Refetch(ctx))
	if now := r.Dir().StoreName(); adopted == "store-1" || now == adopted {
		t.Errorf("the stores were %s and then %s", adopted, now)
	}
}

// A member that is cut off while it fetches the leader's state starts again, with the one state or the other, and follows.
func TestCrashDuringRefetch(t *testing.T) {
	w := &wire{ends: make(map[kind.MemberID]*wireEnd)}
	c := &crashes{mem: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(6, 6))}
	all := three(t, w, c.fs(), 40)
	defer all[0].halt()
	defer all[1].halt()
	follower(t, all)
	until(t, "the follower to follow", func() bool { return all[2].standing() == all[0].standing() && all[2].standing() == all[1].standing() })
	all[2].spoil("zz")
	old := all[2].standing()
	c.armed.Store(true)
	must(t, all[2].Node().Refetch(context.Background()))
	until(t, "the state of the leader", func() bool { return all[2].standing() == all[0].standing() })
	c.end()
	all[2].halt()
	stores := c.each(t, w, all[0], all[1], old.Position.Index, func(r *rig, name string) {
		err := r.holds(all[0])
		if fetched := r.Dir().StoreName() != "store-1"; fetched != (err == nil) {
			t.Errorf("%s: in %s: %v", name, r.Dir().StoreName(), err)
		}
	})
	if len(stores) < 2 {
		t.Errorf("all members started in %v: the crashes saw one side only", stores)
	}
}
