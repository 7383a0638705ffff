package assembly

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/datadir"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/store"
	"holdfast/internal/wal"
	"holdfast/internal/watch"
)

// While a snapshot takes the place of the store, a reader reads on in what it has begun to read; watchers are given what
// they missed, each event once, or are told that it was compacted, and never jump; what was proposed gets an answer; the
// old store is closed and removed when its last reader has gone.
func TestLivesThroughAdoption(t *testing.T) {
	w := &wire{ends: make(map[kind.MemberID]*wireEnd)}
	mem := vfs.NewMem()
	all := three(t, w, mem, 40)
	defer func() {
		for _, r := range all {
			r.halt()
		}
	}()
	follower(t, all)
	late := all[2].Node()
	until(t, "the follower to follow", func() bool {
		return all[2].standing() == all[0].standing() && all[2].standing() == all[1].standing()
	})
	start := late.KV().Revision()
	view, err := late.KV().View()
	must(t, err)
	stream, err := late.Watch().NewStream("a client")
	must(t, err)
	defer stream.Close()
	everything := command.NewInterval([]byte{0}, []byte{0})
	for id, from := range map[int64]kind.Revision{1: 0, 2: 2, 3: start + 30} {
		stream.Watch(watch.Request{ID: id, Interval: everything, Start: from})
	}

	// The follower hears nothing while the others go on, compact and cut their logs.
	old, oldStore := late.DB(), all[2].Dir().StoreName()
	w.mu.Lock()
	delete(w.ends, all[2].Node().MemberID())
	w.mu.Unlock()
	leader := leading(t, all[0], all[1])
	for i := range 60 {
		leader.put(fmt.Sprint("missed ", i), []byte("value"))
	}
	compacted := leader.Node().KV().Revision() - 40
	_, err = leader.Node().Propose(context.Background(), command.Command{Kind: command.KindCompact,
		Payload: command.AppendCompaction(nil, &command.Compaction{Revision: compacted})})
	must(t, err)
	until(t, "the log to be cut", func() bool { return leader.Node().Replica.Log().FirstIndex() > all[2].standing().Position.Index+1 })
	lost := make(chan error, 1)
	go func() {
		_, err := late.Propose(context.Background(), command.Command{Kind: command.KindPut,
			Payload: command.AppendPut(nil, &command.Put{Key: []byte("in flight"), Value: []byte("v")})})
		lost <- err
	}()
	w.mu.Lock()
	w.ends[all[2].Node().MemberID()] = all[2].end
	w.mu.Unlock()
	until(t, "the snapshot to be adopted", func() bool { return late.DB() != old })
	until(t, "the follower to follow", func() bool { return all[2].standing() == leader.standing() })
	select {
	case <-lost: // whatever it is: the caller is not left alone
	case <-time.After(20 * time.Second):
		t.Error("what was proposed meanwhile gets no answer")
	}

	if got, err := view.Range(context.Background(), command.Range{Interval: everything, CountOnly: true}); err != nil || view.Revision() != start || got.Count != 40 {
		t.Errorf("the view of the old store reads %d keys at revision %d, %v", got.Count, view.Revision(), err)
	}
	if old.Shut() {
		t.Error("the old store could be closed while it is read")
	}
	if _, err := mem.Stat("data/" + oldStore); err != nil {
		t.Errorf("the old store was removed while it was read: %v", err)
	}

	given, events := make(map[int64][]kind.Revision), 0
	cancelled := make(map[int64]kind.Revision)
	defer func() {
		if t.Failed() {
			t.Logf("start %d, compacted %d (late %d), at %d: given %v, %d events, cancelled %v, late %+v", start, compacted, late.KV().Compacted(), late.KV().Revision(), given, events, cancelled, late.Status())
		}
	}()
	until(t, "the watchers to be served", func() bool {
		for _, r := range stream.Take(nil) {
			if r.Canceled {
				cancelled[r.WatchID] = r.CompactRevision
			}
			if r.Count > 0 {
				given[r.WatchID] = append(given[r.WatchID], r.Revision)
				if r.WatchID == 3 {
					events += r.Count
				}
			}
		}
		return len(cancelled) == 2 && len(given[3]) > 0 && slices.Max(given[3]) == late.KV().Revision()
	})
	// 1 and 2 wanted what the compaction has taken; 3 begins above it.
	if cancelled[1] != compacted || cancelled[2] != compacted || start+30 < compacted {
		t.Errorf("cancelled: %v, compacted at %d, the third starts at %d", cancelled, compacted, start+30)
	}
	if !slices.IsSorted(given[3]) || events != int(slices.Max(given[3])-(start+30))+1 {
		t.Errorf("the third watcher was given %d events, %v", events, given[3])
	}

	must(t, view.Close())
	until(t, "the old store to go", func() bool {
		_, err := mem.Stat("data/" + oldStore)
		return err != nil
	})
	if err := old.Enter(); err != store.ErrReplaced {
		t.Errorf("the old store lets readers in: %v", err)
	}
}

// A member that joins begins with nothing, at position (0, 0), gets all by a snapshot, and follows; it may be cut off
// anywhere on its way.
func TestJoins(t *testing.T) {
	w := &wire{ends: make(map[kind.MemberID]*wireEnd)}
	all := three(t, w, vfs.NewMem(), 60)
	defer all[0].halt()
	defer all[1].halt()
	follower(t, all)
	leader := leading(t, all[0], all[1])
	id := kind.Identity{Cluster: leader.Node().ClusterID(), Member: 0x77, Incarnation: 9}
	change := func(op command.MemberOp, urls ...string) {
		reply, err := leader.Node().ChangeMembers(context.Background(), command.MemberChange{Steps: []command.MemberStep{{Op: op, ID: id.Member, PeerURLs: urls}}})
		must(t, err)
		must(t, reply.Err)
	}
	change(command.AddLearner, "http://127.0.0.1:3380")
	all[2].halt()

	c := &crashes{mem: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(8, 8))}
	dir, err := datadir.Open(c.mem, "data", datadir.Options{})
	must(t, err)
	must(t, dir.Init(id, "joiner", func(logDir, storeDir string) error {
		genesis := func(set func(key, value []byte)) error { machine.JoiningGenesis(set); return nil }
		if err := store.Create(c.mem, storeDir, id, genesis); err != nil {
			return err
		}
		return wal.Create(c.mem, logDir, id, kind.Position{}, wal.Options{SegmentBytes: 16 << 10})
	}))
	must(t, dir.Close())
	c.armed.Store(true)
	joiner, err := w.begin(t, 2, c.fs())
	must(t, err)
	until(t, "the joining member to follow", func() bool { return joiner.standing() == leader.standing() })
	must(t, joiner.holds(leader))
	if joiner.Dir().StoreName() == "store-1" {
		t.Error("it has adopted no snapshot")
	}
	c.end()
	joiner.halt()
	stores := c.each(t, w, all[0], all[1], 0, func(r *rig, name string) {
		if err := r.holds(all[0]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	if len(stores) < 2 {
		t.Errorf("all members started in %v: the crashes saw one side only", stores)
	}
}
