package mvcc

import (
	"encoding/binary"
	"errors"

	"holdfast/internal/kind"
)

// Row is one version of a key. The zero Row means that the key is absent.
type Row struct {
	Encoded []byte // the KeyValue in protobuf encoding; never to be changed
	Create  kind.Revision
	Mod     kind.Revision
	Version int64
	Lease   kind.LeaseID

	keyAt, keyLen uint32
	plainLen      uint32 // the part that a keys-only answer shows
	headLen       uint32 // the part before the value, lease included
	valueAt       uint32
}

// Key returns the key of r. It is a part of Encoded.
func (r Row) Key() []byte { return r.Encoded[r.keyAt : r.keyAt+r.keyLen : r.keyAt+r.keyLen] }

// Value returns the value of r. It is a part of Encoded.
func (r Row) Value() []byte { return r.Encoded[r.valueAt:] }

// Exists reports whether r is a version of a key rather than its absence.
func (r Row) Exists() bool { return r.Encoded != nil }

// The tags of a KeyValue's fields, in the order in which they are stored.
const (
	tagKey     = 1<<3 | 2
	tagCreate  = 2 << 3
	tagMod     = 3 << 3
	tagVersion = 4 << 3
	tagLease   = 6 << 3
	tagValue   = 5<<3 | 2
)

// tombstoneLen is the length of a tombstone: shorter than the shortest row, so that the length alone tells them
// apart.
const tombstoneLen = 4

var errRow = errors.New("the bytes are not a stored row")

// rowSize returns an upper bound of the encoding of a row.
func rowSize(key, value []byte) int { return 2*6 + 4*11 + len(key) + len(value) }

// appendRow appends the encoding of a row to dst and returns it with the row, whose Encoded aliases it.
func appendRow(dst, key, value []byte, create, mod kind.Revision, version int64, lease kind.LeaseID) ([]byte, Row) {
	start := len(dst)
	r := Row{Create: create, Mod: mod, Version: version, Lease: lease, keyLen: uint32(len(key))}
	dst = append(dst, tagKey)
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	r.keyAt = uint32(len(dst) - start)
	dst = append(dst, key...)
	dst = appendNumber(dst, tagCreate, int64(create))
	dst = appendNumber(dst, tagMod, int64(mod))
	dst = appendNumber(dst, tagVersion, version)
	r.plainLen = uint32(len(dst) - start)
	dst = appendNumber(dst, tagLease, int64(lease))
	r.headLen = uint32(len(dst) - start)
	if len(value) > 0 {
		dst = append(dst, tagValue)
		dst = binary.AppendUvarint(dst, uint64(len(value)))
	}
	r.valueAt = uint32(len(dst) - start)
	dst = append(dst, value...)
	r.Encoded = dst[start:len(dst):len(dst)]
	return dst, r
}

func appendNumber(dst []byte, tag byte, n int64) []byte {
	if n == 0 {
		return dst
	}
	return binary.AppendUvarint(append(dst, tag), uint64(n))
}

// decodeRow reads a stored row without copying; anything but what appendRow writes is an error.
func decodeRow(b []byte) (Row, error) {
	r := Row{Encoded: b[:len(b):len(b)]}
	at, ok := 0, true
	number := func(tag byte) uint64 {
		if at >= len(b) || b[at] != tag {
			return 0
		}
		n, size := uvarint(b[at+1:])
		if size == 0 || n == 0 && tag != tagKey && tag != tagValue {
			ok = false
			return 0
		}
		at += 1 + size
		return n
	}
	n := number(tagKey)
	if n == 0 || n > uint64(len(b)-at) {
		return Row{}, errRow
	}
	r.keyAt, r.keyLen = uint32(at), uint32(n)
	at += int(n)
	r.Create = kind.Revision(number(tagCreate))
	r.Mod = kind.Revision(number(tagMod))
	r.Version = int64(number(tagVersion))
	r.plainLen = uint32(at)
	r.Lease = kind.LeaseID(number(tagLease))
	r.headLen = uint32(at)
	hasValue := at < len(b)
	n = number(tagValue)
	r.valueAt = uint32(at)
	if !ok || hasValue != (n > 0) || n != uint64(len(b)-at) || r.Create <= 0 || r.Mod < r.Create || r.Version <= 0 {
		return Row{}, errRow
	}
	return r, nil
}

// uvarint reads a varint in its shortest form; size 0 means that there is none.
func uvarint(b []byte) (n uint64, size int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	n, size = binary.Uvarint(b)
	if size <= 0 || b[size-1] == 0 {
		return 0, 0
	}
	return n, size
}

// shown returns the front part of r that an answer shows.
func (r Row) shown(f form) []byte {
	switch f {
	case formPlain:
		return r.Encoded[:r.plainLen]
	case formHead:
		return r.Encoded[:r.headLen]
	}
	return r.Encoded
}

// form tells how much of a row an answer shows. etcd answers keys-only from its index, which knows no leases,
// unless it had to read the values to sort by them.
type form uint8

const (
	formWhole form = iota
	formPlain      // without lease and value
	formHead       // without value
)

// size returns what a row takes in the store, for the counter of live bytes.
func (r Row) size() int64 { return int64(len(r.Encoded)) }
