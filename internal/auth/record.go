package auth

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"holdfast/internal/command"
	"holdfast/internal/store"
)

const recordVersion = 1

const (
	flagEnabled    = 1
	flagNoPassword = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var stateKey = store.AppendKey(nil, store.FamilyAuth, "e")

func userKey(name string) []byte { return store.AppendKey(nil, store.FamilyAuth, "u"+name) }
func roleKey(name string) []byte { return store.AppendKey(nil, store.FamilyAuth, "r"+name) }

func tokenKey(id command.TokenID) []byte {
	return store.AppendKey(nil, store.FamilyAuth, "t"+string(id[:]))
}

// encodeState returns the record of whether authentication is enabled, and of the auth revision.
func encodeState(enabled bool, revision uint64) []byte {
	b := []byte{recordVersion, 0}
	if enabled {
		b[1] = flagEnabled
	}
	return seal(binary.BigEndian.AppendUint64(b, revision))
}

func decodeState(b []byte) (enabled bool, revision uint64, err error) {
	r, flags, err := unseal(b, flagEnabled)
	if err != nil {
		return false, 0, err
	}
	revision = r.uint64()
	return flags == flagEnabled, revision, r.end()
}

// encodeUser returns the record of u without its name, which is the key.
func encodeUser(u *User) []byte {
	b := []byte{recordVersion, 0}
	if u.NoPassword {
		b[1] = flagNoPassword
	}
	b = binary.BigEndian.AppendUint64(b, u.Since)
	b = appendString(b, u.Hash)
	b = binary.AppendUvarint(b, uint64(len(u.Roles)))
	for _, role := range u.Roles {
		b = appendString(b, role)
	}
	return seal(b)
}

func decodeUser(name string, b []byte) (*User, error) {
	r, flags, err := unseal(b, flagNoPassword)
	if err != nil {
		return nil, err
	}
	u := &User{Name: name, NoPassword: flags == flagNoPassword, Since: r.uint64(), Hash: []byte(r.string())}
	for range r.length(1) {
		u.Roles = append(u.Roles, r.string())
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	for i := 1; i < len(u.Roles); i++ {
		if u.Roles[i-1] >= u.Roles[i] {
			return nil, fmt.Errorf("%w: its roles are not in order", ErrRecord)
		}
	}
	return u, nil
}

// encodeRole returns the record of r without its name, which is the key.
func encodeRole(r *Role) []byte {
	b := binary.AppendUvarint([]byte{recordVersion, 0}, uint64(len(r.Permissions)))
	for i := range r.Permissions {
		key, end := r.Permissions[i].Interval.Wire()
		b = binary.BigEndian.AppendUint32(b, uint32(r.Permissions[i].Type))
		b = appendString(b, key)
		b = appendString(b, end)
	}
	return seal(b)
}

func decodeRole(name string, b []byte) (*Role, error) {
	r, _, err := unseal(b, 0)
	if err != nil {
		return nil, err
	}
	role := &Role{Name: name}
	for range r.length(6) {
		p := command.Permission{Type: command.PermissionType(r.uint32())}
		key, end := []byte(r.string()), []byte(r.string())
		p.Interval = command.NewInterval(key, end)
		role.Permissions = append(role.Permissions, p)
	}
	return role, r.end()
}

// encodeToken returns the record of a token without its id, which is the key.
func encodeToken(user string, ttl, end uint64) []byte {
	b := appendString([]byte{recordVersion, 0}, user)
	b = binary.BigEndian.AppendUint64(b, ttl)
	return seal(binary.BigEndian.AppendUint64(b, end))
}

func decodeToken(b []byte) (user string, ttl, end uint64, err error) {
	r, _, err := unseal(b, 0)
	if err != nil {
		return "", 0, 0, err
	}
	user, ttl, end = r.string(), r.uint64(), r.uint64()
	return user, ttl, end, r.end()
}

func appendString[S string | []byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func seal(b []byte) []byte { return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)) }

// unseal checks a record and returns what stands after its flags; those must be among allowed.
func unseal(b []byte, allowed byte) (r *reader, flags byte, err error) {
	end := len(b) - 4
	if end < 2 || crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return nil, 0, fmt.Errorf("%w: its checksum does not match", ErrRecord)
	}
	if b[0] != recordVersion || b[1]&^allowed != 0 {
		return nil, 0, fmt.Errorf("%w: it has version %d and flags %x, this build knows version %d", ErrRecord, b[0], b[1], recordVersion)
	}
	return &reader{b: b[2:end]}, b[1], nil
}

// reader takes a record apart; after the first part that is not there, it has failed.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) end() error {
	if r.failed || len(r.b) != 0 {
		return fmt.Errorf("%w: its parts do not fit", ErrRecord)
	}
	return nil
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.failed, r.b = true, nil
		return make([]byte, n)
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

// length reads a count of parts that are at least size bytes each.
func (r *reader) length(size int) int {
	n, l := binary.Uvarint(r.b)
	if l <= 0 || l > 1 && r.b[l-1] == 0 || n > uint64((len(r.b)-l)/size) {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[l:]
	return int(n)
}

func (r *reader) string() string { return string(r.take(r.length(1))) }

// sortedInsert returns list with name in its place. The list is not changed.
func sortedInsert(list []string, name string) []string {
	at, _ := slices.BinarySearch(list, name)
	return slices.Insert(slices.Clone(list), at, name)
}
