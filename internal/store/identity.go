package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"holdfast/internal/kind"
)

// FormatVersion is the version of everything that this package and the rooms above it store. A store with a higher
// one is refused.
const FormatVersion = 1

const (
	identityMagic = "HFST"
	identityLen   = 4 + 4 + 3*8 + 4
)

// encodeIdentity returns the identity record (the layout is drawn in the package comment).
func encodeIdentity(format uint32, id kind.Identity) []byte {
	b := make([]byte, 0, identityLen)
	b = append(b, identityMagic...)
	b = binary.BigEndian.AppendUint32(b, format)
	b = binary.BigEndian.AppendUint64(b, uint64(id.Cluster))
	b = binary.BigEndian.AppendUint64(b, uint64(id.Member))
	b = binary.BigEndian.AppendUint64(b, id.Incarnation)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeIdentity reads the identity record. The version is looked at before the length, since a later format may
// have a longer record.
func decodeIdentity(b []byte) (kind.Identity, error) {
	if len(b) < 8 || string(b[:4]) != identityMagic {
		return kind.Identity{}, corrupted("the identity record does not begin with %s", identityMagic)
	}
	sum := len(b) - 4
	if crc32.Checksum(b[:sum], castagnoli) != binary.BigEndian.Uint32(b[sum:]) {
		return kind.Identity{}, corrupted("the checksum of the identity record does not match")
	}
	format := binary.BigEndian.Uint32(b[4:])
	if format > FormatVersion {
		return kind.Identity{}, fmt.Errorf("%w: it has format %d, this build reads up to %d", ErrNewer, format, FormatVersion)
	}
	if len(b) != identityLen || format == 0 {
		return kind.Identity{}, corrupted("the identity record has %d bytes instead of %d, or no format", len(b), identityLen)
	}
	return kind.Identity{
		Cluster:     kind.ClusterID(binary.BigEndian.Uint64(b[8:])),
		Member:      kind.MemberID(binary.BigEndian.Uint64(b[16:])),
		Incarnation: binary.BigEndian.Uint64(b[24:]),
	}, nil
}
