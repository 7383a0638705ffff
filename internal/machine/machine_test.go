package machine

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
)

// An entry with an empty body moves the position and nothing else; a configuration change moves the members too;
// both are there after opening again.
func TestPositionAndMembers(t *testing.T) {
	fs := vfs.NewMem()
	r := createRig(t, fs, mvcc.Options{}, Options{})
	if at := r.Applied(); at != (kind.Position{Index: 1, Term: 1}) {
		t.Fatalf("a new store stands at %+v", at)
	}
	before := r.State()
	r.apply(nil)
	after := r.State()
	after.Position = before.Position
	if after != before {
		t.Errorf("an empty entry changed %+v to %+v", before, after)
	}

	one := r.Members()[0]
	two := member.Member{ID: one.ID + 1, PeerURLs: []string{"http://127.0.0.1:12380"}, Learner: true}
	cs := &raftpb.ConfState{Voters: []uint64{uint64(one.ID)}, Learners: []uint64{uint64(two.ID)}}
	r.configure(cs, command.MemberStep{Op: command.AddLearner, ID: two.ID, PeerURLs: two.PeerURLs})
	if r.State().Digest == before.Digest {
		t.Error("the digest does not see a change of the members")
	}
	digest := r.State().Digest
	r.close(true)
	r = openRig(t, fs, mvcc.Options{}, Options{})
	defer r.close(true)
	if r.State().Digest != digest || r.Applied().Index != 3 {
		t.Errorf("opened at %+v", r.State())
	}
	if list := r.Members(); len(list) != 2 || !list[1].Equal(two) || !list[0].Equal(one) {
		t.Errorf("members %+v", list)
	}
	if !proto.Equal(r.ConfState(), cs) {
		t.Errorf("configuration %v", r.ConfState())
	}

	p := r.Begin(testLocal)
	cs = proto.Clone(cs).(*raftpb.ConfState)
	cs.Learners = append(cs.Learners, 99)
	if err := p.Configure(r.next(), cs, nil); !errors.Is(err, member.ErrRecord) {
		t.Errorf("a configuration with a stranger: %v", err)
	}
	if err := p.Commit(); err == nil {
		t.Error("what has failed was committed")
	}
}

// Only commands of this life of this member are answered; all are executed.
func TestOnlyLocalReplies(t *testing.T) {
	r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	defer r.close(true)
	var list []command.Command
	for i, o := range []command.Origin{{Member: 2, Boot: 7, Sequence: 1}, {Member: 2, Boot: 6, Sequence: 2}, {Member: 1, Boot: 7, Sequence: 3}, {Member: 2, Boot: 7, Sequence: 4}} {
		c := encodeCommand(put(string(rune('a'+i)), "v"))
		c.Origin = o
		list = append(list, c)
	}
	replies, changes := r.apply(command.AppendEntry(nil, &command.Entry{Commands: list}))
	if len(replies) != 2 || replies[0].Origin != list[0].Origin || replies[1].Origin != list[3].Origin {
		t.Errorf("replies %+v", replies)
	}
	if replies[0].Revision != 2 || replies[1].Revision != 5 || r.State().Revision != 5 || len(changes.Events) != 4 {
		t.Errorf("replies %+v at revision %d with %d events", replies, r.State().Revision, len(changes.Events))
	}
}

// The cluster's time never goes back, whatever an entry carries.
func TestElapsed(t *testing.T) {
	r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	defer r.close(true)
	for _, step := range [][2]uint64{{5, 5}, {3, 5}, {9, 9}, {0, 9}} {
		r.apply(command.AppendEntry(nil, &command.Entry{Elapsed: step[0]}))
		if got := r.State().Elapsed; got != step[1] {
			t.Errorf("after an entry at %d it is %d", step[0], got)
		}
	}
}

