package machine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/auth"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
)

// authLog draws entries with users, roles, tokens, leases and keys, and applies each alone to a rig, which is what the
// other machines are compared with. It knows by itself which keys hang on which lease.
type authLog struct {
	*rig
	r       *rand.Rand
	entries [][]byte
	leases  map[kind.LeaseID]bool
	lease   map[string]kind.LeaseID // by key
	refused map[error]int
	quiet   bool // users and roles change seldom
}

var authKeys = []string{"a", "b", "c", "d"}

func newAuthLog(t testing.TB, seed uint64) *authLog {
	l := &authLog{rig: createRig(t, vfs.NewMem(), mvcc.Options{}, Options{}), r: rand.New(rand.NewPCG(seed, 3)),
		leases: map[kind.LeaseID]bool{}, lease: map[string]kind.LeaseID{}, refused: map[error]int{}}
	for _, c := range []command.AuthChange{
		{Op: command.UserAdd, User: "root"}, {Op: command.UserGrantRole, User: "root", Role: "root"},
		{Op: command.UserAdd, User: "alice"}, {Op: command.UserAdd, User: "bob"},
		{Op: command.RoleAdd, Role: "r"}, {Op: command.RoleAdd, Role: "s"},
	} {
		l.run(command.Command{Kind: command.KindAuth, Payload: command.AppendAuthChange(nil, &c)})
	}
	return l
}

// run applies a command as an entry of its own and keeps the entry.
func (l *authLog) run(c command.Command) Reply {
	l.t.Helper()
	l.sequence++
	c.Origin = command.Origin{Member: testLocal.Member, Boot: testLocal.Boot, Sequence: l.sequence}
	data := command.AppendEntry(nil, &command.Entry{Elapsed: l.sequence * 10, Commands: []command.Command{c}})
	l.entries = append(l.entries, data)
	replies, _ := l.apply(data)
	return replies[0]
}

func (l *authLog) pick(of ...string) string { return of[l.r.IntN(len(of))] }

// step draws one command, says what it must be answered, and applies it.
func (l *authLog) step() {
	users := l.Auth().Snapshot()
	name := l.pick("root", "alice", "alice", "bob", "bob", "nobody")
	stamp := users.Stamp()
	if l.r.IntN(6) == 0 {
		stamp = uint64(l.r.IntN(int(users.Revision()) + 1)) // somebody's who was allowed earlier, or without users
	}
	n := l.r.IntN(20)
	if n < 5 && l.quiet && l.r.IntN(15) > 0 {
		n = 5
	}
	switch {
	case n < 5:
		l.changeUsers(stamp)
	case n < 12:
		put := &command.Put{Key: []byte(l.pick(authKeys...)), Lease: kind.LeaseID(l.r.IntN(4)), PrevKV: l.r.IntN(4) == 0}
		var c command.Command
		var request any = put
		if l.r.IntN(2) == 0 {
			c = encodeCommand(put)
		} else {
			txn := &command.Txn{Success: []command.Op{{Txn: &command.Txn{Success: []command.Op{{Put: put}}}}}}
			c, request = encodeCommand(txn), txn
		}
		if err := l.by(c, name, stamp, request); err == nil {
			l.lease[string(put.Key)] = put.Lease
		}
	case n < 14:
		i := command.NewInterval([]byte(l.pick(authKeys...)), []byte(l.pick("", "c", "\x00")))
		del := &command.DeleteRange{Interval: i, PrevKV: l.r.IntN(2) == 0}
		if err := l.by(encodeCommand(del), name, stamp, del); err == nil {
			for key := range l.lease {
				if i.Contains([]byte(key)) {
					delete(l.lease, key)
				}
			}
		}
	case n < 16:
		grant := &command.LeaseGrant{ID: kind.LeaseID(1 + l.r.IntN(3)), TTL: 1 << 20}
		if err := l.by(encodeCommand(grant), name, stamp, grant); err == nil {
			l.leases[grant.ID] = true
		}
	case n < 17:
		revoke := &command.LeaseRevoke{ID: kind.LeaseID(1 + l.r.IntN(3))}
		if err := l.by(encodeCommand(revoke), name, stamp, revoke); err == nil {
			delete(l.leases, revoke.ID)
			for key, id := range l.lease {
				if id == revoke.ID {
					delete(l.lease, key)
				}
			}
		}
	case n < 19:
		grant := &command.TokenGrant{User: name, Token: command.TokenID{byte(l.r.IntN(256)), byte(l.r.IntN(256))}, TTL: 200}
		l.run(command.Command{Kind: command.KindAuthenticate, User: name, AuthRevision: stamp, Payload: command.AppendTokenGrant(nil, grant)})
	default:
		touch := &command.TokenTouch{Uses: []command.TokenUse{{Token: command.TokenID{byte(l.r.IntN(256))}, Used: l.sequence * 10}}}
		l.run(command.Command{Kind: command.KindTokenTouch, AuthRevision: command.ByMember, Payload: command.AppendTokenTouch(nil, touch)})
	}
}

