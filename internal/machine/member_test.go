package machine

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
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

// listed reads the body of a reply.
func listed(t *testing.T, body []byte) []*pb.Member {
	t.Helper()
	var list pb.MemberListResponse
	if err := proto.Unmarshal(body, &list); err != nil {
		t.Fatal(err)
	}
	return list.Members
}

// ids returns the ids of members.
func ids(list []*pb.Member) (ids []uint64) {
	for _, m := range list {
		ids = append(ids, m.ID)
	}
	return ids
}

// What a member publishes of itself and other peer URLs are there for everybody at once, in the answer, in the digest
// and after opening again; refusals write nothing.
func TestMemberRecords(t *testing.T) {
	fs := vfs.NewMem()
	r := createRig(t, fs, mvcc.Options{}, Options{})
	id := r.Members()[0].ID
	start := r.State()
	reply := r.do(&command.MemberPublish{ID: id, Name: "Ω", ClientURLs: []string{"http://a:1", "https://b:2"}})
	if list := listed(t, reply.Body); reply.Err != nil || len(list) != 1 || list[0].Name != "Ω" || len(list[0].ClientURLs) != 2 || list[0].ID != uint64(id) ||
		!slices.Equal(list[0].PeerURLs, r.Members()[0].PeerURLs) || list[0].IsLearner {
		t.Errorf("the answer is %v, %v", list, reply.Err)
	}
	published := r.State()
	if published.Digest == start.Digest || published.Revision != start.Revision {
		t.Errorf("published at %+v, before that %+v", published, start)
	}
	for want, c := range map[error]any{
		member.ErrIDNotFound: &command.MemberPublish{ID: id + 1, Name: "n"},
		nil:                  &command.MemberUpdate{ID: id, PeerURLs: []string{"http://c:1"}},
	} {
		before := *r.kvMember(t, id)
		if reply := r.do(c); reply.Err != want {
			t.Errorf("%+v: %v", c, reply.Err)
		}
		if after := *r.kvMember(t, id); want != nil && !after.Equal(before) {
			t.Errorf("a refusal has changed %+v to %+v", before, after)
		}
	}
	if err := r.do(&command.MemberUpdate{ID: id + 1}).Err; err != member.ErrIDNotFound {
		t.Errorf("an update of a stranger: %v", err)
	}
	r.close(true)
	r = openRig(t, fs, mvcc.Options{}, Options{})
	defer r.close(true)
	if m := r.Members()[0]; m.Name != "Ω" || !slices.Equal(m.PeerURLs, []string{"http://c:1"}) || len(m.ClientURLs) != 2 {
		t.Errorf("opened with %+v", m)
	}
}

func (r *rig) kvMember(t *testing.T, id kind.MemberID) *member.Member {
	for _, m := range r.Everyone() {
		if m.ID == id {
			return &m
		}
	}
	t.Fatalf("member %v is nowhere", id)
	return nil
}

