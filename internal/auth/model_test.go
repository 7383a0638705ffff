package auth

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"holdfast/internal/command"
)

// model is the rules of users and roles in their plainest form: lists, looked through from the start.
type model struct {
	enabled  bool
	revision uint64
	users    map[string][]string // roles
	roles    map[string][]command.Permission
	tokens   map[string]int
}

// change is what etcd does, with the text of its refusal.
func (m *model) change(c *command.AuthChange) string {
	roles, user := m.users[c.User]
	perms, role := m.roles[c.Role]
	moved := func() string { m.revision++; return "" }
	switch c.Op {
	case command.AuthEnable:
		rootRoles, there := m.users["root"]
		switch {
		case m.enabled:
		case !there:
			return "root user does not exist"
		case !slices.Contains(rootRoles, "root"):
			return "root user does not have root role"
		}
		m.enabled = true
		return ""
	case command.AuthDisable:
		if !m.enabled {
			return ""
		}
		m.enabled = false
		clear(m.tokens)
		return moved()
	case command.UserAdd:
		switch {
		case c.User == "":
			return "user name is empty"
		case user:
			return "user name already exists"
		}
		m.users[c.User] = nil
		return moved()
	case command.UserDelete:
		switch {
		case m.enabled && c.User == "root":
			return "invalid auth management"
		case !user:
			return "user name not found"
		}
		delete(m.users, c.User)
		delete(m.tokens, c.User)
		return moved()
	case command.UserChangePassword:
		if !user {
			return "user name not found"
		}
		delete(m.tokens, c.User)
		return moved()
	case command.UserGrantRole:
		switch {
		case !user:
			return "user name not found"
		case c.Role != "root" && !role:
			return "role name not found"
		case slices.Contains(roles, c.Role):
			return ""
		}
		m.users[c.User] = append(slices.Clone(roles), c.Role)
		sort.Strings(m.users[c.User])
		return moved()
	case command.UserRevokeRole:
		switch {
		case m.enabled && c.User == "root" && c.Role == "root":
			return "invalid auth management"
		case !user:
			return "user name not found"
		case !slices.Contains(roles, c.Role):
			return "role is not granted to the user"
		}
		m.users[c.User] = slices.DeleteFunc(slices.Clone(roles), func(have string) bool { return have == c.Role })
		return moved()
	case command.RoleAdd:
		switch {
		case c.Role == "":
			return "role name is empty"
		case role:
			return "role name already exists"
		}
		m.roles[c.Role] = nil
		return moved()
	case command.RoleDelete:
		switch {
		case m.enabled && c.Role == "root":
			return "invalid auth management"
		case !role:
			return "role name not found"
		}
		delete(m.roles, c.Role)
		for name, roles := range m.users {
			m.users[name] = slices.DeleteFunc(slices.Clone(roles), func(have string) bool { return have == c.Role })
		}
		return moved()
	case command.RoleGrantPermission:
		if c.Permission == nil {
			return "permission not given"
		}
		key, end := c.Permission.Interval.Wire()
		switch {
		case len(key) == 0 || len(end) > 0 && string(end) != "\x00" && string(end) <= string(key):
			return "invalid auth management"
		case !role:
			return "role name not found"
		}
		for i := range perms {
			if same(perms[i].Interval, c.Permission.Interval) {
				perms[i].Type = c.Permission.Type
				return moved()
			}
		}
		m.roles[c.Role] = append(perms, *c.Permission)
		return moved()
	case command.RoleRevokePermission:
		if !role {
			return "role name not found"
		}
		for i := range perms {
			if same(perms[i].Interval, c.Permission.Interval) {
				m.roles[c.Role] = slices.Delete(perms, i, i+1)
				return moved()
			}
		}
		return "permission is not granted to the role"
	}
	return "?"
}

// may says by looking at each permission whether a user may touch one key.
func (m *model) may(user string, key string, wanted command.PermissionType) bool {
	roles, there := m.users[user]
	if !there {
		return false
	}
	for _, role := range roles {
		if role == "root" {
			return true
		}
		for _, p := range m.roles[role] {
			if (p.Type == wanted || p.Type == command.ReadWrite) && p.Interval.Contains([]byte(key)) {
				return true
			}
		}
	}
	return false
}

