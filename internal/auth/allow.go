package auth

import (
	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// Identity is who asks, and the auth revision at which that was proved: at 0 nobody is known. A proof may have a name
// that no user has: that of a certificate.
type Identity struct {
	Name     string
	Revision uint64
}

// AttachedKeys calls yield for each key that is attached to a lease, until it returns false. A lease that does not
// exist has none.
type AttachedKeys func(lease kind.LeaseID, yield func(key []byte) bool)

// Read asks for the keys of an interval by other means than a Range: a watch, or what an election shows.
type Read struct{ Interval command.Interval }

// Allow decides whether id may have request done: one of the requests of package command or a Read, by pointer.
// attached is asked about the leases that the request names; nil leaves them out. The refusals are ErrUserEmpty,
// ErrOldRevision and ErrPermissionDenied, and for requests that only the root role may make ErrUserNotFound.
func (s *Snapshot) Allow(id Identity, request any, attached AttachedKeys) error {
	if !s.enabled {
		return nil
	}
	switch r := request.(type) {
	case *command.Compaction, *command.AuthChange, *command.MemberChange, *command.MemberUpdate, *command.Alarm:
		return s.AllowAdmin(id)
	case *command.LeaseGrant, *command.LeaseLeases:
		return s.AllowAnyUser(id)
	case *command.LeaseTimeToLive:
		if !r.Keys {
			return s.AllowAnyUser(id)
		}
	}
	u, err := s.keyUser(id)
	if err != nil {
		return err
	}
	if u.root || u.may(request, attached) {
		return nil
	}
	return ErrPermissionDenied
}

// AllowAdmin decides whether id may do what only the root role may.
func (s *Snapshot) AllowAdmin(id Identity) error {
	if !s.enabled {
		return nil
	}
	if id.Revision == 0 || id.Name == "" {
		return ErrUserEmpty
	}
	u := s.users[id.Name]
	switch {
	case u == nil:
		return ErrUserNotFound
	case id.Revision < u.Since:
		return ErrOldRevision
	case !u.root:
		return ErrPermissionDenied
	}
	return nil
}

// AllowAnyUser decides whether id may do what every user may.
func (s *Snapshot) AllowAnyUser(id Identity) error {
	if !s.enabled {
		return nil
	}
	if id.Revision == 0 {
		return ErrUserEmpty
	}
	u := s.users[id.Name]
	switch {
	case u == nil:
		return ErrPermissionDenied
	case id.Revision < u.Since:
		return ErrOldRevision
	}
	return nil
}

// keyUser returns the user that asks for keys.
func (s *Snapshot) keyUser(id Identity) (*User, error) {
	switch {
	case id.Revision == 0:
		return nil, ErrUserEmpty
	case id.Revision < s.revision:
		return nil, ErrOldRevision
	}
	u := s.users[id.Name]
	if u == nil {
		return nil, ErrPermissionDenied
	}
	return u, nil
}

// Still decides for the machine whether a command that was allowed to name at an earlier auth revision is allowed
// now. The refusal may be any; whoever proposed the command asks Allow for the right one.
func (s *Snapshot) Still(name string, stamp uint64, request any, attached AttachedKeys) error {
	switch {
	case !s.enabled:
		return nil
	case stamp == 0:
		return ErrUserEmpty
	}
	if u := s.users[name]; u == nil || u.Since > stamp {
		return ErrOldRevision
	}
	return s.Allow(Identity{name, s.revision}, request, attached)
}

// IsRoot reports whether the user of that name may do everything.
func (s *Snapshot) IsRoot(name string) bool {
	u := s.users[name]
	return u != nil && u.root
}

// may decides about requests for keys. What it does not know is denied (A2).
func (u *User) may(request any, attached AttachedKeys) bool {
	switch r := request.(type) {
	case *command.Put:
		return u.mayPut(r, attached)
	case *command.Range:
		return u.read.cover(r.Interval)
	case *command.DeleteRange:
		return u.mayDelete(r)
	case *command.Txn:
		return u.mayTxn(r, attached)
	case *command.LeaseRevoke:
		return u.mayAttached(r.ID, attached, u.write)
	case *command.LeaseRenew:
		for _, id := range r.IDs {
			if !u.mayAttached(id, attached, u.write) {
				return false
			}
		}
		return true
	case *command.LeaseTimeToLive:
		return u.mayAttached(r.ID, attached, u.read)
	case *Read:
		return u.read.cover(r.Interval)
	}
	return false
}

func (u *User) mayPut(p *command.Put, attached AttachedKeys) bool {
	key := command.Interval{Shape: command.Point, Start: p.Key}
	return u.write.cover(key) && (!p.PrevKV || u.read.cover(key)) &&
		(p.Lease == 0 || u.mayAttached(p.Lease, attached, u.write))
}

func (u *User) mayDelete(d *command.DeleteRange) bool {
	return u.write.cover(d.Interval) && (!d.PrevKV || u.read.cover(d.Interval))
}

// mayTxn walks everything that the transaction could look at or do (A3).
func (u *User) mayTxn(t *command.Txn, attached AttachedKeys) bool {
	for i := range t.Compares {
		if !u.read.cover(t.Compares[i].Interval) {
			return false
		}
	}
	return u.mayBranch(t.Success, attached) && u.mayBranch(t.Failure, attached)
}

func (u *User) mayBranch(branch []command.Op, attached AttachedKeys) bool {
	for i := range branch {
		o, allowed := &branch[i], false
		switch {
		case o.Range != nil:
			allowed = u.read.cover(o.Range.Interval)
		case o.Put != nil:
			allowed = u.mayPut(o.Put, attached)
		case o.Delete != nil:
			allowed = u.mayDelete(o.Delete)
		case o.Txn != nil:
			allowed = u.mayTxn(o.Txn, attached)
		}
		if !allowed {
			return false
		}
	}
	return true
}

// mayAttached decides about a lease by the keys that are attached to it: whoever could attach one more could let all
// of them expire.
func (u *User) mayAttached(id kind.LeaseID, attached AttachedKeys, permitted spans) bool {
	if attached == nil {
		return true
	}
	allowed := true
	attached(id, func(key []byte) bool {
		allowed = permitted.cover(command.Interval{Shape: command.Point, Start: key})
		return allowed
	})
	return allowed
}

// Leases calls do for each lease that request would attach keys to or revoke.
func Leases(request any, do func(kind.LeaseID)) {
	switch r := request.(type) {
	case *command.Put:
		if r.Lease != 0 {
			do(r.Lease)
		}
	case *command.LeaseRevoke:
		do(r.ID)
	case *command.Txn:
		for _, branch := range [2][]command.Op{r.Success, r.Failure} {
			for i := range branch {
				if p := branch[i].Put; p != nil {
					Leases(p, do)
				} else if t := branch[i].Txn; t != nil {
					Leases(t, do)
				}
			}
		}
	}
}
