package machine

import (
	"holdfast/internal/auth"
	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// Where users meet everything else.

// Auth returns the users, roles and tokens, for readers.
func (m *Machine) Auth() *auth.Store { return m.auth }

// SetAuth and DeleteAuth are where the changes of users, roles and tokens go (auth.Writer).
func (p *Pending) SetAuth(key, value []byte) {
	p.machine.batch.Set(key, value)
	p.digest.authSet(key, value)
}

// DeleteAuth deletes one of those records.
func (p *Pending) DeleteAuth(key []byte) {
	p.machine.batch.Delete(key)
	p.digest.authDeleted(key)
}

// writers remembers of leases which user could write all keys that were attached, and at which auth revision that was
// found: since then only that user has attached keys, each of which it could write. It saves looking at all keys for
// each that is attached, and changes no answer.
type writers struct {
	of map[kind.LeaseID]writer
}

type writer struct {
	user     string
	revision uint64
}

// maxWriters bounds what is remembered.
const maxWriters = 1 << 16

// permitted decides whether a command that was allowed when it was proposed is allowed still. ErrAuthChanged sends it
// back to its proposer, who authorises it anew: it was allowed by users and roles that are not those of now, and would
// not be by these. What is attached to a lease is known for certain only here, so that a denial for that reason is
// final.
func (p *Pending) permitted(c *command.Command, request any) error {
	users := p.machine.auth.Current()
	if !users.Enabled() {
		p.writers.of = nil
		return nil
	}
	if c.AuthRevision == command.ByMember {
		return nil
	}
	if c.AuthRevision != users.Stamp() {
		if users.Still(c.User, c.AuthRevision, request, nil) != nil {
			return ErrAuthChanged
		}
	}
	return p.permittedLeases(users, c.User, request)
}

// permittedLeases decides about the leases that a request attaches keys to or revokes.
func (p *Pending) permittedLeases(users *auth.Snapshot, name string, request any) (err error) {
	switch r := request.(type) {
	case *command.Put:
		if r.Lease == 0 {
			return nil
		}
	case *command.LeaseRevoke, *command.Txn:
	default:
		return nil
	}
	auth.Leases(request, func(id kind.LeaseID) {
		if err != nil {
			return
		}
		now := writer{name, users.Revision()}
		switch before, known := p.writers.of[id]; {
		case known && before == now:
			return
		case known:
			delete(p.writers.of, id)
		}
		if users.IsRoot(name) {
			return
		}
		one := &command.LeaseRevoke{ID: id}
		if err = users.Allow(auth.Identity{Name: name, Revision: users.Revision()}, one, p.leases.Each); err != nil {
			return
		}
		if p.writers.of == nil || len(p.writers.of) >= maxWriters {
			p.writers.of = make(map[kind.LeaseID]writer)
		}
		p.writers.of[id] = now
	})
	return err
}

// authCommand executes one command about users, roles and tokens. It leaves a command of the keys open, which changes
// none: the revision stays.
func (p *Pending) authCommand(c *command.Command) (refused, err error) {
	users := p.machine.auth
	switch c.Kind {
	case command.KindAuth:
		change, whole, err := command.DecodeAuthChange(c.Payload)
		if err := understood(whole, err); err != nil {
			return nil, err
		}
		p.writer.BeginCommand()
		if refused := p.permitted(c, &change); refused != nil {
			return refused, nil
		}
		return users.Change(&change), nil
	case command.KindAuthenticate:
		grant, whole, err := command.DecodeTokenGrant(c.Payload)
		if err := understood(whole, err); err != nil {
			return nil, err
		}
		p.writer.BeginCommand()
		return users.Grant(&grant, c.AuthRevision, p.elapsed), nil
	case command.KindTokenTouch:
		touch, whole, err := command.DecodeTokenTouch(c.Payload)
		if err := understood(whole, err); err != nil {
			return nil, err
		}
		p.writer.BeginCommand()
		users.Touch(&touch, p.elapsed)
	}
	return nil, nil
}
