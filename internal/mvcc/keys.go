package mvcc

import (
	"encoding/binary"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

const (
	suffixLen  = 9             // ^revision and the byte that says nine
	historyLen = 1 + 8 + 4 + 1 // an 'h' key
	lastSub    = ^uint32(0)    // no change has this number
	latest     = kind.Revision(1<<63 - 1)
)

// appendPrefix appends the part of a 'v' key that all versions of key share. It is itself a valid bound that
// stands before all of them.
func appendPrefix(dst, key []byte) []byte {
	dst = append(dst, store.FamilyVersion)
	dst = append(dst, key...)
	return append(dst, 0)
}

// appendSuffix appends the suffix that makes a prefix the 'v' key of rev.
func appendSuffix(dst []byte, rev kind.Revision) []byte {
	dst = binary.BigEndian.AppendUint64(dst, ^uint64(rev))
	return append(dst, suffixLen)
}

// appendVersionKey appends the 'v' key of a version.
func appendVersionKey(dst, key []byte, rev kind.Revision) []byte {
	return appendSuffix(appendPrefix(dst, key), rev)
}

// splitVersionKey takes a 'v' key apart. The prefix aliases k; ok is false for bytes that are no such key.
func splitVersionKey(k []byte) (prefix []byte, rev kind.Revision, ok bool) {
	n := len(k) - suffixLen
	if n < 2 || k[0] != store.FamilyVersion || k[len(k)-1] != suffixLen || k[n-1] != 0 {
		return nil, 0, false
	}
	return k[:n], kind.Revision(^binary.BigEndian.Uint64(k[n:])), true
}

// userKey returns the key within a 'v' prefix.
func userKey(prefix []byte) []byte { return prefix[1 : len(prefix)-1] }

// appendHistoryKey appends the 'h' key of a change.
func appendHistoryKey(dst []byte, rev kind.Revision, sub uint32) []byte {
	dst = append(dst, store.FamilyHistory)
	dst = binary.BigEndian.AppendUint64(dst, uint64(rev))
	dst = binary.BigEndian.AppendUint32(dst, sub)
	return append(dst, 0)
}

// splitHistoryKey takes an 'h' key apart; ok is false for bytes that are no such key.
func splitHistoryKey(k []byte) (rev kind.Revision, sub uint32, ok bool) {
	if len(k) != historyLen || k[0] != store.FamilyHistory || k[historyLen-1] != 0 {
		return 0, 0, false
	}
	return kind.Revision(binary.BigEndian.Uint64(k[1:])), binary.BigEndian.Uint32(k[9:]), true
}

// bounds returns the bounds of the 'v' keys of iv. The slices are fresh.
func bounds(iv command.Interval) (lower, upper []byte) {
	lower = appendPrefix(make([]byte, 0, len(iv.Start)+2), iv.Start)
	switch iv.Shape {
	case command.Point:
		// Nothing lies between a key's last version and the first version of the key with a zero byte added.
		upper = append(appendPrefix(make([]byte, 0, len(iv.Start)+3), iv.Start), 0)
	case command.Span:
		upper = appendPrefix(make([]byte, 0, len(iv.End)+2), iv.End)
	default:
		upper = []byte{store.FamilyVersion + 1, 0}
	}
	return lower, upper
}
