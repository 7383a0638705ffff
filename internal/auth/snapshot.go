package auth

import (
	"maps"
	"slices"

	"holdfast/internal/command"
)

// Root is the name of the user without whom nothing is enabled, and of the role that may do everything.
const Root = "root"

// User is one user. It never changes; a change makes another one.
type User struct {
	Name       string
	Hash       []byte   // of the password, by bcrypt; empty if none can be right
	NoPassword bool     // known by a certificate alone
	Roles      []string // in order
	Since      uint64   // the auth revision at which the password was last set

	root        bool
	read, write spans
}

// Role is one role. It never changes; a change makes another one.
type Role struct {
	Name        string
	Permissions []command.Permission // by key; those of one key in the order in which they were granted
}

// Snapshot is users, roles and permissions at one auth revision. It never changes (A4); any goroutine may use it.
type Snapshot struct {
	enabled  bool
	revision uint64
	users    map[string]*User
	roles    map[string]*Role
}

// firstRevision is the auth revision of a store without users, as etcd's.
const firstRevision = 1

func newSnapshot() *Snapshot {
	return &Snapshot{revision: firstRevision, users: map[string]*User{}, roles: map[string]*Role{}}
}

// clone returns a copy whose lists may be changed.
func (s *Snapshot) clone() *Snapshot {
	c := *s
	c.users, c.roles = maps.Clone(s.users), maps.Clone(s.roles)
	return &c
}

// Enabled reports whether permissions count.
func (s *Snapshot) Enabled() bool { return s.enabled }

// Revision is the auth revision.
func (s *Snapshot) Revision() uint64 { return s.revision }

// Stamp is the AuthRevision of a command that this snapshot allows.
func (s *Snapshot) Stamp() uint64 {
	if !s.enabled {
		return 0
	}
	return s.revision
}

// User returns the user of that name, nil if there is none.
func (s *Snapshot) User(name string) *User { return s.users[name] }

// Role returns the role of that name, nil if there is none.
func (s *Snapshot) Role(name string) *Role { return s.roles[name] }

// Users lists the names of all users, in order.
func (s *Snapshot) Users() []string { return slices.Sorted(maps.Keys(s.users)) }

// Roles lists the names of all roles, in order.
func (s *Snapshot) Roles() []string { return slices.Sorted(maps.Keys(s.roles)) }

// HasRole reports whether the role was granted to u.
func (u *User) HasRole(role string) bool {
	_, found := slices.BinarySearch(u.Roles, role)
	return found
}

// resolve fills in what u may do, from its roles. u is not shared yet.
func (s *Snapshot) resolve(u *User) {
	u.root = u.HasRole(Root)
	var read, write spans
	for _, name := range u.Roles {
		role := s.roles[name]
		if role == nil {
			continue
		}
		for _, p := range role.Permissions {
			if p.Type == command.Read || p.Type == command.ReadWrite {
				read = read.add(p.Interval)
			}
			if p.Type == command.Write || p.Type == command.ReadWrite {
				write = write.add(p.Interval)
			}
		}
	}
	u.read, u.write = read.normal(), write.normal()
}

// resolveHolders resolves anew everybody who has the role.
func (s *Snapshot) resolveHolders(role string) {
	for name, u := range s.users {
		if u.HasRole(role) {
			next := *u
			s.resolve(&next)
			s.users[name] = &next
		}
	}
}
