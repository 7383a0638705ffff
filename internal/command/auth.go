package command

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// AuthOp tells what a command of kind Auth changes. The numbers are part of the format of an entry.
type AuthOp uint8

const (
	AuthEnable           AuthOp = 1
	AuthDisable          AuthOp = 2
	UserAdd              AuthOp = 3
	UserDelete           AuthOp = 4
	UserChangePassword   AuthOp = 5
	UserGrantRole        AuthOp = 6
	UserRevokeRole       AuthOp = 7
	RoleAdd              AuthOp = 8
	RoleDelete           AuthOp = 9
	RoleGrantPermission  AuthOp = 10
	RoleRevokePermission AuthOp = 11
)

// AuthChange is one change of users, roles, permissions or of whether they count. Only the fields that Op names are
// looked at.
type AuthChange struct {
	Op         AuthOp
	User       string // UserAdd, UserDelete, UserChangePassword, UserGrantRole, UserRevokeRole
	Role       string // UserGrantRole, UserRevokeRole and the role operations
	Hash       []byte // of the password, by bcrypt: UserAdd, UserChangePassword; empty for none
	NoPassword bool   // UserAdd: a user that is known by a certificate alone
	// Permission is what RoleGrantPermission grants, nil if the client named none, and the keys of what
	// RoleRevokePermission takes back.
	Permission *Permission
}

// PermissionType has the numbers of the wire. Any other number permits nothing.
type PermissionType int32

const (
	Read      PermissionType = 0
	Write     PermissionType = 1
	ReadWrite PermissionType = 2
)

// Permission is what a role may do with the keys of an interval.
type Permission struct {
	Type     PermissionType
	Interval Interval
}

// TokenID is the SHA-256 of a token. The token itself is known to its holder alone.
type TokenID [32]byte

// TokenGrant makes a token known whose holder is User until TTL after its last use.
type TokenGrant struct {
	User  string
	Token TokenID
	TTL   uint64 // nanoseconds of cluster time
}

// TokenUse says that a token was used, at a cluster time in nanoseconds.
type TokenUse struct {
	Token TokenID
	Used  uint64
}

// TokenTouch notes the last uses of tokens, and is the occasion to forget those whose time is over; for that alone
// the list may be empty.
type TokenTouch struct{ Uses []TokenUse }

// fieldsOf are the numbers of the fields of an AuthChange in the message of its operation, 0 for those it has not.
// The messages are etcd's requests, with the hash, in bytes, in the place of hashedPassword.
var fieldsOf = map[AuthOp]struct{ user, role, options, hash, permission, key, end uint64 }{
	AuthEnable:           {},
	AuthDisable:          {},
	UserAdd:              {user: 1, options: 3, hash: 4},
	UserDelete:           {user: 1},
	UserChangePassword:   {user: 1, hash: 3},
	UserGrantRole:        {user: 1, role: 2},
	UserRevokeRole:       {user: 1, role: 2},
	RoleAdd:              {role: 1},
	RoleDelete:           {role: 1},
	RoleGrantPermission:  {role: 1, permission: 2},
	RoleRevokePermission: {role: 1, key: 2, end: 3},
}

// AppendAuthChange appends c: the operation as one byte, then the request of that operation.
func AppendAuthChange(dst []byte, c *AuthChange) []byte {
	f := fieldsOf[c.Op]
	dst = append(dst, byte(c.Op))
	if f.user != 0 {
		dst = appendBytes(dst, protowire.Number(f.user), []byte(c.User))
	}
	if f.role != 0 {
		dst = appendBytes(dst, protowire.Number(f.role), []byte(c.Role))
	}
	if f.options != 0 && c.NoPassword {
		dst = appendMessage(dst, protowire.Number(f.options), func(dst []byte) []byte { return appendBool(dst, 1, true) })
	}
	if f.hash != 0 {
		dst = appendBytes(dst, protowire.Number(f.hash), c.Hash)
	}
	if p := c.Permission; p != nil {
		key, end := p.Interval.Wire()
		switch {
		case f.permission != 0:
			dst = appendMessage(dst, protowire.Number(f.permission), func(dst []byte) []byte {
				dst = appendNumber(dst, 1, int64(p.Type))
				dst = appendBytes(dst, 2, key)
				return appendBytes(dst, 3, end)
			})
		case f.key != 0:
			dst = appendBytes(dst, protowire.Number(f.key), key)
			dst = appendBytes(dst, protowire.Number(f.end), end)
		}
	}
	return dst
}

