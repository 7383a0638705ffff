package machine

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// configuration is a step of a history that changes the configuration.
type configuration struct {
	Change command.MemberChange
	Voters []uint64
}

// everything is a history with an effect in every family of the store. Some of it has a twin which takes the same room, so
// that taking the one for the other leaves the counters as they are.
func everything(one kind.MemberID) []any {
	read := command.Permission{Type: command.Write, Interval: span("a", "c")}
	return []any{
		put("a", "1"), put("b", "22"), put("gone", "x"), put("gond", "x"), put("d", "5"), &command.DeleteRange{Interval: span("gone", "")},
		&command.LeaseGrant{ID: 7, TTL: 3}, &command.LeaseGrant{ID: 8, TTL: 9}, &command.LeaseGrant{ID: 9, TTL: 900}, &command.LeaseGrant{ID: 10, TTL: 901},
		&command.Put{Key: []byte("c"), Value: []byte("33"), Lease: 9}, &command.Put{Key: []byte("e"), Lease: 8},
		&command.LeaseRenew{IDs: []kind.LeaseID{9}}, &command.LeaseExpire{IDs: []kind.LeaseID{7}}, &command.LeaseRevoke{ID: 8},
		&command.Txn{Success: []command.Op{{Put: put("d", "4")}, {Delete: &command.DeleteRange{Interval: span("b", "")}}}},
		&command.Compaction{Revision: 4},
		&command.MemberPublish{ID: one, Name: "alpha", ClientURLs: []string{"http://a:1"}},
		&command.MemberUpdate{ID: one, PeerURLs: []string{"http://b:1"}},
		&configuration{command.MemberChange{Steps: []command.MemberStep{{Op: command.AddVoter, ID: one + 1, PeerURLs: []string{"http://c:1"}}}}, []uint64{uint64(one), uint64(one + 1)}},
		&command.Alarm{Action: command.AlarmRaise, Member: one, Type: command.AlarmCorrupt},
		&command.Alarm{Action: command.AlarmRaise, Member: one + 1, Type: command.AlarmNoSpace},
		&command.Alarm{Action: command.AlarmClear, Member: one + 1, Type: command.AlarmNoSpace},
		&command.AuthChange{Op: command.UserAdd, User: "root", Hash: []byte("hash")}, &command.AuthChange{Op: command.RoleAdd, Role: "root"},
		&command.AuthChange{Op: command.UserGrantRole, User: "root", Role: "root"}, &command.AuthChange{Op: command.RoleAdd, Role: "r"}, &command.AuthChange{Op: command.RoleAdd, Role: "rx"},
		&command.AuthChange{Op: command.RoleGrantPermission, Role: "r", Permission: &read}, &command.AuthChange{Op: command.RoleDelete, Role: "r"},
		&command.AuthChange{Op: command.AuthEnable},
		&command.TokenGrant{User: "root", Token: command.TokenID{1}, TTL: 1 << 40}, &command.TokenGrant{User: "root", Token: command.TokenID{2}, TTL: 1 << 41},
		&command.TokenTouch{Uses: []command.TokenUse{{Token: command.TokenID{2}, Used: 1 << 33}}},
		&command.VersionRaise{Version: 2},
	}
}

