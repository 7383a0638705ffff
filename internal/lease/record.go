package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

const (
	recordVersion = 1
	recordLen     = 1 + 8 + 8 + 4

	partLease = 'g'
	partKey   = 'k'
	headLen   = 2 + 8 // family, part and id
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrRecord says that a stored record of a lease is broken or of a version that this program does not know.
var ErrRecord = errors.New("the record of a lease cannot be read")

// appendLeaseKey appends the key of a lease's record.
func appendLeaseKey(dst []byte, id kind.LeaseID) []byte {
	dst = append(dst, store.FamilyLease, partLease)
	return append(binary.BigEndian.AppendUint64(dst, uint64(id)), 0)
}

// appendAttachment appends the key of the record that attaches key to a lease. With an empty key, which no user's key
// is, it is the bound below all of the lease's.
func appendAttachment(dst []byte, id kind.LeaseID, key []byte) []byte {
	dst = append(dst, store.FamilyLease, partKey)
	dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	return append(append(dst, key...), 0)
}

// attachmentsEnd returns the bound above all attachments of a lease.
func attachmentsEnd(id kind.LeaseID) []byte {
	if uint64(id) == 1<<64-1 {
		return []byte{store.FamilyLease, partKey + 1, 0}
	}
	return appendAttachment(nil, id+1, nil)
}

// splitAttachment takes the key of an attachment apart. The key aliases k.
func splitAttachment(k []byte) (id kind.LeaseID, key []byte, ok bool) {
	if len(k) < headLen+2 || k[0] != store.FamilyLease || k[1] != partKey || k[len(k)-1] != 0 {
		return 0, nil, false
	}
	return kind.LeaseID(binary.BigEndian.Uint64(k[2:])), k[headLen : len(k)-1], true
}

// Encode returns the stored form of l without its id, which is the key.
func Encode(l Lease) []byte { return appendRecord(make([]byte, 0, recordLen), l) }

func appendRecord(dst []byte, l Lease) []byte {
	start := len(dst)
	dst = append(dst, recordVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(l.TTL))
	dst = binary.BigEndian.AppendUint64(dst, l.Deadline)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// Decode reads the stored form of the lease with this id. The error is ErrRecord.
func Decode(id kind.LeaseID, b []byte) (Lease, error) {
	switch {
	case len(b) > 0 && b[0] > recordVersion:
		return Lease{}, fmt.Errorf("%w: that of %v has version %d, this build knows %d", ErrRecord, id, b[0], recordVersion)
	case len(b) != recordLen || b[0] != recordVersion ||
		crc32.Checksum(b[:recordLen-4], castagnoli) != binary.BigEndian.Uint32(b[recordLen-4:]):
		return Lease{}, fmt.Errorf("%w: the checksum of that of %v does not match", ErrRecord, id)
	}
	l := Lease{ID: id, TTL: int64(binary.BigEndian.Uint64(b[1:])), Deadline: binary.BigEndian.Uint64(b[9:])}
	if l.TTL <= 0 || l.TTL > MaxTTL {
		return Lease{}, fmt.Errorf("%w: that of %v has a TTL of %d s", ErrRecord, id, l.TTL)
	}
	return l, nil
}

// Describe says in a line what a record of the family means, for dumps.
func Describe(key, value []byte) string {
	if id, attached, ok := splitAttachment(key); ok {
		return fmt.Sprintf("lease %v has the key %q", id, attached)
	}
	if len(key) == headLen+1 && key[1] == partLease {
		id := kind.LeaseID(binary.BigEndian.Uint64(key[2:]))
		l, err := Decode(id, value)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("lease %v, TTL %d s, deadline %d ns", id, l.TTL, l.Deadline)
	}
	return fmt.Sprintf("%q = %q, which is no record of leases", key, value)
}
