package auth

import (
	"bytes"
	"maps"
	"slices"

	"holdfast/internal/command"
)

// Change carries out one change of users, roles or permissions, or refuses it as etcd does; a refused one has changed
// nothing. What it says of the caller's right to it was decided before.
func (s *Store) Change(c *command.AuthChange) error {
	switch c.Op {
	case command.AuthEnable:
		return s.enable()
	case command.AuthDisable:
		return s.disable()
	case command.UserAdd:
		return s.addUser(c)
	case command.UserDelete:
		return s.deleteUser(c.User)
	case command.UserChangePassword:
		return s.changePassword(c)
	case command.UserGrantRole:
		return s.grantRole(c.User, c.Role)
	case command.UserRevokeRole:
		return s.revokeRole(c.User, c.Role)
	case command.RoleAdd:
		return s.addRole(c.Role)
	case command.RoleDelete:
		return s.deleteRole(c.Role)
	case command.RoleGrantPermission:
		return s.grantPermission(c.Role, c.Permission)
	case command.RoleRevokePermission:
		return s.revokePermission(c.Role, c.Permission)
	}
	return ErrInvalidManagement
}

// enable lets permissions count. It does not move the auth revision, and is nothing if they count already.
func (s *Store) enable() error {
	current := s.Current()
	if current.enabled {
		return nil
	}
	root := current.users[Root]
	switch {
	case root == nil:
		return ErrRootUserMissing
	case !root.root:
		return ErrRootRoleMissing
	}
	next := s.editable()
	next.enabled = true
	s.w.SetAuth(stateKey, encodeState(true, next.revision))
	return nil
}

// disable stops permissions from counting and ends all simple tokens.
func (s *Store) disable() error {
	if !s.Current().enabled {
		return nil
	}
	s.editable().enabled = false
	for _, name := range slices.Sorted(maps.Keys(s.tokens.byUser)) {
		s.forgetUser(name)
	}
	s.moved()
	return nil
}

// moved moves the auth revision.
func (s *Store) moved() {
	next := s.editable()
	next.revision++
	s.w.SetAuth(stateKey, encodeState(next.enabled, next.revision))
}

// putUser writes a user that is not shared yet.
func (s *Store) putUser(u *User) {
	next := s.editable()
	next.resolve(u)
	next.users[u.Name] = u
	s.w.SetAuth(userKey(u.Name), encodeUser(u))
}

// putRole writes a role that is not shared yet.
func (s *Store) putRole(r *Role) {
	next := s.editable()
	next.roles[r.Name] = r
	next.resolveHolders(r.Name)
	s.w.SetAuth(roleKey(r.Name), encodeRole(r))
}

func (s *Store) addUser(c *command.AuthChange) error {
	switch {
	case c.User == "":
		return ErrUserEmpty
	case s.Current().users[c.User] != nil:
		return ErrUserExists
	}
	u := &User{Name: c.User, NoPassword: c.NoPassword, Since: s.Current().revision + 1}
	if !c.NoPassword {
		u.Hash = bytes.Clone(c.Hash)
	}
	s.putUser(u)
	s.moved()
	return nil
}

func (s *Store) deleteUser(name string) error {
	if s.Current().enabled && name == Root {
		return ErrInvalidManagement
	}
	if s.Current().users[name] == nil {
		return ErrUserNotFound
	}
	delete(s.editable().users, name)
	s.w.DeleteAuth(userKey(name))
	s.forgetUser(name)
	s.moved()
	return nil
}

func (s *Store) changePassword(c *command.AuthChange) error {
	u := s.Current().users[c.User]
	if u == nil {
		return ErrUserNotFound
	}
	next := *u
	next.Hash, next.Since = nil, s.Current().revision+1
	if !u.NoPassword {
		next.Hash = bytes.Clone(c.Hash)
	}
	s.putUser(&next)
	s.forgetUser(c.User)
	s.moved()
	return nil
}

