package command

import (
	"google.golang.org/protobuf/encoding/protowire"

	"holdfast/internal/kind"
)

// MaxLeaseTTL is the longest TTL of a lease, in seconds, as in etcd.
const MaxLeaseTTL = 9_000_000_000

// LeaseGrant makes a lease. A client may leave the id at 0; whoever proposes the command has chosen one, and has
// raised the TTL to the least that the member grants.
type LeaseGrant struct {
	ID  kind.LeaseID
	TTL int64 // seconds
}

// LeaseRevoke ends a lease and deletes the keys that are attached to it.
type LeaseRevoke struct{ ID kind.LeaseID }

// LeaseRenew gives leases their whole TTL again. Leases that do not exist are passed over.
type LeaseRenew struct{ IDs []kind.LeaseID }

// LeaseExpire ends those of the leases whose time is over at the entry that carries the command.
type LeaseExpire struct{ IDs []kind.LeaseID }

// LeaseTimeToLive asks how long a lease has left, and which keys are attached to it. It is never proposed.
type LeaseTimeToLive struct {
	ID   kind.LeaseID
	Keys bool
}

// LeaseLeases asks for all leases. It is never proposed.
type LeaseLeases struct{}

// AppendLeaseGrant appends g as an etcdserverpb.LeaseGrantRequest.
func AppendLeaseGrant(dst []byte, g *LeaseGrant) []byte {
	dst = appendNumber(dst, 1, g.TTL)
	return appendNumber(dst, 2, int64(g.ID))
}

// AppendLeaseRevoke appends r as an etcdserverpb.LeaseRevokeRequest.
func AppendLeaseRevoke(dst []byte, r *LeaseRevoke) []byte { return appendNumber(dst, 1, int64(r.ID)) }

// AppendLeaseRenew appends r: field 1 for each lease, so that one lease makes an etcdserverpb.LeaseKeepAliveRequest.
func AppendLeaseRenew(dst []byte, r *LeaseRenew) []byte { return appendLeases(dst, r.IDs) }

// AppendLeaseExpire appends e: field 1 for each lease.
func AppendLeaseExpire(dst []byte, e *LeaseExpire) []byte { return appendLeases(dst, e.IDs) }

// AppendLeaseTimeToLive appends r as an etcdserverpb.LeaseTimeToLiveRequest.
func AppendLeaseTimeToLive(dst []byte, r *LeaseTimeToLive) []byte {
	return appendBool(appendNumber(dst, 1, int64(r.ID)), 2, r.Keys)
}

func appendLeases(dst []byte, ids []kind.LeaseID) []byte {
	for _, id := range ids {
		// A zero is written too: the answers are told apart by their places.
		dst = protowire.AppendTag(dst, 1, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(id))
	}
	return dst
}

// DecodeLeaseGrant reads an etcdserverpb.LeaseGrantRequest.
func DecodeLeaseGrant(b []byte) (g LeaseGrant, known bool, err error) {
	known, err = numbers(b, func(number, v uint64) bool {
		switch number {
		case 1:
			g.TTL = int64(v)
		case 2:
			g.ID = kind.LeaseID(v)
		default:
			return false
		}
		return true
	})
	return g, known, err
}

// DecodeLeaseRevoke reads an etcdserverpb.LeaseRevokeRequest.
func DecodeLeaseRevoke(b []byte) (r LeaseRevoke, known bool, err error) {
	known, err = numbers(b, func(number, v uint64) bool {
		if number == 1 {
			r.ID = kind.LeaseID(v)
		}
		return number == 1
	})
	return r, known, err
}

// DecodeLeaseRenew reads what AppendLeaseRenew writes. The list is fresh.
func DecodeLeaseRenew(b []byte) (r LeaseRenew, known bool, err error) {
	r.IDs, known, err = decodeLeases(b)
	return r, known, err
}

// DecodeLeaseExpire reads what AppendLeaseExpire writes. The list is fresh.
func DecodeLeaseExpire(b []byte) (e LeaseExpire, known bool, err error) {
	e.IDs, known, err = decodeLeases(b)
	return e, known, err
}

// DecodeLeaseKeepAlive reads an etcdserverpb.LeaseKeepAliveRequest; no field stands for the lease 0.
func DecodeLeaseKeepAlive(b []byte) (id kind.LeaseID, known bool, err error) {
	known, err = numbers(b, func(number, v uint64) bool {
		if number == 1 {
			id = kind.LeaseID(v)
		}
		return number == 1
	})
	return id, known, err
}

// DecodeLeaseTimeToLive reads an etcdserverpb.LeaseTimeToLiveRequest.
func DecodeLeaseTimeToLive(b []byte) (r LeaseTimeToLive, known bool, err error) {
	known, err = numbers(b, func(number, v uint64) bool {
		switch number {
		case 1:
			r.ID = kind.LeaseID(v)
		case 2:
			r.Keys = v != 0
		default:
			return false
		}
		return true
	})
	return r, known, err
}

// DecodeLeaseLeases reads an etcdserverpb.LeaseLeasesRequest, which has no field.
func DecodeLeaseLeases(b []byte) (r LeaseLeases, known bool, err error) {
	known, err = numbers(b, func(uint64, uint64) bool { return false })
	return r, known, err
}

func decodeLeases(b []byte) (ids []kind.LeaseID, known bool, err error) {
	known, err = numbers(b, func(number, v uint64) bool {
		if number == 1 {
			ids = append(ids, kind.LeaseID(v))
		}
		return number == 1
	})
	return ids, known, err
}

// numbers reads a message whose fields are all varints. take gets each and says whether it knows the field.
func numbers(b []byte, take func(number, v uint64) bool) (known bool, err error) {
	var d decoder
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 {
			return false, ErrWire
		}
		b = b[n:]
		if tag&7 == wireVarint {
			var v uint64
			if v, n = varint(b); n > 0 && !take(tag>>3, v) {
				d.lossy = true
			}
		} else {
			n = d.skip(tag, b)
		}
		if n == 0 {
			return false, ErrWire
		}
		b = b[n:]
	}
	return !d.lossy, nil
}
