package auth

import (
	"slices"
	"strings"
)

// Write sets the records of users and roles in a new store: what comes from another format passes here. Each user's roles
// are sorted.
func Write(set func(key, value []byte), enabled bool, revision uint64, users []User, roles []Role) {
	set(stateKey, encodeState(enabled, max(revision, firstRevision)))
	for _, u := range users {
		u.Roles = slices.Compact(slices.SortedFunc(slices.Values(u.Roles), strings.Compare))
		set(userKey(u.Name), encodeUser(&u))
	}
	for _, r := range roles {
		set(roleKey(r.Name), encodeRole(&r))
	}
}
