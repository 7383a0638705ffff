package auth

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/command"
)

var rewrite = flag.Bool("rewrite", false, "write the golden records")

// golden are the records of a small store, in the order of their keys.
func golden(t *testing.T) records {
	s, r := newStore()
	for _, c := range []*command.AuthChange{
		{Op: command.UserAdd, User: "root", Hash: []byte("$2a$04$hash-of-root")},
		change(command.UserGrantRole, "root", "root"),
		{Op: command.UserAdd, User: "host", NoPassword: true},
		{Op: command.UserAdd, User: "empty"},
		change(command.RoleAdd, "", "none"),
		change(command.RoleAdd, "", "some"),
		permit(command.RoleGrantPermission, "some", command.Read, "a", ""),
		permit(command.RoleGrantPermission, "some", command.Write, "dir/", "dir0"),
		permit(command.RoleGrantPermission, "some", command.ReadWrite, "z", "\x00"),
		change(command.UserGrantRole, "host", "some"),
		change(command.UserGrantRole, "host", "none"),
		change(command.AuthEnable, "", ""),
	} {
		if err := s.Change(c); err != nil {
			t.Fatal(err)
		}
	}
	grant := &command.TokenGrant{User: "root", TTL: 300_000_000_000}
	for i := range grant.Token {
		grant.Token[i] = byte(i)
	}
	if err := s.Grant(grant, 12, 1_000_000_000); err != nil {
		t.Fatal(err)
	}
	return r
}

// The records are what they were, byte for byte.
func TestGoldenRecords(t *testing.T) {
	r := golden(t)
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(r)) {
		fmt.Fprintf(&text, "%x  %x\n", key, r[key])
	}
	const path = "testdata/records-1.txt"
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("the records are\n%s, want\n%s", text.String(), want)
	}
	if s := reopened(t, r); !s.Snapshot().Enabled() || s.Tokens() != 1 || len(s.Snapshot().User("host").write) != 2 {
		t.Errorf("read again they are\n%s", describe(s))
	}
}

// No flipped bit of a record goes unnoticed.
func TestFlippedRecords(t *testing.T) {
	for key, value := range golden(t) {
		for i := range value {
			for bit := range 8 {
				broken := slices.Clone(value)
				broken[i] ^= 1 << bit
				if err := new(Store).load(newSnapshot(), []byte(key), broken); !errors.Is(err, ErrRecord) {
					t.Fatalf("%x with byte %d flipped: %v", key, i, err)
				}
			}
		}
	}
	for _, key := range []string{"a\x00", "ax\x00", "aexy\x00", "atshort\x00", "zz\x00", "ae"} {
		if err := new(Store).load(newSnapshot(), []byte(key), encodeState(true, 1)); !errors.Is(err, ErrRecord) {
			t.Errorf("the key %q: %v", key, err)
		}
	}
}

// Whatever a record holds, reading it fails or gives a value that is written the same.
func FuzzRecord(f *testing.F) {
	for _, value := range [][]byte{encodeState(true, 7), encodeUser(&User{Hash: []byte("h"), Roles: []string{"a", "b"}}),
		encodeRole(&Role{Permissions: []command.Permission{{Type: 2, Interval: command.NewInterval([]byte("a"), []byte{0})}}}), encodeToken("u", 1, 2)} {
		f.Add(value[:len(value)-4])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := seal(slices.Clone(body))
		if enabled, revision, err := decodeState(b); err == nil && !bytes.Equal(encodeState(enabled, revision), b) {
			t.Errorf("state %x", b)
		}
		if u, err := decodeUser("u", b); err == nil && !bytes.Equal(encodeUser(u), b) {
			t.Errorf("user %x", b)
		}
		if r, err := decodeRole("r", b); err == nil && !bytes.Equal(encodeRole(r), b) {
			t.Errorf("role %x", b)
		}
		if user, ttl, end, err := decodeToken(b); err == nil && !bytes.Equal(encodeToken(user, ttl, end), b) {
			t.Errorf("token %x", b)
		}
	})
}

// A dump says what each record means, and no secret.
func TestDescribe(t *testing.T) {
	r := golden(t)
	want := map[string]string{
		"ae\x00":     "authentication enabled true, auth revision 12",
		"auhost\x00": `user "host", password false, set at auth revision 4, roles ["none" "some"]`,
		"auroot\x00": `user "root", password true, set at auth revision 2, roles ["root"]`,
		"arsome\x00": `role "some", type 0 on "a" to "", type 1 on "dir/" to "dir0", type 2 on "z" to "\x00"`,
	}
	for key, text := range want {
		if got := Describe([]byte(key), r[key]); got != text {
			t.Errorf("%q is described as %q, want %q", key, got, text)
		}
	}
	for key, value := range r {
		if text := Describe([]byte(key), value); strings.Contains(text, "hash-of-root") || len(text) > 200 {
			t.Errorf("%q is described as %q", key, text)
		}
	}
	if text := Describe([]byte("aeX"), []byte("no record")); !strings.Contains(text, "cannot be read") {
		t.Error(text)
	}
}