// What is not fully understood stops the member (I5), and nothing of it reaches the store.
func TestUnknownStops(t *testing.T) {
	good := encodeCommand(put("k", "v"))
	unknownField := good
	unknownField.Payload = append(bytes.Clone(good.Payload), 0x78, 1)
	broken := good
	broken.Payload = []byte{0x0a, 9}
	wrongKind := good
	wrongKind.Kind = command.KindTxn
	wrongKind.Payload = []byte{0x20, 1}
	for name, data := range map[string][]byte{
		"a version":       {2, 0, 0, 0},
		"a kind":          command.AppendEntry(nil, &command.Entry{Commands: []command.Command{good, {Kind: 9}}}),
		"a field":         command.AppendEntry(nil, &command.Entry{Commands: []command.Command{good, unknownField}}),
		"a payload":       command.AppendEntry(nil, &command.Entry{Commands: []command.Command{good, broken}}),
		"another payload": command.AppendEntry(nil, &command.Entry{Commands: []command.Command{good, wrongKind}}),
	} {
		r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
		before := r.State()
		p := r.Begin(testLocal)
		if err := p.Apply(Entry{r.next(), data}); !errors.Is(err, ErrUnknownEntry) {
			t.Errorf("%s that is not known: %v", name, err)
		}
		if err := p.Apply(Entry{r.next(), nil}); err == nil {
			t.Errorf("%s that is not known, and it goes on", name)
		}
		if err := p.Commit(); err == nil {
			t.Errorf("%s that is not known, and it was committed", name)
		}
		r.Machine.Close()
		if a, err := r.db.Applied(); err != nil || a != before {
			t.Errorf("%s that is not known, and the store stands at %+v, %v", name, a, err)
		}
		r.db.Close(false)
	}
}

// A put of a key in the middle of what an unbounded deletion deletes is refused if it keeps what is gone by then;
// etcd ends there. Nothing is written.
func TestKeepAfterDelete(t *testing.T) {
	r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	defer r.close(true)
	r.do(put("b", "1"))
	keep := &command.Put{Key: []byte("b"), IgnoreValue: true}
	all := &command.DeleteRange{Interval: span("a", "\x00")}
	reply := r.do(&command.Txn{Success: []command.Op{{Delete: all}, {Put: keep}}})
	if !errors.Is(reply.Err, command.ErrKeyNotFound) || r.State().Revision != 2 {
		t.Errorf("%+v at revision %d", reply, r.State().Revision)
	}
	reply = r.do(&command.Txn{Success: []command.Op{{Put: put("b", "2")}, {Delete: &command.DeleteRange{Interval: span("c", "\x00")}}}})
	if reply.Err != nil {
		t.Error(reply.Err)
	}
	reply = r.do(&command.Txn{Success: []command.Op{{Delete: all}, {Put: put("b", "3")}}})
	if reply.Err != nil || r.State().LiveKeys != 1 {
		t.Errorf("%+v, %d keys", reply, r.State().LiveKeys)
	}
}

// The body of a transaction says what etcd's says, headers within included.
func TestTxnBody(t *testing.T) {
	r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	defer r.close(true)
	r.do(put("a", "1"))
	reply := r.do(&command.Txn{
		Compares: []command.Compare{{Interval: span("a", ""), Target: command.CompareValue, Value: []byte("1")}},
		Success: []command.Op{
			{Range: &command.Range{Interval: span("a", "z")}},
			{Put: &command.Put{Key: []byte("a"), Value: []byte("2"), PrevKV: true}},
			{Range: &command.Range{Interval: span("a", "z")}},
			{Range: &command.Range{Interval: span("a", "z"), Revision: 2, CountOnly: true}},
			{Txn: &command.Txn{Compares: []command.Compare{{Interval: span("a", ""), Target: command.CompareValue, Value: []byte("2")}},
				Failure: []command.Op{{Delete: &command.DeleteRange{Interval: span("b", "c"), PrevKV: true}}, {Put: put("c", "3")}}}},
			{Txn: &command.Txn{}},
		},
	})
	var got pb.TxnResponse
	if err := proto.Unmarshal(reply.Body, &got); err != nil || reply.Err != nil {
		t.Fatal(err, reply.Err)
	}
	const want = `succeeded:true responses:{response_range:{header:{revision:2} kvs:{key:"a" create_revision:2 mod_revision:2 version:1 value:"1"} count:1}} ` +
		`responses:{response_put:{header:{revision:3} prev_kv:{key:"a" create_revision:2 mod_revision:2 version:1 value:"1"}}} ` +
		`responses:{response_range:{header:{revision:3} kvs:{key:"a" create_revision:2 mod_revision:3 version:2 value:"2"} count:1}} ` +
		`responses:{response_range:{header:{revision:3} count:1}} ` +
		`responses:{response_txn:{header:{} responses:{response_delete_range:{header:{revision:3}}} responses:{response_put:{header:{revision:3}}}}} ` +
		`responses:{response_txn:{header:{} succeeded:true}}`
	if describe(&got) != want || reply.Revision != 3 {
		t.Errorf("revision %d\n got %s\nwant %s", reply.Revision, describe(&got), want)
	}
}
