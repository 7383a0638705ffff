package mvcc

import (
	"encoding/binary"

	"holdfast/internal/kind"
)

// change is a record of the history.
type change struct {
	deleted    bool
	superseded bool          // the key changes again in the same revision
	previous   kind.Revision // of the version that was live before this revision, 0 for none
	key        []byte
	row        []byte // the encoded row, if superseded and not deleted: 'v' has only the last of a revision
}

const (
	changePut        = 1
	changeDelete     = 2
	changeSuperseded = 0x80
)

// changeHead is the length of what precedes the key.
const changeHead = 1 + 8 + 4

func appendChange(dst []byte, c change) []byte {
	k := byte(changePut)
	if c.deleted {
		k = changeDelete
	}
	if c.superseded {
		k |= changeSuperseded
	}
	dst = append(dst, k)
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.previous))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(c.key)))
	dst = append(dst, c.key...)
	return append(dst, c.row...)
}

// decodeChange reads a record of the history without copying.
func decodeChange(b []byte) (c change, ok bool) {
	if len(b) < changeHead {
		return change{}, false
	}
	switch b[0] &^ changeSuperseded {
	case changePut:
	case changeDelete:
		c.deleted = true
	default:
		return change{}, false
	}
	c.superseded = b[0]&changeSuperseded != 0
	c.previous = kind.Revision(binary.BigEndian.Uint64(b[1:]))
	n := binary.BigEndian.Uint32(b[9:])
	if c.previous < 0 || n == 0 || uint64(n) > uint64(len(b)-changeHead) {
		return change{}, false
	}
	c.key, c.row = b[changeHead:changeHead+n], b[changeHead+n:]
	if inline := c.superseded && !c.deleted; inline != (len(c.row) > 0) {
		return change{}, false
	}
	return c, true
}