var (
	modelNames = []string{"root", "alice", "bob", "", "x"}
	modelKeys  = []string{"a", "a\x00", "b", "c", "ca", "d", ""}
	modelEnds  = []string{"", "", "\x00", "b", "b\x00", "c", "e", "a"}
)

func randomChange(r *rand.Rand) *command.AuthChange {
	pick := func(of []string) string { return of[r.IntN(len(of))] }
	c := &command.AuthChange{Op: command.AuthOp(1 + r.IntN(11)), User: pick(modelNames), Role: pick(modelNames)}
	if c.Op == command.AuthDisable && r.IntN(3) > 0 {
		c.Op = command.UserGrantRole
	}
	if r.IntN(20) > 0 || c.Op == command.RoleRevokePermission {
		c.Permission = permit(0, "", command.PermissionType(r.IntN(4)), pick(modelKeys), pick(modelEnds)).Permission
	}
	if r.IntN(2) == 0 {
		c.Hash = []byte{1, 2, byte(r.IntN(256))}
	}
	c.NoPassword = r.IntN(8) == 0
	return c
}

// Random changes answer as the model does, permit what the model permits, key by key and interval by interval, and are
// there again when the records are read anew. What a refused change or a batch that was not published did, nobody sees.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			s, records := newStore()
			m := &model{revision: 1, users: map[string][]string{}, roles: map[string][]command.Permission{}, tokens: map[string]int{}}
			now := uint64(0)
			for step := range 150 {
				c := randomChange(r)
				published, before := s.Snapshot(), describe(s)
				was := s.Snapshot().revision
				err := s.Change(c)
				want := m.change(c)
				if got := fmt.Sprint(err); got != want && (err != nil || want != "") {
					t.Fatalf("step %d: %+v answers %q, want %q", step, c, got, want)
				}
				if err != nil && describe(s) != before {
					t.Fatalf("step %d: a refused %+v has changed something", step, c)
				}
				if s.Snapshot() != published || published.revision != was {
					t.Fatal("a change is seen before it is published, or changes what was")
				}
				if name := modelNames[r.IntN(3)]; r.IntN(3) == 0 {
					now += 10
					token := command.TokenID{byte(step), byte(step >> 8), 1}
					err := s.Grant(&command.TokenGrant{User: name, Token: token, TTL: 1 << 40}, s.Current().revision, now)
					if u := s.Current().User(name); (err == nil) != (m.enabled && u != nil && !u.NoPassword) {
						t.Fatalf("a token for %q: %v", name, err)
					} else if err == nil {
						m.tokens[name]++
					}
				}
				s.Publish()
				if s.Snapshot().revision != m.revision || s.Snapshot().enabled != m.enabled {
					t.Fatalf("step %d: at %d, want %d", step, s.Snapshot().revision, m.revision)
				}
				total := 0
				for _, n := range m.tokens {
					total += n
				}
				if s.Tokens() != total {
					t.Fatalf("step %d: %d tokens, want %d", step, s.Tokens(), total)
				}
				s.Begin(records)
				checkPermissions(t, s.Snapshot(), m, r)
				if step%40 == 39 {
					again := reopened(t, records)
					if describe(again) != describe(s) {
						t.Fatalf("step %d: read again it is\n%swant\n%s", step, describe(again), describe(s))
					}
					s = again
				}
			}
		})
	}
}

