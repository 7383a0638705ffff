package etcdfile

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"holdfast/internal/kind"
)

// The buckets, in the order in which etcd makes them.
var (
	bucketKey            = []byte("key")
	bucketMeta           = []byte("meta")
	bucketLease          = []byte("lease")
	bucketAlarm          = []byte("alarm")
	bucketCluster        = []byte("cluster")
	bucketMembers        = []byte("members")
	bucketMembersRemoved = []byte("members_removed")
	bucketAuth           = []byte("auth")
	bucketAuthUsers      = []byte("authUsers")
	bucketAuthRoles      = []byte("authRoles")
)

var buckets = [][]byte{bucketKey, bucketMeta, bucketLease, bucketAlarm, bucketCluster, bucketMembers, bucketMembersRemoved,
	bucketAuth, bucketAuthUsers, bucketAuthRoles}

// The keys of the bucket meta and of its kin.
var (
	keyConsistentIndex  = []byte("consistent_index")
	keyTerm             = []byte("term")
	keyConfState        = []byte("confState")
	keyScheduledCompact = []byte("scheduledCompactRev")
	keyFinishedCompact  = []byte("finishedCompactRev")
	keyStorageVersion   = []byte("storageVersion")
	keyClusterVersion   = []byte("clusterVersion")
	keyAuthEnabled      = []byte("authEnabled")
	keyAuthRevision     = []byte("authRevision")
)

const (
	revisionLen  = 8 + 1 + 8 // revision '_' sub
	deletedLen   = revisionLen + 1
	deletedMark  = 't'
	revisionDash = '_'
)

// appendRevision appends the key of a change in the bucket key.
func appendRevision(dst []byte, rev kind.Revision, sub uint64, deleted bool) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(rev))
	dst = append(dst, revisionDash)
	dst = binary.BigEndian.AppendUint64(dst, sub)
	if deleted {
		dst = append(dst, deletedMark)
	}
	return dst
}

var errRevision = errors.New("it is no revision")

// splitRevision takes the key of a change apart.
func splitRevision(b []byte) (rev kind.Revision, sub uint64, deleted bool, err error) {
	if len(b) != revisionLen && (len(b) != deletedLen || b[revisionLen] != deletedMark) || b[8] != revisionDash {
		return 0, 0, false, fmt.Errorf("the key %x: %w", b, errRevision)
	}
	rev = kind.Revision(binary.BigEndian.Uint64(b))
	if rev < 0 {
		return 0, 0, false, fmt.Errorf("the key %x: %w", b, errRevision)
	}
	return rev, binary.BigEndian.Uint64(b[9:]), len(b) == deletedLen, nil
}

// etcdLease is leasepb.Lease, which is in etcd's server module.
type etcdLease struct {
	ID, TTL, Remaining int64
}

func (l etcdLease) encode() []byte {
	var b []byte
	for i, v := range []int64{l.ID, l.TTL, l.Remaining} {
		if v != 0 {
			b = protowire.AppendVarint(protowire.AppendTag(b, protowire.Number(i+1), protowire.VarintType), uint64(v))
		}
	}
	return b
}

var errLease = errors.New("a lease cannot be read")

func decodeLease(b []byte) (l etcdLease, err error) {
	fields := []*int64{&l.ID, &l.TTL, &l.Remaining}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return l, errLease
		}
		b = b[n:]
		if kind == protowire.VarintType && number >= 1 && int(number) <= len(fields) {
			v, m := protowire.ConsumeVarint(b)
			*fields[number-1], n = int64(v), m
		} else {
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return l, errLease
		}
		b = b[n:]
	}
	return l, nil
}
