package mvcc

import (
	"fmt"

	"holdfast/internal/store"
)

// Describers returns what prints the records of this package's families in a dump of a store.
func Describers() map[byte]store.Describer {
	return map[byte]store.Describer{
		store.FamilyVersion: describeVersion,
		store.FamilyHistory: describeHistory,
	}
}

func describeVersion(key, value []byte) string {
	prefix, rev, ok := splitVersionKey(key)
	if !ok {
		return fmt.Sprintf("not a version: %x", key)
	}
	if len(value) == tombstoneLen {
		return fmt.Sprintf("%q deleted at revision %d", userKey(prefix), rev)
	}
	row, err := decodeRow(value)
	if err != nil {
		return fmt.Sprintf("%q at revision %d: %v: %x", userKey(prefix), rev, err, value)
	}
	return fmt.Sprintf("%q at revision %d: created %d, version %d, lease %v, value of %d bytes",
		userKey(prefix), rev, row.Create, row.Version, row.Lease, len(row.Value()))
}

func describeHistory(key, value []byte) string {
	rev, sub, ok := splitHistoryKey(key)
	c, sound := decodeChange(value)
	if !ok || !sound {
		return fmt.Sprintf("not a change: %x: %x", key, value)
	}
	what := "put"
	if c.deleted {
		what = "deleted"
	}
	if c.superseded {
		what += ", changed again in the same revision"
	}
	return fmt.Sprintf("revision %d change %d: %q %s, before at %d", rev, sub, c.key, what, c.previous)
}
