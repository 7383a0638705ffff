package command

import (
	"bytes"
	"reflect"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// changes are one of each operation, with etcd's request for it. The hash of a password takes the place of the
// hashedPassword, of which it is the bytes.
var changes = []struct {
	change  AuthChange
	request proto.Message
}{
	{AuthChange{Op: AuthEnable}, &pb.AuthEnableRequest{}},
	{AuthChange{Op: AuthDisable}, &pb.AuthDisableRequest{}},
	{AuthChange{Op: UserAdd, User: "u", Hash: []byte("hash"), NoPassword: true},
		&pb.AuthUserAddRequest{Name: "u", HashedPassword: "hash", Options: &authpb.UserAddOptions{NoPassword: true}}},
	{AuthChange{Op: UserAdd, User: "u", Hash: []byte("hash")}, &pb.AuthUserAddRequest{Name: "u", HashedPassword: "hash"}},
	{AuthChange{Op: UserDelete, User: "u"}, &pb.AuthUserDeleteRequest{Name: "u"}},
	{AuthChange{Op: UserChangePassword, User: "u", Hash: []byte("hash")}, &pb.AuthUserChangePasswordRequest{Name: "u", HashedPassword: "hash"}},
	{AuthChange{Op: UserGrantRole, User: "u", Role: "r"}, &pb.AuthUserGrantRoleRequest{User: "u", Role: "r"}},
	{AuthChange{Op: UserRevokeRole, User: "u", Role: "r"}, &pb.AuthUserRevokeRoleRequest{Name: "u", Role: "r"}},
	{AuthChange{Op: RoleAdd, Role: "r"}, &pb.AuthRoleAddRequest{Name: "r"}},
	{AuthChange{Op: RoleDelete, Role: "r"}, &pb.AuthRoleDeleteRequest{Role: "r"}},
	{AuthChange{Op: RoleGrantPermission, Role: "r"}, &pb.AuthRoleGrantPermissionRequest{Name: "r"}},
	{AuthChange{Op: RoleGrantPermission, Role: "r", Permission: &Permission{ReadWrite, NewInterval([]byte("a"), []byte{0})}},
		&pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte("a"), RangeEnd: []byte{0}}}},
	{AuthChange{Op: RoleRevokePermission, Role: "r", Permission: &Permission{Interval: NewInterval([]byte("a"), []byte("b"))}},
		&pb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("a"), RangeEnd: []byte("b")}},
}

// A change is written as etcd's request for it and read as it was.
func TestAuthChange(t *testing.T) {
	for _, c := range changes {
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.request)
		if err != nil {
			t.Fatal(err)
		}
		b := AppendAuthChange(nil, &c.change)
		if b[0] != byte(c.change.Op) || !bytes.Equal(b[1:], want) {
			t.Errorf("%+v is written %x, want %x", c.change, b, want)
		}
		if got, known, err := DecodeAuthChange(b); err != nil || !known || !reflect.DeepEqual(got, c.change) {
			t.Errorf("%+v is read as %+v, %v, %v", c.change, got, known, err)
		}
	}
	if _, known, err := DecodeAuthChange(nil); known || err == nil {
		t.Error("nothing is a change")
	}
	for _, op := range []byte{0, 12, 255} {
		if _, known, _ := DecodeAuthChange([]byte{op}); known {
			t.Errorf("the operation %d is known", op)
		}
	}
}

// Grants and uses of tokens are read as they were written; a token of another length is none.
func TestTokenCommands(t *testing.T) {
	g := TokenGrant{User: "u", Token: TokenID{1, 31: 2}, TTL: 1 << 40}
	if got, known, err := DecodeTokenGrant(AppendTokenGrant(nil, &g)); err != nil || !known || got != g {
		t.Errorf("%+v, %v, %v", got, known, err)
	}
	u := TokenTouch{Uses: []TokenUse{{TokenID{3}, 7}, {TokenID{4}, 0}}}
	if got, known, err := DecodeTokenTouch(AppendTokenTouch(nil, &u)); err != nil || !known || !reflect.DeepEqual(got, u) {
		t.Errorf("%+v, %v, %v", got, known, err)
	}
	if _, known, err := DecodeTokenGrant([]byte{2<<3 | 2, 1, 9}); known || err != nil {
		t.Errorf("a short token: %v, %v", known, err)
	}
	if _, known, err := DecodeTokenTouch([]byte{1<<3 | 2, 3, 1<<3 | 2, 1, 9}); known || err != nil {
		t.Errorf("a short token: %v, %v", known, err)
	}
}

// No bytes make the decoders fail otherwise than with ErrWire, and what they understand is written and read the same.
func FuzzDecodeAuth(f *testing.F) {
	for _, c := range changes {
		f.Add(AppendAuthChange(nil, &c.change))
	}
	f.Add(AppendTokenGrant(nil, &TokenGrant{User: "u", TTL: 3}))
	f.Add(AppendTokenTouch(nil, &TokenTouch{Uses: []TokenUse{{TokenID{3}, 7}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, known, err := DecodeAuthChange(b); err == nil && known {
			if again, known, err := DecodeAuthChange(AppendAuthChange(nil, &c)); err != nil || !known || !sameChange(again, c) {
				t.Errorf("%+v becomes %+v, %v", c, again, err)
			}
		}
		if g, known, err := DecodeTokenGrant(b); err == nil && known && g.Token != (TokenID{}) {
			if again, known, err := DecodeTokenGrant(AppendTokenGrant(nil, &g)); err != nil || !known || again != g {
				t.Errorf("%+v becomes %+v, %v", g, again, err)
			}
		}
		if u, known, err := DecodeTokenTouch(b); err == nil && known {
			if again, known, err := DecodeTokenTouch(AppendTokenTouch(nil, &u)); err != nil || !known || !reflect.DeepEqual(again, u) {
				t.Errorf("%+v becomes %+v, %v", u, again, err)
			}
		}
	})
}

// sameChange compares two changes; no bytes and none at all are the same.
func sameChange(a, b AuthChange) bool {
	return bytes.Equal(AppendAuthChange(nil, &a), AppendAuthChange(nil, &b))
}
