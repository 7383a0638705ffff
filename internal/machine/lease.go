package machine

import (
	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/command"
	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/mvcc"
)

// Where keys and leases meet.

// leaseExists reports whether keys may be attached to a lease.
func (r *run) leaseExists(id kind.LeaseID) bool {
	_, exists := r.leases.Get(id)
	return exists
}

// attach moves a key from one lease to another, 0 standing for none.
func (r *run) attach(key []byte, from, to kind.LeaseID) {
	if from == to {
		return
	}
	if from != 0 {
		r.leases.Detach(from, key)
	}
	if to != 0 {
		r.leases.Attach(to, key)
	}
}

// attachAgain gives a key back the lease that it had before a command that was interrupted.
func attachAgain(b *pebble.Batch, key []byte, gone, back mvcc.Row) error {
	return lease.Undone(key, back.Lease, gone.Lease,
		func(key, value []byte) error { return b.Set(key, value, nil) },
		func(key []byte) error { return b.Delete(key, nil) })
}

// leaseCommand executes one command about leases. It leaves a command of the keys open.
func (p *Pending) leaseCommand(c *command.Command) (refused, err error) {
	w := p.writer
	switch c.Kind {
	case command.KindLeaseGrant:
		grant, whole, err := command.DecodeLeaseGrant(c.Payload)
		if err := understood(whole, err); err != nil {
			return nil, err
		}
		w.BeginCommand()
		if refused := p.permitted(c, &grant); refused != nil {
			return refused, nil
		}
		return p.grantLease(grant), nil
	case command.KindLeaseRevoke:
		revoke, whole, err := command.DecodeLeaseRevoke(c.Payload)
		if err := understood(whole, err); err != nil {
			return nil, err
		}
		w.Fill(&p.start)
		w.BeginCommand()
		if refused := p.permitted(c, &revoke); refused != nil {
			return refused, nil
		}
		if _, exists := p.leases.Get(revoke.ID); !exists {
			return ErrLeaseNotFound, nil
		}
		p.endLease(revoke.ID, false)
	case command.KindLeaseRenew:
		renew, whole, err := command.DecodeLeaseRenew(c.Payload)
		if err := understood(whole, err); err != nil {
			return nil, err
		}
		w.BeginCommand()
		p.renewLeases(renew.IDs)
	case command.KindLeaseExpire:
		expire, whole, err := command.DecodeLeaseExpire(c.Payload)
		if err := understood(whole, err); err != nil {
			return nil, err
		}
		p.expireLeases(expire.IDs)
		w.BeginCommand()
	}
	return nil, nil
}

// grantLease makes a lease. Its answer has the fields ID and TTL of a LeaseGrantResponse.
func (p *Pending) grantLease(g command.LeaseGrant) error {
	switch _, exists := p.leases.Get(g.ID); {
	case g.ID == 0:
		return ErrLeaseNotFound
	case g.TTL > command.MaxLeaseTTL:
		return ErrLeaseTTLTooLarge
	case exists:
		return ErrLeaseExists
	}
	l := p.leases.Grant(g.ID, max(g.TTL, 1), p.elapsed)
	p.digest.granted(l)
	if r := &p.run; r.want {
		r.body = appendVarint(append(r.body, tagLeaseID), uint64(l.ID))
		r.body = appendVarint(append(r.body, tagLeaseTTL), uint64(l.TTL))
	}
	return nil
}

// renewLeases gives leases their whole TTL again. Its answer is a TTL in seconds, as a varint, for each of them, 0 for
// one that does not exist.
func (p *Pending) renewLeases(ids []kind.LeaseID) {
	for _, id := range ids {
		l, exists := p.leases.Renew(id, p.elapsed)
		if exists {
			p.digest.renewed(l)
		}
		if r := &p.run; r.want {
			r.body = appendVarint(r.body, uint64(l.TTL))
		}
	}
}

// expireLeases ends those of the leases that are due now: each in a revision and a step of the digest of its own, so
// that an interruption leaves whole leases.
func (p *Pending) expireLeases(ids []kind.LeaseID) {
	for _, id := range ids {
		l, exists := p.leases.Get(id)
		if !exists || l.Deadline > p.elapsed {
			continue
		}
		p.writer.Fill(&p.start)
		p.at.digest = p.digest.value
		p.writer.BeginCommand()
		p.endLease(id, true)
		p.writer.EndCommand()
		p.digest.end()
		p.ended++
	}
	p.at.digest = p.digest.value
}

// endLeaseKeys is how many keys of a lease are read before they are deleted, because writing moves what is read.
const endLeaseKeys = 512

// endLease deletes the keys of a lease, in their order, and then the lease. Memory stays bounded.
func (p *Pending) endLease(id kind.LeaseID, expired bool) {
	for {
		keys := p.leases.Keys(id, endLeaseKeys)
		for _, key := range keys {
			n := p.writer.DeleteRange(command.NewInterval(key, nil), mvcc.DeleteOptions{Prev: func(row mvcc.Row) {
				invariant.Check(row.Lease == id, "the key %q is attached to lease %v and names lease %v", key, id, row.Lease)
			}})
			invariant.Check(n == 1, "the key %q is attached to lease %v and does not exist", key, id)
			p.leases.Detach(id, key)
			p.writer.SpillIfFull(p.spill, key)
		}
		if len(keys) < endLeaseKeys {
			break
		}
	}
	p.leases.Remove(id, expired)
	p.digest.leaseEnded(id)
}
