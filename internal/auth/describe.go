package auth

import "fmt"

// Describe says in a line what a record of the family means, for dumps. It shows neither hashes of passwords nor whole
// ids of tokens.
func Describe(key, value []byte) string {
	if len(key) >= 3 {
		name := string(key[2 : len(key)-1])
		text, err := "", error(nil)
		switch key[1] {
		case 'e':
			var enabled bool
			var revision uint64
			enabled, revision, err = decodeState(value)
			text = fmt.Sprintf("authentication enabled %v, auth revision %d", enabled, revision)
		case 'u':
			var u *User
			if u, err = decodeUser(name, value); err == nil {
				text = fmt.Sprintf("user %q, password %v, set at auth revision %d, roles %q", name, len(u.Hash) > 0, u.Since, u.Roles)
			}
		case 'r':
			var r *Role
			if r, err = decodeRole(name, value); err == nil {
				text = fmt.Sprintf("role %q", name)
				for _, p := range r.Permissions {
					from, end := p.Interval.Wire()
					text += fmt.Sprintf(", type %d on %q to %q", p.Type, from, end)
				}
			}
		case 't':
			var user string
			var ttl, end uint64
			user, ttl, end, err = decodeToken(value)
			text = fmt.Sprintf("token %.4x of user %q, TTL %d ns, end %d ns", name, user, ttl, end)
		}
		if err != nil {
			return err.Error()
		}
		if text != "" {
			return text
		}
	}
	return fmt.Sprintf("%q, which is no record of users and roles", key)
}