// A cluster of one becomes two, one is replaced at once by a joint configuration, and goes: who leaves a joint
// configuration is in no answer and stays a member until it ends; the record of a removed member stays for ever, its
// alarms do not.
func TestMemberChange(t *testing.T) {
	fs := vfs.NewMem()
	r := createRig(t, fs, mvcc.Options{}, Options{})
	one := uint64(r.Members()[0].ID)
	two, three := one+1, one+2
	conf := func(voters ...uint64) *raftpb.ConfState { return &raftpb.ConfState{Voters: voters} }
	replies := r.configure(conf(one, two), command.MemberStep{Op: command.AddVoter, ID: kind.MemberID(two), PeerURLs: []string{"u2"}})
	if len(replies) != 1 || replies[0].Err != nil || !slices.Equal(ids(listed(t, replies[0].Body)), []uint64{one, two}) || replies[0].Revision != 1 {
		t.Fatalf("replies %+v", replies)
	}
	if replies[0].Origin.Sequence != r.sequence {
		t.Errorf("the reply is for %+v", replies[0].Origin)
	}
	r.do(&command.Alarm{Action: command.AlarmRaise, Member: kind.MemberID(two), Type: command.AlarmNoSpace})
	r.do(&command.Alarm{Action: command.AlarmRaise, Member: kind.MemberID(two), Type: command.AlarmCorrupt})
	r.do(&command.Alarm{Action: command.AlarmRaise, Member: kind.MemberID(one), Type: command.AlarmNoSpace})

	joint := &raftpb.ConfState{Voters: []uint64{one, three}, VotersOutgoing: []uint64{one, two}, AutoLeave: new(true)}
	replies = r.configure(joint, command.MemberStep{Op: command.AddVoter, ID: kind.MemberID(three), PeerURLs: []string{"u3"}},
		command.MemberStep{Op: command.RemoveMember, ID: kind.MemberID(two)})
	if len(replies) != 1 || !slices.Equal(ids(listed(t, replies[0].Body)), []uint64{one, three}) {
		t.Fatalf("replies %+v", replies)
	}
	if len(r.Members()) != 3 || len(r.Alarms()) != 3 {
		t.Errorf("in the joint configuration: members %v, alarms %v", r.Members(), r.Alarms())
	}
	if replies = r.configure(conf(one, three)); len(replies) != 0 {
		t.Errorf("the end of the joint configuration is answered with %v", replies)
	}
	for range 2 {
		if list := r.Members(); len(list) != 2 || uint64(list[1].ID) != three {
			t.Errorf("members %+v", list)
		}
		if list := r.Everyone(); len(list) != 3 || !list[1].Removed || uint64(list[1].ID) != two {
			t.Errorf("records %+v", list)
		}
		if list := r.Alarms(); len(list) != 1 || uint64(list[0].Member) != one {
			t.Errorf("alarms %v", list)
		}
		r.close(true)
		r = openRig(t, fs, mvcc.Options{}, Options{})
	}
	defer func() { r.close(true) }()
	for _, c := range []any{&command.MemberPublish{ID: kind.MemberID(two), Name: "back"}, &command.MemberUpdate{ID: kind.MemberID(two)}} {
		if err := r.do(c).Err; err != member.ErrIDRemoved {
			t.Errorf("%T of a removed member: %v", c, err)
		}
	}
	// A removed id in the configuration again is no cluster that goes on.
	p := r.Begin(testLocal)
	context := r.pack(&command.MemberChange{Steps: []command.MemberStep{{Op: command.AddVoter, ID: kind.MemberID(two)}}})
	if err := p.Configure(r.next(), conf(one, two, three), context); !errors.Is(err, member.ErrRecord) {
		t.Errorf("a removed id: %v", err)
	}
}

// What carries a change of the configuration is understood wholly, or the member stops (I5); and a change of the
// membership in an entry stops it too.
func TestMemberChangeStrange(t *testing.T) {
	good := encodeCommand(&command.MemberChange{Steps: []command.MemberStep{{Op: command.AddVoter, ID: 99, PeerURLs: []string{"u"}}}})
	twice, empty, field := good, good, good
	twice.Payload = append(slices.Clone(good.Payload), good.Payload...)
	empty.Payload = nil
	field.Payload = append(slices.Clone(good.Payload), 0x78, 1)
	pack := func(list ...command.Command) []byte { return command.AppendEntry(nil, &command.Entry{Commands: list}) }
	for name, context := range map[string][]byte{
		"no entry":             {9},
		"no command":           pack(),
		"two commands":         pack(good, good),
		"another command":      pack(encodeCommand(put("k", "v"))),
		"a member twice":       pack(twice),
		"a change of nothing":  pack(empty),
		"a field more":         pack(field),
		"the right one, alone": pack(good),
	} {
		r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
		p := r.Begin(testLocal)
		cs := r.ConfState()
		if name == "the right one, alone" {
			if err := p.Apply(Entry{r.next(), context}); !errors.Is(err, ErrUnknownEntry) {
				t.Errorf("in an entry: %v", err)
			}
		} else if err := p.Configure(r.next(), cs, context); !errors.Is(err, ErrUnknownEntry) {
			t.Errorf("%s: %v", name, err)
		}
		r.close(false)
	}
}