// play applies a history, a command an entry, and returns the digest after it and what the store holds then, by family.
// It fails if the history holds what no member would propose.
func play(t *testing.T, commands []any) (digest uint64, families map[byte][]byte, err error) {
	r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	defer r.close(false)
	for i, c := range commands {
		p := r.Begin(testLocal)
		header := command.Entry{Elapsed: uint64(i) * second}
		if conf, ok := c.(*configuration); ok {
			header.Commands = []command.Command{encodeCommand(&conf.Change)}
			err = p.Configure(r.next(), &raftpb.ConfState{Voters: conf.Voters}, command.AppendEntry(nil, &header))
		} else {
			header.Commands = []command.Command{encodeAny(c, r.Auth().Snapshot().Revision())}
			err = p.Apply(Entry{r.next(), command.AppendEntry(nil, &header)})
		}
		if err == nil {
			err = p.Commit()
		}
		if err != nil {
			return 0, nil, err
		}
	}
	families = map[byte][]byte{}
	if err := r.db.Visit(nil, nil, func(key, value []byte) error {
		if bytes.Equal(key, store.AppliedKey()) {
			a := r.State()
			a.Digest = 0
			value = store.EncodeApplied(a)
		}
		families[key[0]] = fmt.Appendf(families[key[0]], "%x %x\n", key, value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return r.State().Digest, families, nil
}

func encodeAny(c any, authRevision uint64) command.Command {
	switch c := c.(type) {
	case *command.AuthChange:
		return command.Command{Kind: command.KindAuth, AuthRevision: command.ByMember, Payload: command.AppendAuthChange(nil, c)}
	case *command.TokenGrant:
		return command.Command{Kind: command.KindAuthenticate, User: c.User, AuthRevision: authRevision, Payload: command.AppendTokenGrant(nil, c)}
	case *command.TokenTouch:
		return command.Command{Kind: command.KindTokenTouch, AuthRevision: command.ByMember, Payload: command.AppendTokenTouch(nil, c)}
	}
	e := encodeCommand(c)
	e.AuthRevision = command.ByMember
	return e
}

// variants calls with each value that differs from v in one place.
func variants(v reflect.Value, with func()) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			variants(v.Elem(), with)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				variants(v.Field(i), with)
			}
		}
	case reflect.Array:
		if v.Len() > 0 {
			variants(v.Index(v.Len()-1), with)
		}
	case reflect.Slice:
		was := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(was, v)
		if v.Len() > 0 {
			variants(v.Index(v.Len()-1), with)
			v.Set(was.Slice(0, v.Len()-1))
			with()
		}
		v.Set(reflect.Append(was, reflect.New(v.Type().Elem()).Elem()))
		with()
		v.Set(was)
	case reflect.String:
		was := v.String()
		for _, other := range []string{was + "x", "y" + was} {
			v.SetString(other)
			with()
		}
		v.SetString(was)
	case reflect.Bool:
		v.SetBool(!v.Bool())
		with()
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int32, reflect.Int64:
		was := v.Int()
		v.SetInt(was + 1)
		with()
		v.SetInt(was)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		was := v.Uint()
		v.SetUint(was ^ 1)
		with()
		v.SetUint(was)
	}
}

// Whatever a command of a history does otherwise, in whatever family of the store it shows, the digest shows it too: no
// effect is left out of it. A history without one of its commands counts as well.
func TestDigestCoversEveryEffect(t *testing.T) {
	withVersion(t, firstKinds)
	commands := everything(founders(t)[0].ID)
	base, held, err := play(t, commands)
	if err != nil {
		t.Fatal(err)
	}
	showed := map[byte]int{}
	refused := 0
	compare := func(what string) {
		digest, families, err := play(t, commands)
		if err != nil {
			if !errors.Is(err, ErrUnknownEntry) && !errors.Is(err, ErrNewerMachine) {
				refused++ // the members would not follow the configuration, say
			}
			return
		}
		differ := ""
		for _, family := range []byte{store.FamilyMeta, store.FamilyVersion, store.FamilyHistory, store.FamilyLease, store.FamilyAuth, store.FamilyMember, store.FamilyAlarm} {
			if !bytes.Equal(families[family], held[family]) {
				differ += string(family)
				showed[family]++
			}
		}
		if differ != "" && digest == base {
			t.Errorf("%s: the store differs in %s, and the digest does not", what, differ)
		}
	}
	for i := range commands {
		was := commands[i]
		describe := fmt.Sprintf("%T %+v", was, was)
		variants(reflect.ValueOf(was), func() { compare(fmt.Sprintf("%s became %+v", describe, was)) })
		// Left out: a command that does nothing takes its place, so that the entries stay where they are.
		commands[i] = &command.LeaseRenew{IDs: []kind.LeaseID{999}}
		compare("without " + describe)
		commands[i] = was
	}
	for _, family := range []byte("mvhlanx") {
		if showed[family] < 2 {
			t.Errorf("only %d variants show in family %q: the history does not cover it", showed[family], family)
		}
	}
	t.Logf("variants that show, by family: %v", showed)
}