// checkPermissions compares what intervals are covered with what the model says of every key that could tell them apart.
func checkPermissions(t *testing.T, s *Snapshot, m *model, r *rand.Rand) {
	t.Helper()
	probes := []string{"\x00", "0", "a", "a\x00", "a\x00\x00", "ab", "b", "b\x00", "bz", "c", "c\x00", "ca", "ca\x00", "d", "d\x00", "e", "zz", "\xff\xff"}
	for _, name := range modelNames {
		u := s.User(name)
		if u == nil || u.root {
			if (u != nil) != m.may(name, "anything", command.Read) && u != nil {
				t.Fatalf("%q is root", name)
			}
			continue
		}
		for _, side := range []struct {
			wanted command.PermissionType
			spans  spans
		}{{command.Read, u.read}, {command.Write, u.write}} {
			for range 6 {
				i := command.NewInterval([]byte(probes[r.IntN(len(probes))]), []byte(modelEnds[r.IntN(len(modelEnds))]))
				if i.Empty() {
					continue
				}
				want := true
				for _, key := range probes {
					if i.Contains([]byte(key)) && !m.may(name, key, side.wanted) {
						want = false
					}
				}
				if got := side.spans.cover(i); got != want {
					t.Fatalf("%q and %v of %v: %v, want %v; it has %v", name, i, side.wanted, got, want, side.spans)
				}
			}
		}
	}
}

// Uses move a token's end, never back, and are forgotten in the same order everywhere.
func TestTokens(t *testing.T) {
	s, records := newStore()
	for _, c := range []*command.AuthChange{change(command.UserAdd, "root", ""), change(command.UserGrantRole, "root", "root"), change(command.AuthEnable, "", "")} {
		if err := s.Change(c); err != nil {
			t.Fatal(err)
		}
	}
	grant := func(n byte, stamp, now uint64) error {
		return s.Grant(&command.TokenGrant{User: "root", Token: command.TokenID{n}, TTL: 100}, stamp, now)
	}
	if err := grant(0, 1, 0); !errors.Is(err, ErrOldRevision) {
		t.Errorf("for a password of an earlier user: %v", err)
	}
	for n := range byte(5) {
		if err := grant(n, s.Current().Revision(), uint64(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := grant(1, s.Current().Revision(), 9); !errors.Is(err, ErrAuthFailed) {
		t.Errorf("the same token twice: %v", err)
	}
	s.Touch(&command.TokenTouch{Uses: []command.TokenUse{{Token: command.TokenID{1}, Used: 50}, {Token: command.TokenID{2}, Used: 500}, {Token: command.TokenID{77}, Used: 1}}}, 60)
	ends := func() (list []uint64) {
		for n := range byte(5) {
			if token := s.Token(command.TokenID{n}); token != nil {
				list = append(list, token.end.Load())
			}
		}
		return list
	}
	if got := ends(); !slices.Equal(got, []uint64{100, 150, 160, 103, 104}) {
		t.Errorf("the ends are %v", got)
	}
	s.Touch(&command.TokenTouch{Uses: []command.TokenUse{{Token: command.TokenID{1}, Used: 10}}}, 60)
	if got := ends(); got[1] != 150 {
		t.Errorf("an earlier use moves the end to %d", got[1])
	}
	if s.Due(199) || !s.Due(200) {
		t.Error("due at the wrong time")
	}
	again := reopened(t, copied(records))
	s.Touch(&command.TokenTouch{}, 203)
	again.Touch(&command.TokenTouch{}, 203)
	if got := ends(); !slices.Equal(got, []uint64{150, 160, 104}) {
		t.Errorf("left are %v", got)
	}
	if describe(again) != describe(s) {
		t.Errorf("a member that was restarted knows\n%s, this one\n%s", describe(again), describe(s))
	}
}

func copied(r records) records {
	c := records{}
	for key, value := range r {
		c[key] = value
	}
	return c
}

// One command forgets a bounded number of tokens.
func TestForgettingIsBounded(t *testing.T) {
	s, _ := newStore()
	for i := range 3 * sweepTokens {
		s.tokens.add(command.TokenID{byte(i), byte(i >> 8), byte(i >> 16)}, "u", 1, 1)
	}
	s.Touch(&command.TokenTouch{}, 1000)
	if got := s.Tokens(); got != 2*sweepTokens {
		t.Errorf("%d tokens are left", got)
	}
	if !s.Due(1000) {
		t.Error("nobody comes back for the rest")
	}
	s.Touch(&command.TokenTouch{}, 1000)
	s.Touch(&command.TokenTouch{}, 1000)
	if s.Tokens() != 0 || s.Due(1<<60) || len(s.tokens.byUser) != 0 {
		t.Errorf("%d tokens are left", s.Tokens())
	}
}