// grantRole grants a role; the root role need not exist. Granting it again is nothing.
func (s *Store) grantRole(name, role string) error {
	u := s.Current().users[name]
	switch {
	case u == nil:
		return ErrUserNotFound
	case role != Root && s.Current().roles[role] == nil:
		return ErrRoleNotFound
	case u.HasRole(role):
		return nil
	}
	next := *u
	next.Roles = sortedInsert(u.Roles, role)
	s.putUser(&next)
	s.moved()
	return nil
}

func (s *Store) revokeRole(name, role string) error {
	if s.Current().enabled && name == Root && role == Root {
		return ErrInvalidManagement
	}
	u := s.Current().users[name]
	switch {
	case u == nil:
		return ErrUserNotFound
	case !u.HasRole(role):
		return ErrRoleNotGranted
	}
	s.takeRole(u, role)
	s.moved()
	return nil
}

func (s *Store) takeRole(u *User, role string) {
	next := *u
	next.Roles = slices.DeleteFunc(slices.Clone(u.Roles), func(have string) bool { return have == role })
	s.putUser(&next)
}

func (s *Store) addRole(name string) error {
	switch {
	case name == "":
		return ErrRoleEmpty
	case s.Current().roles[name] != nil:
		return ErrRoleExists
	}
	s.putRole(&Role{Name: name})
	s.moved()
	return nil
}

// deleteRole deletes a role and takes it from everybody who has it.
func (s *Store) deleteRole(name string) error {
	if s.Current().enabled && name == Root {
		return ErrInvalidManagement
	}
	if s.Current().roles[name] == nil {
		return ErrRoleNotFound
	}
	delete(s.editable().roles, name)
	s.w.DeleteAuth(roleKey(name))
	for _, user := range s.Current().Users() {
		if u := s.Current().users[user]; u.HasRole(name) {
			s.takeRole(u, name)
		}
	}
	s.moved()
	return nil
}

// validInterval reports whether i may stand in a permission: it can hold a key.
func validInterval(i command.Interval) bool { return len(i.Start) > 0 && !i.Empty() }

// grantPermission grants p, or gives the permission on the same keys another type.
func (s *Store) grantPermission(name string, p *command.Permission) error {
	switch {
	case p == nil:
		return ErrPermissionNotGiven
	case !validInterval(p.Interval):
		return ErrInvalidManagement
	}
	role := s.Current().roles[name]
	if role == nil {
		return ErrRoleNotFound
	}
	next := &Role{Name: name, Permissions: slices.Clone(role.Permissions)}
	at := slices.IndexFunc(next.Permissions, func(have command.Permission) bool { return same(have.Interval, p.Interval) })
	if at >= 0 {
		next.Permissions[at].Type = p.Type
	} else {
		at, _ := slices.BinarySearchFunc(next.Permissions, p, func(have command.Permission, p *command.Permission) int {
			if bytes.Compare(have.Interval.Start, p.Interval.Start) <= 0 {
				return -1
			}
			return 1
		})
		key, end := p.Interval.Wire()
		granted := command.Permission{Type: p.Type, Interval: command.NewInterval(bytes.Clone(key), bytes.Clone(end))}
		next.Permissions = slices.Insert(next.Permissions, at, granted)
	}
	s.putRole(next)
	s.moved()
	return nil
}

func (s *Store) revokePermission(name string, p *command.Permission) error {
	role := s.Current().roles[name]
	if role == nil {
		return ErrRoleNotFound
	}
	next := &Role{Name: name}
	for _, have := range role.Permissions {
		if p == nil || !same(have.Interval, p.Interval) {
			next.Permissions = append(next.Permissions, have)
		}
	}
	if len(next.Permissions) == len(role.Permissions) {
		return ErrPermissionNotGranted
	}
	s.putRole(next)
	s.moved()
	return nil
}

func same(a, b command.Interval) bool {
	return a.Shape == b.Shape && bytes.Equal(a.Start, b.Start) && bytes.Equal(a.End, b.End)
}

// inOrder lists the ids of a set in order.
func inOrder(set map[command.TokenID]*Token) []command.TokenID {
	ids := slices.Collect(maps.Keys(set))
	slices.SortFunc(ids, func(a, b command.TokenID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}
