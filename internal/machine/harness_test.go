package machine

import (
	"context"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

var (
	testIdentity = kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}
	testLocal    = Local{Member: 2, Boot: 7}
)

// rig is a machine on a file system in memory, with what a test does to it all the time.
type rig struct {
	t  testing.TB
	fs vfs.FS
	db *store.DB
	kv *mvcc.Store
	*Machine
	last     kind.Index
	sequence uint64
}

func founders(t testing.TB) []member.Member {
	_, members, err := member.Genesis("test", []member.Member{{Name: "one", PeerURLs: []string{"http://127.0.0.1:2380"}}})
	if err != nil {
		t.Fatal(err)
	}
	return members
}

func createRig(t testing.TB, fs vfs.FS, mo mvcc.Options, o Options) *rig {
	t.Helper()
	members := founders(t)
	err := store.Create(fs, "store", testIdentity, func(set func(key, value []byte)) error {
		Genesis(set, members)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return openRig(t, fs, mo, o)
}

func openRig(t testing.TB, fs vfs.FS, mo mvcc.Options, o Options) *rig {
	t.Helper()
	so := store.Options{BlockCacheBytes: 4 << 20, MemTableBytes: 4 << 20}
	if _, measuring := t.(*testing.B); measuring {
		so = store.Options{}
	}
	db, err := store.Open(fs, "store", testIdentity, so)
	if err != nil {
		t.Fatal(err)
	}
	if mo.RowCacheBytes == 0 {
		mo.RowCacheBytes = 1 << 20
	}
	kv, err := mvcc.Open(db, mo)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(db, kv, o)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, fs: fs, db: db, kv: kv, Machine: m, last: m.Applied().Index}
}

func (r *rig) close(flush bool) {
	r.t.Helper()
	if err := r.Machine.Close(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.db.Close(flush); err != nil {
		r.t.Fatal(err)
	}
}

// pack makes an entry of commands that this rig's member has proposed.
func (r *rig) pack(commands ...any) []byte {
	var list []command.Command
	for _, c := range commands {
		d := encodeCommand(c)
		r.sequence++
		d.Origin = command.Origin{Member: testLocal.Member, Boot: testLocal.Boot, Sequence: r.sequence}
		list = append(list, d)
	}
	return command.AppendEntry(nil, &command.Entry{Elapsed: r.sequence, Commands: list})
}

func encodeCommand(c any) command.Command {
	switch c := c.(type) {
	case *command.Put:
		return command.Command{Kind: command.KindPut, Payload: command.AppendPut(nil, c)}
	case *command.DeleteRange:
		return command.Command{Kind: command.KindDelete, Payload: command.AppendDeleteRange(nil, c)}
	case *command.Txn:
		return command.Command{Kind: command.KindTxn, Payload: command.AppendTxn(nil, c)}
	case *command.Compaction:
		return command.Command{Kind: command.KindCompact, Payload: command.AppendCompaction(nil, c)}
	case *command.LeaseGrant:
		return command.Command{Kind: command.KindLeaseGrant, Payload: command.AppendLeaseGrant(nil, c)}
	case *command.LeaseRevoke:
		return command.Command{Kind: command.KindLeaseRevoke, Payload: command.AppendLeaseRevoke(nil, c)}
	case *command.LeaseRenew:
		return command.Command{Kind: command.KindLeaseRenew, Payload: command.AppendLeaseRenew(nil, c)}
	case *command.LeaseExpire:
		return command.Command{Kind: command.KindLeaseExpire, Payload: command.AppendLeaseExpire(nil, c)}
	case *command.MemberPublish:
		return command.Command{Kind: command.KindMemberPublish, AuthRevision: command.ByMember, Payload: command.AppendMemberPublish(nil, c)}
	case *command.MemberUpdate:
		return command.Command{Kind: command.KindMemberUpdate, Payload: command.AppendMemberUpdate(nil, c)}
	case *command.Alarm:
		return command.Command{Kind: command.KindAlarm, AuthRevision: command.ByMember, Payload: command.AppendAlarm(nil, c)}
	case *command.VersionRaise:
		return command.Command{Kind: command.KindVersionRaise, AuthRevision: command.ByMember, Payload: command.AppendVersionRaise(nil, c)}
	case *command.MemberChange:
		return command.Command{Kind: command.KindMemberChange, Payload: command.AppendMemberChange(nil, c)}
	}
	panic(fmt.Sprintf("%T is no command", c))
}

// next names the position after the last.
func (r *rig) next() kind.Position {
	r.last++
	return kind.Position{Index: r.last, Term: 1}
}

// apply runs entries in one batch and returns a copy of the replies and events.
func (r *rig) apply(entries ...[]byte) ([]Reply, mvcc.Changes) {
	r.t.Helper()
	p := r.Begin(testLocal)
	for _, data := range entries {
		if err := p.Apply(Entry{r.next(), data}); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := p.Commit(); err != nil {
		r.t.Fatal(err)
	}
	return append([]Reply(nil), p.Replies()...), p.Changes()
}

// configure applies a change of the configuration to cs, which these steps have led to, or none.
func (r *rig) configure(cs *raftpb.ConfState, steps ...command.MemberStep) []Reply {
	r.t.Helper()
	var context []byte
	if len(steps) > 0 {
		context = r.pack(&command.MemberChange{Steps: steps})
	}
	p := r.Begin(testLocal)
	if err := p.Configure(r.next(), cs, context); err != nil {
		r.t.Fatal(err)
	}
	if err := p.Commit(); err != nil {
		r.t.Fatal(err)
	}
	return append([]Reply(nil), p.Replies()...)
}

// do runs one command in an entry of its own.
func (r *rig) do(c any) Reply {
	r.t.Helper()
	replies, _ := r.apply(r.pack(c))
	if len(replies) != 1 {
		r.t.Fatalf("%d replies to one command", len(replies))
	}
	return replies[0]
}

// dump returns the whole state as text: the applied record, every key, and the hash of the contents.
func (r *rig) dump() string {
	r.t.Helper()
	view, err := r.kv.View()
	if err != nil {
		r.t.Fatal(err)
	}
	defer view.Close()
	s := r.State()
	s.Position = kind.Position{}
	text := fmt.Sprintf("%+v\n", s)
	keys := int64(0)
	view.Reader(context.Background()).Each(command.NewInterval([]byte{0}, []byte{0}), func(row mvcc.Row) bool {
		keys++
		if keys <= 200 {
			text += fmt.Sprintf("%q = %q create %d mod %d version %d lease %d\n", row.Key(), row.Value(), row.Create, row.Mod, row.Version, row.Lease)
		}
		return true
	})
	if keys != s.LiveKeys {
		r.t.Fatalf("%d keys are there, %d are counted", keys, s.LiveKeys)
	}
	hash, compacted, revision, err := r.kv.HashKV(context.Background(), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, l := range r.Leases().All() {
		text += fmt.Sprintf("%+v", l)
		if err := r.Leases().Keys(l.ID, func(key []byte) bool { text += fmt.Sprintf(" %q", key); return len(text) < 1<<20 }); err != nil {
			r.t.Fatal(err)
		}
		text += "\n"
	}
	if err := CheckLeases(context.Background(), r.Leases(), r.kv, func(problem string) { r.t.Error(problem) }); err != nil {
		r.t.Fatal(err)
	}
	return text + fmt.Sprintf("hash %x compacted %d revision %d\n", hash, compacted, revision)
}

func span(key, end string) command.Interval { return command.NewInterval([]byte(key), []byte(end)) }

func put(key, value string) *command.Put { return &command.Put{Key: []byte(key), Value: []byte(value)} }