// Alarms are raised and cleared for everybody, answer as etcd's do, are in the digest and survive.
func TestAlarms(t *testing.T) {
	fs := vfs.NewMem()
	r := createRig(t, fs, mvcc.Options{}, Options{})
	type step struct {
		action command.AlarmAction
		id     kind.MemberID
		of     command.AlarmType
		answer bool // the alarm is in the answer
		moves  bool // it changes something
		want   []Alarm
	}
	space, corrupt := command.AlarmNoSpace, command.AlarmCorrupt
	steps := []step{
		{command.AlarmClear, 7, space, false, false, nil},
		{command.AlarmRaise, 7, space, true, true, []Alarm{{7, space}}},
		{command.AlarmRaise, 7, space, true, false, []Alarm{{7, space}}},
		{command.AlarmRaise, 3, corrupt, true, true, []Alarm{{3, corrupt}, {7, space}}},
		{command.AlarmRaise, 7, corrupt, true, true, []Alarm{{3, corrupt}, {7, space}, {7, corrupt}}},
		{command.AlarmRaise, 7, command.AlarmNone, false, false, []Alarm{{3, corrupt}, {7, space}, {7, corrupt}}},
		{command.AlarmRaise, 7, command.AlarmDowngrade, false, false, []Alarm{{3, corrupt}, {7, space}, {7, corrupt}}},
		{command.AlarmRaise, 0, command.AlarmDowngrade, true, true, []Alarm{{0, command.AlarmDowngrade}, {3, corrupt}, {7, space}, {7, corrupt}}},
		{command.AlarmClear, 0, command.AlarmDowngrade, true, true, []Alarm{{3, corrupt}, {7, space}, {7, corrupt}}},
		{command.AlarmRaise, 7, 9, false, false, []Alarm{{3, corrupt}, {7, space}, {7, corrupt}}},
		{command.AlarmAction(9), 7, space, false, false, []Alarm{{3, corrupt}, {7, space}, {7, corrupt}}},
		{command.AlarmClear, 0, space, false, false, []Alarm{{3, corrupt}, {7, space}, {7, corrupt}}},
		{command.AlarmClear, 7, space, true, true, []Alarm{{3, corrupt}, {7, corrupt}}},
		{command.AlarmClear, 7, space, false, false, []Alarm{{3, corrupt}, {7, corrupt}}},
	}
	// twin is a machine that did the steps before i and then nothing, in an entry.
	twin := func(i int) *rig {
		twin := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
		for _, s := range steps[:i] {
			twin.do(&command.Alarm{Action: s.action, Member: s.id, Type: s.of})
		}
		twin.sequence++
		twin.apply(command.AppendEntry(nil, &command.Entry{Elapsed: twin.sequence}))
		return twin
	}
	for i, s := range steps {
		before := r.State()
		reply := r.do(&command.Alarm{Action: s.action, Member: s.id, Type: s.of})
		var response pb.AlarmResponse
		if err := proto.Unmarshal(reply.Body, &response); err != nil || reply.Err != nil {
			t.Fatal(err, reply.Err)
		}
		if got := len(response.Alarms) == 1; got != s.answer || got && (response.Alarms[0].MemberID != uint64(s.id) || response.Alarms[0].Alarm != pb.AlarmType(s.of)) {
			t.Errorf("step %d is answered with %v", i, &response)
		}
		if !slices.Equal(r.Alarms(), s.want) {
			t.Errorf("step %d: %v, want %v", i, r.Alarms(), s.want)
		}
		if reply.Revision != before.Revision || r.State().Revision != before.Revision {
			t.Errorf("step %d moves the revision", i)
		}
		nothing := twin(i)
		if moved := r.State().Digest != nothing.State().Digest; moved != s.moves {
			t.Errorf("step %d: the digest sees a change: %v", i, moved)
		}
		nothing.close(false)
		sequence := r.sequence
		r.close(true)
		r = openRig(t, fs, mvcc.Options{}, Options{})
		r.sequence = sequence
		if !slices.Equal(r.Alarms(), s.want) {
			t.Errorf("step %d, opened: %v, want %v", i, r.Alarms(), s.want)
		}
	}
	key := alarmKey(Alarm{3, corrupt})
	for _, bad := range [][2][]byte{{key, {1}}, {key, append(encodeAlarm(key), 0)}, {key, encodeAlarm(alarmKey(Alarm{4, corrupt}))},
		{alarmKey(Alarm{3, 9}), encodeAlarm(alarmKey(Alarm{3, 9}))}, {key[:5], encodeAlarm(key[:5])}} {
		if _, err := decodeAlarm(bad[0], bad[1]); !errors.Is(err, ErrAlarmRecord) {
			t.Errorf("%x -> %x: %v", bad[0], bad[1], err)
		}
	}
	r.close(true)
}

// withVersion adds one to the versions that the machine knows, for one test, and returns its number.
func withVersion(t *testing.T, kinds []command.Kind) uint32 {
	last := Versions[len(Versions)-1]
	last.Number, last.Kinds = last.Number+1, kinds
	Versions = append(slices.Clone(Versions), last)
	t.Cleanup(func() { Versions = Versions[:len(Versions)-1] })
	return last.Number
}