// DecodeAuthChange reads what AppendAuthChange writes. The hash and the keys alias b.
func DecodeAuthChange(b []byte) (c AuthChange, known bool, err error) {
	if len(b) == 0 {
		return AuthChange{}, false, ErrWire
	}
	c.Op = AuthOp(b[0])
	f, ok := fieldsOf[c.Op]
	if !ok {
		return AuthChange{}, false, nil
	}
	var key, end []byte
	known, err = byteFields(b[1:], func(number uint64, v []byte) bool {
		switch number {
		case f.user:
			c.User = string(v)
		case f.role:
			c.Role = string(v)
		case f.hash:
			c.Hash = v
		case f.key:
			key = v
		case f.end:
			end = v
		case f.options:
			known, err := numbers(v, func(number, v uint64) bool {
				c.NoPassword = v != 0
				return number == 1
			})
			return known && err == nil
		case f.permission:
			var ok bool
			c.Permission, ok = decodePermission(v)
			return ok
		default:
			return false
		}
		return true
	})
	if f.key != 0 {
		c.Permission = &Permission{Interval: NewInterval(key, end)}
	}
	return c, known, err
}

func decodePermission(b []byte) (*Permission, bool) {
	p := &Permission{}
	var d decoder
	var key, end []byte
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 {
			return nil, false
		}
		b = b[n:]
		var v uint64
		switch tag {
		case 1<<3 | wireVarint:
			v, n = varint(b)
			p.Type = PermissionType(v)
		case 2<<3 | wireBytes:
			key, n = span(b)
		case 3<<3 | wireBytes:
			end, n = span(b)
		default:
			n = d.skip(tag, b)
		}
		if n == 0 {
			return nil, false
		}
		b = b[n:]
	}
	p.Interval = NewInterval(key, end)
	return p, !d.lossy
}

// AppendTokenGrant appends g: user 1, token 2, TTL 3.
func AppendTokenGrant(dst []byte, g *TokenGrant) []byte {
	dst = appendBytes(dst, 1, []byte(g.User))
	dst = appendBytes(dst, 2, g.Token[:])
	return appendNumber(dst, 3, int64(g.TTL))
}

// DecodeTokenGrant reads what AppendTokenGrant writes.
func DecodeTokenGrant(b []byte) (g TokenGrant, known bool, err error) {
	var d decoder
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 {
			return TokenGrant{}, false, ErrWire
		}
		b = b[n:]
		var v []byte
		switch tag {
		case 1<<3 | wireBytes:
			v, n = span(b)
			g.User = string(v)
		case 2<<3 | wireBytes:
			v, n = span(b)
			if copy(g.Token[:], v) != len(g.Token) || len(v) != len(g.Token) {
				d.lossy = true
			}
		case 3<<3 | wireVarint:
			g.TTL, n = varint(b)
		default:
			n = d.skip(tag, b)
		}
		if n == 0 {
			return TokenGrant{}, false, ErrWire
		}
		b = b[n:]
	}
	return g, !d.lossy, nil
}

// AppendTokenTouch appends t: for each use a field 1, a message of token 1 and time 2.
func AppendTokenTouch(dst []byte, t *TokenTouch) []byte {
	for i := range t.Uses {
		u := &t.Uses[i]
		dst = appendMessage(dst, 1, func(dst []byte) []byte {
			return appendNumber(appendBytes(dst, 1, u.Token[:]), 2, int64(u.Used))
		})
	}
	return dst
}

// DecodeTokenTouch reads what AppendTokenTouch writes. The list is fresh.
func DecodeTokenTouch(b []byte) (t TokenTouch, known bool, err error) {
	known, err = byteFields(b, func(number uint64, v []byte) bool {
		if number != 1 {
			return false
		}
		var u TokenUse
		ok := true
		for len(v) > 0 {
			tag, n := field(v)
			if n == 0 {
				return false
			}
			v = v[n:]
			switch tag {
			case 1<<3 | wireBytes:
				var id []byte
				id, n = span(v)
				ok = ok && copy(u.Token[:], id) == len(u.Token) && len(id) == len(u.Token)
			case 2<<3 | wireVarint:
				u.Used, n = varint(v)
			default:
				return false
			}
			if n == 0 {
				return false
			}
			v = v[n:]
		}
		t.Uses = append(t.Uses, u)
		return ok
	})
	return t, known, err
}

// byteFields reads a message whose fields are all byte strings or messages. take gets each and says whether it
// understands it.
func byteFields(b []byte, take func(number uint64, v []byte) bool) (known bool, err error) {
	var d decoder
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 {
			return false, ErrWire
		}
		b = b[n:]
		if tag&7 == wireBytes {
			var v []byte
			if v, n = span(b); n > 0 && !take(tag>>3, v) {
				d.lossy = true
			}
		} else {
			n = d.skip(tag, b)
		}
		if n == 0 {
			return false, ErrWire
		}
		b = b[n:]
	}
	return !d.lossy, nil
}
