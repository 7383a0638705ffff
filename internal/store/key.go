package store

import "github.com/cockroachdb/pebble/v2"

// The families of keys, by first byte. A family belongs to one room, which alone writes it.
const (
	FamilyMeta    byte = 'm' // store and machine: identity, applied record, cursors
	FamilyVersion byte = 'v' // mvcc: the versions of keys
	FamilyHistory byte = 'h' // mvcc: what changed at each revision
	FamilyLease   byte = 'l' // lease
	FamilyAuth    byte = 'a' // auth
	FamilyMember  byte = 'n' // member
	FamilyAlarm   byte = 'x' // alarms
)

// AppendKey appends the key of a record that has no suffix: family, name, 0. The name may hold any bytes.
func AppendKey(dst []byte, family byte, name string) []byte {
	dst = append(dst, family)
	dst = append(dst, name...)
	return append(dst, 0)
}

// FamilyBounds returns the lowest key of a family and the lowest key above it, as bounds of an iterator. The
// slices are fresh and belong to the caller.
func FamilyBounds(family byte) (lower, upper []byte) {
	return []byte{family, 0}, []byte{family + 1, 0}
}

// FamilyOptions returns the options of an iterator over one family.
func FamilyOptions(family byte) *pebble.IterOptions {
	lower, upper := FamilyBounds(family)
	return &pebble.IterOptions{LowerBound: lower, UpperBound: upper}
}

var (
	identityKey = AppendKey(nil, FamilyMeta, "identity")
	appliedKey  = AppendKey(nil, FamilyMeta, "applied")
)

// AppliedKey returns the key of the applied record. The slice is shared and must not be changed.
func AppliedKey() []byte { return appliedKey }