// A counter that has gone wrong on one member is in its digest from the next entry on.
func TestDigestSeesCounters(t *testing.T) {
	digest := func(spoil func(*store.Applied)) uint64 {
		fs := vfs.NewMem()
		r := createRig(t, fs, mvcc.Options{}, Options{})
		r.apply(r.pack(put("a", "1")))
		a := r.State()
		spoil(&a)
		if err := r.db.Set(store.AppliedKey(), store.EncodeApplied(a), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		r.close(true)
		r = openRig(t, fs, mvcc.Options{}, Options{})
		defer r.close(true)
		r.sequence = 50
		r.apply(r.pack(put("a", "1")))
		return r.State().Digest
	}
	right := digest(func(*store.Applied) {})
	for name, spoil := range map[string]func(*store.Applied){
		"live keys": func(a *store.Applied) { a.LiveKeys++ }, "live bytes": func(a *store.Applied) { a.LiveBytes++ },
		"versions": func(a *store.Applied) { a.Versions++ }, "time": func(a *store.Applied) { a.Elapsed += second },
	} {
		if digest(spoil) == right {
			t.Errorf("the digest does not see the %s", name)
		}
	}
}

// Another machine version is another digest, from the entry after the one that raises it.
func TestDigestOfVersion(t *testing.T) {
	raised := withVersion(t, firstKinds)
	digest := func(seed uint64, commands ...any) (digests []uint64) {
		Versions[len(Versions)-1].seed = seed
		r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
		defer r.close(false)
		for _, c := range commands {
			r.apply(r.pack(c))
			digests = append(digests, r.State().Digest)
		}
		return digests
	}
	commands := []any{put("a", "1"), &command.VersionRaise{Version: raised}, put("a", "2")}
	one, two := digest(0, commands...), digest(5, commands...)
	if one[0] != two[0] || one[1] != two[1] || one[2] == two[2] {
		t.Errorf("the digests are %x and %x", one, two)
	}
}

// Marks are where the cluster's time passes a half second and at every so many entries, whoever applies them in
// whatever batches, and what they say is the digest there.
func TestMarks(t *testing.T) {
	r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	defer r.close(false)
	var want, got []Mark
	elapsed := uint64(0)
	for r.last < 2100 {
		p := r.Begin(testLocal)
		for range 1 + r.last%7 {
			before := p.Applied()
			elapsed += uint64(r.last%5) * 90_000_000 * uint64(r.last%2)
			carried := elapsed
			if r.last%11 == 0 {
				carried = 0 // the leader did not know the time
			}
			at := r.next()
			data := command.AppendEntry(nil, &command.Entry{Elapsed: carried, Commands: []command.Command{encodeCommand(put("k", "v"))}})
			if r.last%13 == 0 {
				data = nil
			}
			if err := p.Apply(Entry{at, data}); err != nil {
				t.Fatal(err)
			}
			after := p.Applied()
			if at.Index%1024 == 0 || after.Elapsed/500_000_000 > before.Elapsed/500_000_000 {
				want = append(want, Mark{at.Index, after.Digest})
			}
			if due := MarkDue(before, after.Elapsed); due != (after.Elapsed/500_000_000 > before.Elapsed/500_000_000) {
				t.Errorf("at %d a mark is due: %v", at.Index, due)
			}
		}
		if err := p.Commit(); err != nil {
			t.Fatal(err)
		}
		got = append(got, p.Marks()...)
	}
	if len(want) < 100 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d marks, want %d", len(got), len(want))
	}
}