// The version rises with the entry after the one that says so, never falls, and is in the digest; a version that is not
// known stops the member.
func TestVersionRaise(t *testing.T) {
	raised := withVersion(t, slices.DeleteFunc(slices.Clone(Versions[0].Kinds), func(k command.Kind) bool { return k == command.KindDelete }))
	fs := vfs.NewMem()
	r := createRig(t, fs, mvcc.Options{}, Options{})
	if v := r.State().MachineVersion; v != Versions[0].Number {
		t.Fatalf("a new cluster has version %d", v)
	}
	digest := r.State().Digest
	// In the same entry the old version counts: a deletion is still understood.
	r.apply(r.pack(&command.VersionRaise{Version: raised}, deleteSpan("a", "b")))
	if v := r.State().MachineVersion; v != raised || r.State().Digest == digest {
		t.Errorf("version %d", v)
	}
	r.do(&command.VersionRaise{Version: raised - 1})
	r.do(&command.VersionRaise{Version: raised})
	r.close(true)
	r = openRig(t, fs, mvcc.Options{}, Options{})
	if v := r.State().MachineVersion; v != raised {
		t.Errorf("opened in version %d", v)
	}
	p := r.Begin(testLocal)
	if err := p.Apply(Entry{r.next(), r.pack(deleteSpan("a", "b"))}); !errors.Is(err, ErrUnknownEntry) {
		t.Errorf("a command that the version does not know: %v", err)
	}
	r.close(false)

	r = createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	defer r.close(false)
	p = r.Begin(testLocal)
	if err := p.Apply(Entry{r.next(), r.pack(&command.VersionRaise{Version: raised + 1})}); !errors.Is(err, ErrNewerMachine) {
		t.Errorf("a version that is not known: %v", err)
	}
}

// A crash in the middle of a large command of an entry that raises the version, names a member and raises an alarm
// before it loses none of that, and the state is that of a machine that was not interrupted (I2).
func TestMemberCommandsBeforeACrash(t *testing.T) {
	raised := withVersion(t, Versions[0].Kinds)
	id := founders(t)[0].ID
	mo := mvcc.Options{SpillBytes: 24 << 10, PendingRows: 700, EventBytes: 64 << 10}
	entry := func(r *rig) []byte {
		r.sequence = 1 << 20
		return r.pack(&command.VersionRaise{Version: raised}, &command.MemberPublish{ID: id, Name: "new name"},
			&command.Alarm{Action: command.AlarmRaise, Member: 5, Type: command.AlarmCorrupt}, deleteSpan("key", "l"), put("after", "1"))
	}
	prepare := func(fs vfs.FS, o Options) *rig {
		r := createRig(t, fs, mo, o)
		for at := 0; at < 4000; {
			var fill []any
			for range 500 {
				fill = append(fill, put(fmt.Sprintf("key%05d", at), "value"))
				at++
			}
			r.apply(r.pack(fill...))
		}
		return r
	}
	whole := prepare(vfs.NewMem(), Options{})
	defer whole.close(false)
	whole.apply(entry(whole))

	fs := vfs.NewCrashableMem()
	var crashed *vfs.MemFS
	var r *rig
	r = prepare(fs, Options{Spilled: func() {
		if r != nil && crashed == nil {
			if err := r.db.Flush(); err != nil {
				t.Error(err)
			}
			crashed = fs.CrashClone(vfs.CrashCloneCfg{})
		}
	}})
	at := r.last
	r.apply(entry(r))
	r.close(false)
	if crashed == nil {
		t.Fatal("the deletion fits into a batch")
	}
	r = openRig(t, crashed, mo, Options{})
	defer r.close(false)
	if r.Applied().Index != at || r.State().MachineVersion == raised || r.cursor == nil || r.cursor.command != 3 {
		t.Fatalf("opened at %+v with %+v", r.State(), r.cursor)
	}
	r.apply(entry(r))
	if r.State() != whole.State() {
		t.Errorf("interrupted: %+v\nnot interrupted: %+v", r.State(), whole.State())
	}
	if r.Members()[0].Name != "new name" || !reflect.DeepEqual(r.Alarms(), whole.Alarms()) || len(r.Alarms()) != 1 {
		t.Errorf("members %v, alarms %v", r.Members(), r.Alarms())
	}
}

func deleteSpan(from, to string) *command.DeleteRange {
	return &command.DeleteRange{Interval: span(from, to)}
}