func (l *authLog) changeUsers(stamp uint64) {
	c := &command.AuthChange{Op: command.AuthOp(1 + l.r.IntN(11)), User: l.pick("root", "alice", "bob"), Role: l.pick("r", "s", "root")}
	if l.r.IntN(3) > 0 {
		c.Op = []command.AuthOp{command.UserGrantRole, command.RoleGrantPermission, command.UserAdd, command.RoleAdd, command.AuthEnable}[l.r.IntN(5)]
	}
	if c.User == "root" && (c.Op == command.UserDelete || c.Op == command.UserRevokeRole) || c.Op == command.UserGrantRole && c.Role == "root" {
		c.Role, c.User = "r", "alice"
	}
	c.Permission = &command.Permission{Type: command.PermissionType(l.r.IntN(3)), Interval: command.NewInterval([]byte(l.pick(authKeys...)), []byte(l.pick("", "c", "\x00")))}
	by := l.pick("root", "root", "root", "alice")
	users := l.Auth().Snapshot()
	reply := l.run(command.Command{Kind: command.KindAuth, User: by, AuthRevision: stamp, Payload: command.AppendAuthChange(nil, c)})
	u := users.User(by)
	may := !users.Enabled() || stamp != 0 && u != nil && u.Since <= stamp && u.HasRole("root")
	if stamp == users.Stamp() && users.Enabled() {
		may = true // it was allowed at exactly this state; only a member with a defect proposes what is not
	}
	if errors.Is(reply.Err, ErrAuthChanged) == may {
		l.t.Fatalf("a change by %q at %d of %d: %v", by, stamp, users.Revision(), reply.Err)
	}
}

// by applies a request of somebody's and holds its reply to the rules.
func (l *authLog) by(c command.Command, name string, stamp uint64, request any) error {
	l.t.Helper()
	users := l.Auth().Snapshot()
	attached := func(id kind.LeaseID, yield func([]byte) bool) {
		for key, of := range l.lease {
			if of == id && !yield([]byte(key)) {
				return
			}
		}
	}
	now := auth.Identity{Name: name, Revision: users.Revision()}
	if users.Enabled() && stamp == users.Stamp() && users.Allow(now, request, nil) != nil {
		return errors.New("no member proposes this") // its own check refuses it
	}
	c.User, c.AuthRevision = name, stamp
	var want error
	if users.Enabled() {
		u := users.User(name)
		switch {
		case stamp == 0 || u == nil || u.Since > stamp || users.Allow(now, request, nil) != nil:
			want = ErrAuthChanged
		case users.Allow(now, request, attached) != nil:
			want = auth.ErrPermissionDenied
		}
	}
	before := l.State()
	reply := l.run(c)
	if want != nil && !errors.Is(reply.Err, want) || want == nil && (errors.Is(reply.Err, ErrAuthChanged) || errors.Is(reply.Err, auth.ErrPermissionDenied)) {
		l.t.Fatalf("entry %d: %T by %q at %d of %d answers %v, want %v; leases %v", len(l.entries), request, name, stamp, users.Revision(), reply.Err, want, l.lease)
	}
	if reply.Err != nil && l.State().Revision != before.Revision {
		l.t.Fatalf("refused with %v, it moves the revision", reply.Err)
	}
	l.refused[want]++
	return reply.Err
}

// decisions is everything that the users of a machine may do, and which tokens are known.
func decisions(m *Machine) string {
	users := m.Auth().Snapshot()
	text := fmt.Sprint(users.Enabled(), users.Revision(), m.Auth().Tokens(), users.Users(), users.Roles())
	for _, name := range append(users.Users(), "nobody") {
		id := auth.Identity{Name: name, Revision: users.Revision()}
		for _, key := range authKeys {
			for _, end := range []string{"", "c", "\x00"} {
				i := command.NewInterval([]byte(key), []byte(end))
				text += fmt.Sprint(users.Allow(id, &command.Range{Interval: i}, nil) == nil, users.Allow(id, &command.DeleteRange{Interval: i}, nil) == nil)
			}
		}
	}
	for i := range 256 {
		for j := range 256 {
			if token := m.Auth().Token(command.TokenID{byte(i), byte(j)}); token != nil {
				text += fmt.Sprint(i, j, token.User)
			}
		}
	}
	return text
}

