package machine

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// cursor names a command that has been spilled into the store in part; the package comment draws it.
type cursor struct {
	entry   kind.Position
	command uint32
	digest  uint64 // the running digest before the command
}

const (
	cursorVersion = 1
	cursorLen     = 1 + 8 + 8 + 4 + 8 + 4
)

var (
	cursorKey  = store.AppendKey(nil, store.FamilyMeta, "cursor")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func (c cursor) encode() []byte {
	b := append(make([]byte, 0, cursorLen), cursorVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(c.entry.Index))
	b = binary.BigEndian.AppendUint64(b, uint64(c.entry.Term))
	b = binary.BigEndian.AppendUint32(b, c.command)
	b = binary.BigEndian.AppendUint64(b, c.digest)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeCursor(b []byte) (cursor, error) {
	if len(b) != cursorLen || b[0] != cursorVersion ||
		crc32.Checksum(b[:cursorLen-4], castagnoli) != binary.BigEndian.Uint32(b[cursorLen-4:]) {
		return cursor{}, fmt.Errorf("%w: %x", ErrCursor, b)
	}
	return cursor{
		entry: kind.Position{
			Index: kind.Index(binary.BigEndian.Uint64(b[1:])),
			Term:  kind.Term(binary.BigEndian.Uint64(b[9:])),
		},
		command: binary.BigEndian.Uint32(b[17:]),
		digest:  binary.BigEndian.Uint64(b[21:]),
	}, nil
}
