package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/kind"
)

// A store that came from another member as a snapshot bears a mark, until the log beside it is known to continue it. The
// record, numbers big endian:
//
//	01 | index u64 | term u64 | crc32c u32     the position at which the snapshot stood
const (
	adoptedVersion = 1
	adoptedLen     = 1 + 2*8 + 4
)

// localPrefix begins the names of the records in FamilyMeta that concern one member alone.
const localPrefix = "local/"

var adoptedKey = LocalKey("adopted")

// LocalKey returns the key of a record that concerns this member alone: it does not travel with snapshots.
func LocalKey(name string) []byte { return AppendKey(nil, FamilyMeta, localPrefix+name) }

// IsLocal says whether a key is that of a record that does not travel with snapshots: the identity, and LocalKey's.
func IsLocal(key []byte) bool {
	return bytes.Equal(key, identityKey) || len(key) > len(localPrefix) && key[0] == FamilyMeta && bytes.HasPrefix(key[1:], []byte(localPrefix))
}

func encodeAdopted(p kind.Position) []byte {
	b := append(make([]byte, 0, adoptedLen), adoptedVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Index))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Term))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeAdopted(b []byte) (kind.Position, error) {
	if len(b) > 0 && b[0] > adoptedVersion {
		return kind.Position{}, ErrNewer
	}
	if len(b) != adoptedLen || b[0] != adoptedVersion ||
		crc32.Checksum(b[:adoptedLen-4], castagnoli) != binary.BigEndian.Uint32(b[adoptedLen-4:]) {
		return kind.Position{}, corrupted("the mark of an adopted snapshot is not what was written")
	}
	return kind.Position{Index: kind.Index(binary.BigEndian.Uint64(b[1:])), Term: kind.Term(binary.BigEndian.Uint64(b[9:]))}, nil
}

// Adopted reports whether the store came as a snapshot and nothing that was applied after it is durable, so that nobody
// knows whether the log beside it was made to continue it. Whoever opens the log at a start says so to it, and calls
// ForgetAdoption when the log is open.
func (db *DB) Adopted() (bool, error) {
	value, closer, err := db.Get(adoptedKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, readFailure("read the mark of an adopted snapshot", err)
	}
	mark, err := decodeAdopted(value)
	closer.Close()
	if err != nil {
		return false, err
	}
	a, err := db.Applied()
	return err == nil && a.Position == mark, err
}

// ForgetAdoption removes the mark, when the log is durably known to continue the store. The removal becomes durable
// with the next flush, and so before anything that is applied later.
func (db *DB) ForgetAdoption() error {
	return WrapRead("remove the mark of an adopted snapshot", db.Delete(adoptedKey, pebble.NoSync))
}