// Commands are held to the users and roles of where they are applied; what hangs on leases is known exactly. The same
// entries in other batches, with restarts and power cuts between, make the same users, tokens, keys and digest.
func TestAuth(t *testing.T) {
	seen := map[error]int{}
	for seed := range uint64(16) {
		l := newAuthLog(t, seed)
		for step := range 800 {
			l.quiet = seed%2 == 1 && step > 60
			l.step()
		}
		for err, n := range l.refused {
			seen[err] += n
		}
		want, state := decisions(l.Machine), l.State()
		r := rand.New(rand.NewPCG(seed, 4))
		fs := vfs.NewCrashableMem()
		other := createRig(t, fs, mvcc.Options{}, Options{})
		for int(other.last) <= len(l.entries) {
			n := min(1+r.IntN(20), len(l.entries)-int(other.last)+1)
			other.apply(l.entries[other.last-1 : int(other.last)-1+n]...)
			switch r.IntN(12) {
			case 0:
				other.close(true)
				other = openRig(t, fs, mvcc.Options{}, Options{})
			case 1:
				clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
				other.close(false)
				fs = clone
				other = openRig(t, fs, mvcc.Options{}, Options{})
			}
		}
		if got := other.State(); got != state {
			t.Fatalf("seed %d: another machine stands at %+v, this one at %+v", seed, got, state)
		}
		if got := decisions(other.Machine); got != want {
			t.Fatalf("seed %d: another machine decides\n%s, this one\n%s", seed, got, want)
		}
		other.close(false)
		l.close(false)
	}
	for _, err := range []error{nil, ErrAuthChanged, auth.ErrPermissionDenied} {
		if seen[err] < 20 {
			t.Errorf("the answer %v came only %d times", err, seen[err])
		}
	}
}

// The digest covers what changes of users write, not what commands say.
func TestDigestSeesUsers(t *testing.T) {
	digest := func(c *command.AuthChange) uint64 {
		r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
		defer r.close(false)
		r.apply(r.packRaw(command.Command{Kind: command.KindAuth, Payload: command.AppendAuthChange(nil, c)}))
		return r.State().Digest
	}
	base := digest(&command.AuthChange{Op: command.UserAdd, User: "u", Hash: []byte("h")})
	for name, c := range map[string]*command.AuthChange{
		"name":        {Op: command.UserAdd, User: "v", Hash: []byte("h")},
		"hash":        {Op: command.UserAdd, User: "u", Hash: []byte("i")},
		"no password": {Op: command.UserAdd, User: "u", NoPassword: true},
		"refused":     {Op: command.UserAdd},
	} {
		if digest(c) == base {
			t.Errorf("the digest does not see the %s", name)
		}
	}
	if digest(&command.AuthChange{Op: command.UserAdd}) != digest(&command.AuthChange{Op: command.RoleAdd}) {
		t.Error("two refused changes have different effects")
	}
}

func (r *rig) packRaw(commands ...command.Command) []byte {
	for i := range commands {
		r.sequence++
		commands[i].Origin = command.Origin{Member: testLocal.Member, Boot: testLocal.Boot, Sequence: r.sequence}
	}
	return command.AppendEntry(nil, &command.Entry{Elapsed: r.sequence, Commands: commands})
}

// The digest of a fixed history of users is what it always was.
func TestAuthDigestFrozen(t *testing.T) {
	l := newAuthLog(t, 1)
	defer l.close(false)
	c := command.AuthChange{Op: command.AuthEnable}
	l.run(command.Command{Kind: command.KindAuth, Payload: command.AppendAuthChange(nil, &c)})
	grant := &command.TokenGrant{User: "root", Token: command.TokenID{1, 2, 3}, TTL: 1000}
	l.run(command.Command{Kind: command.KindAuthenticate, User: "root", AuthRevision: 7, Payload: command.AppendTokenGrant(nil, grant)})
	const want = uint64(0x420dd249efd9aebe)
	if got := l.State().Digest; got != want {
		t.Errorf("the digest is %#x, want %#x", got, want)
	}
}

// Who could write all keys of a lease once may lose the right.
func TestLeaseWriterLosesRight(t *testing.T) {
	l := newAuthLog(t, 1)
	defer l.close(false)
	change := func(c command.AuthChange) {
		users := l.Auth().Snapshot()
		if r := l.run(command.Command{Kind: command.KindAuth, User: "root", AuthRevision: users.Stamp(), Payload: command.AppendAuthChange(nil, &c)}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	only := func(key string) *command.Permission {
		return &command.Permission{Type: command.Write, Interval: command.NewInterval([]byte(key), nil)}
	}
	change(command.AuthChange{Op: command.UserGrantRole, User: "alice", Role: "r"})
	change(command.AuthChange{Op: command.RoleGrantPermission, Role: "r", Permission: only("a")})
	change(command.AuthChange{Op: command.RoleGrantPermission, Role: "r", Permission: only("b")})
	change(command.AuthChange{Op: command.AuthEnable})
	put := func(key string) error {
		c := encodeCommand(&command.Put{Key: []byte(key), Lease: 1})
		c.User, c.AuthRevision = "alice", l.Auth().Snapshot().Stamp()
		return l.run(c).Err
	}
	grant := encodeCommand(&command.LeaseGrant{ID: 1, TTL: 100})
	grant.AuthRevision = command.ByMember
	if err := errors.Join(l.run(grant).Err, put("a"), put("b")); err != nil {
		t.Fatal(err)
	}
	change(command.AuthChange{Op: command.RoleRevokePermission, Role: "r", Permission: only("a")})
	if err := put("b"); !errors.Is(err, auth.ErrPermissionDenied) {
		t.Errorf("a put beside a key that alice may not write any more: %v", err)
	}
}
