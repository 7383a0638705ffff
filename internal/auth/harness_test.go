package auth

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// records is a batch in memory.
type records map[string][]byte

func (r records) SetAuth(key, value []byte) { r[string(key)] = slices.Clone(value) }
func (r records) DeleteAuth(key []byte)     { delete(r, string(key)) }

// newStore returns a store without users whose changes go to the records.
func newStore() (*Store, records) {
	s, r := &Store{}, records{}
	s.published.Store(newSnapshot())
	s.Begin(r)
	return s, r
}

// reopened returns what Open reads from the records.
func reopened(t testing.TB, r records) *Store {
	t.Helper()
	fs, id := vfs.NewMem(), kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}
	err := store.Create(fs, "store", id, func(set func(key, value []byte)) error {
		set(store.AppliedKey(), store.EncodeApplied(store.Applied{Position: kind.Position{Index: 1, Term: 1}, Revision: 1, MachineVersion: 1}))
		for key, value := range r {
			set([]byte(key), value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(fs, "store", id, store.Options{BlockCacheBytes: 1 << 20, OnFailure: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(false); err != nil {
			t.Error(err)
		}
	}()
	s, err := Open(db.DB)
	if err != nil {
		t.Fatal(err)
	}
	s.Begin(r)
	return s
}

// describe says everything that a store knows, so that two can be compared.
func describe(s *Store) string {
	users := s.Current()
	text := fmt.Sprintf("enabled %v, revision %d\n", users.enabled, users.revision)
	for _, name := range users.Users() {
		u := users.User(name)
		text += fmt.Sprintf("user %q %x no password %v since %d roles %q root %v read %v write %v\n",
			u.Name, u.Hash, u.NoPassword, u.Since, u.Roles, u.root, u.read, u.write)
	}
	for _, name := range users.Roles() {
		text += fmt.Sprintf("role %q", name)
		for _, p := range users.Role(name).Permissions {
			text += fmt.Sprintf(" %d %v", p.Type, p.Interval)
		}
		text += "\n"
	}
	all := map[command.TokenID]*Token{}
	for i := range s.tokens.shards {
		if shard := s.tokens.shards[i].Load(); shard != nil {
			maps.Copy(all, *shard)
		}
	}
	for _, id := range inOrder(all) {
		text += fmt.Sprintf("token %x of %q ttl %d end %d\n", id[:4], all[id].User, all[id].TTL, all[id].end.Load())
	}
	return text + fmt.Sprintf("%d tokens\n", s.Tokens())
}

func change(op command.AuthOp, user, role string) *command.AuthChange {
	return &command.AuthChange{Op: op, User: user, Role: role}
}

func permit(op command.AuthOp, role string, t command.PermissionType, key, end string) *command.AuthChange {
	return &command.AuthChange{Op: op, Role: role, Permission: &command.Permission{Type: t, Interval: command.NewInterval([]byte(key), []byte(end))}}
}
