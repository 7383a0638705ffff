package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// A power cut at any moment leaves whole batches, and replaying the entries after the applied position ends in the
// same state: exactly once (I2, M2).
func TestReplayAfterCrash(t *testing.T) {
	entries := randomEntries(11)
	fs := vfs.NewCrashableMem()
	mo := mvcc.Options{SpillBytes: 16 << 10}
	r := createRig(t, fs, mo, Options{})
	random := rand.New(rand.NewPCG(8, 8))
	states := []store.Applied{r.State()}
	var clones []*vfs.MemFS
	for _, data := range entries {
		r.apply(data)
		states = append(states, r.State())
		if random.IntN(12) == 0 {
			if err := r.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if random.IntN(6) == 0 {
			clones = append(clones, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random}))
		}
	}
	want := r.dump()
	r.close(false)
	for n, clone := range clones {
		second := openRig(t, clone, mo, Options{})
		at := int(second.Applied().Index) - 1
		if second.State() != states[at] {
			t.Errorf("clone %d: after entry %d the state is\n%+v, it was\n%+v", n, at, second.State(), states[at])
		}
		for _, data := range entries[at:] {
			second.apply(data)
		}
		if got := second.dump(); got != want {
			t.Errorf("clone %d ends with\n%s\nwant\n%s", n, got, want)
		}
		second.close(false)
	}
	if len(clones) < 10 {
		t.Errorf("only %d clones", len(clones))
	}
}

// A transaction that only reads is answered from a view as it would be by the machine, refusals included.
func TestReadTxn(t *testing.T) {
	r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	defer r.close(false)
	for i := range 8 {
		r.do(put(string(rune('a'+i)), fmt.Sprint(i)))
		r.do(put("a", fmt.Sprint(i)))
	}
	r.do(&command.Compaction{Revision: 6})
	random := rand.New(rand.NewPCG(6, 6))
	seen, refused := 0, 0
	for seen < 300 {
		c, ok := randomCommand(random, 9).(*command.Txn)
		if !ok || !c.ReadOnly() || c.Check(128) != nil {
			continue
		}
		seen++
		view, err := r.kv.View()
		if err != nil {
			t.Fatal(err)
		}
		got := ReadTxn(view.Reader(context.Background()), c)
		want := r.do(c)
		if got.Err != want.Err || !bytes.Equal(got.Body, want.Body) || got.Err == nil && got.Revision != want.Revision {
			t.Fatalf("%+v\nread as %+v\nexecuted as %+v", c, got, want)
		}
		if got.Err != nil {
			refused++
		}
		if err := proto.Unmarshal(got.Body, &pb.TxnResponse{}); err != nil {
			t.Fatal(err)
		}
		got.Release()
		got.Release()
		view.Close()
	}
	if refused < 5 || refused > 250 {
		t.Errorf("%d of %d were refused", refused, seen)
	}
	view, err := r.kv.View()
	if err != nil {
		t.Fatal(err)
	}
	view.Close()
	one := &command.Txn{Success: []command.Op{{Range: &command.Range{Interval: span("a", "z")}}}}
	if reply := ReadTxn(view.Reader(context.Background()), one); reply.Err == nil {
		t.Error("a closed view was read")
	}
}

// A store that another machine version wrote, or whose records contradict each other, is refused.
func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(set func(key, value []byte))
		want   error
	}{
		"a newer machine": {func(set func(key, value []byte)) {
			set(store.AppliedKey(), store.EncodeApplied(store.Applied{Revision: 1, Compacted: mvcc.NeverCompacted, MachineVersion: Latest() + 1}))
		}, ErrNewerMachine},
		"no machine": {func(set func(key, value []byte)) {
			set(store.AppliedKey(), store.EncodeApplied(store.Applied{Revision: 1, Compacted: mvcc.NeverCompacted}))
		}, ErrNewerMachine},
		"a broken cursor": {func(set func(key, value []byte)) { set(cursorKey, []byte{1}) }, ErrCursor},
		"a cursor of another entry": {func(set func(key, value []byte)) {
			set(cursorKey, cursor{entry: kind.Position{Index: 9, Term: 1}}.encode())
		}, ErrCursor},
		"a configuration of strangers": {func(set func(key, value []byte)) {
			member.WriteConfState(set, member.Configuration([]member.Member{{ID: 77}}))
		}, member.ErrRecord},
	} {
		fs := vfs.NewMem()
		if err := store.Create(fs, "store", testIdentity, func(set func(key, value []byte)) error {
			Genesis(set, founders(t))
			c.change(set)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		db, err := store.Open(fs, "store", testIdentity, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		kv, err := mvcc.Open(db, mvcc.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(db, kv, Options{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		db.Close(false)
	}
}

// The laws hold between neighbours of a random run and catch each planted breach.
func TestLaws(t *testing.T) {
	good := store.Applied{Position: kind.Position{Index: 5, Term: 2}, Revision: 9, Compacted: 4, Digest: 1, Elapsed: 7, MachineVersion: 1, LiveKeys: 1, LiveBytes: 1}
	after := good
	after.Position.Index++
	if err := errors.Join(CheckState(&good), CheckStep(&good, &after, 0)); err != nil {
		t.Fatal(err)
	}
	for name, breach := range map[string]func(a *store.Applied){
		"index":    func(a *store.Applied) { a.Position.Index++ },
		"term":     func(a *store.Applied) { a.Position.Term-- },
		"revision": func(a *store.Applied) { a.Revision--; a.Digest++ },
		"rush":     func(a *store.Applied) { a.Revision += 2; a.Digest++ },
		"blind":    func(a *store.Applied) { a.Revision++ },
		"compact":  func(a *store.Applied) { a.Compacted-- },
		"elapsed":  func(a *store.Applied) { a.Elapsed-- },
		"version":  func(a *store.Applied) { a.MachineVersion-- },
	} {
		bad := after
		breach(&bad)
		if CheckStep(&good, &bad, 1) == nil {
			t.Errorf("the breach of %s was not seen", name)
		}
	}
	for name, breach := range map[string]func(a *store.Applied){
		"revision": func(a *store.Applied) { a.Revision = 0; a.Compacted = -1 },
		"compact":  func(a *store.Applied) { a.Compacted = 10 },
		"never":    func(a *store.Applied) { a.Compacted = -2 },
		"keys":     func(a *store.Applied) { a.LiveKeys = -1 },
		"bytes":    func(a *store.Applied) { a.LiveKeys = 0 },
		"version":  func(a *store.Applied) { a.MachineVersion = 99 },
	} {
		bad := good
		breach(&bad)
		if CheckState(&bad) == nil {
			t.Errorf("the breach of %s was not seen", name)
		}
	}
}
