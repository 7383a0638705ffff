package cli

import (
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// authPrinter shows the replies about users and roles.
type authPrinter interface {
	UserAdd(user string, r *clientv3.AuthUserAddResponse) error
	UserDelete(user string, r *clientv3.AuthUserDeleteResponse) error
	UserChangePassword(*clientv3.AuthUserChangePasswordResponse) error
	UserGrantRole(user, role string, r *clientv3.AuthUserGrantRoleResponse) error
	UserRevokeRole(user, role string, r *clientv3.AuthUserRevokeRoleResponse) error
	RoleAdd(role string, r *clientv3.AuthRoleAddResponse) error
	RoleDelete(role string, r *clientv3.AuthRoleDeleteResponse) error
	RoleGet(role string, r *clientv3.AuthRoleGetResponse) error
	RoleList(*clientv3.AuthRoleListResponse) error
	RoleGrantPermission(role string, r *clientv3.AuthRoleGrantPermissionResponse) error
	RoleRevokePermission(role, key, end string, r *clientv3.AuthRoleRevokePermissionResponse) error
}

// showPrinter shows those replies that the format fields has no form for.
type showPrinter interface {
	UserGet(user string, r *clientv3.AuthUserGetResponse) error
	UserList(*clientv3.AuthUserListResponse) error
	AuthStatus(*clientv3.AuthStatusResponse) error
}

func (p *simplePrinter) UserAdd(user string, _ *clientv3.AuthUserAddResponse) error {
	return p.line("User %s created", user)
}

func (p *simplePrinter) UserDelete(user string, _ *clientv3.AuthUserDeleteResponse) error {
	return p.line("User %s deleted", user)
}

func (p *simplePrinter) UserChangePassword(*clientv3.AuthUserChangePasswordResponse) error {
	return p.line("Password updated")
}

func (p *simplePrinter) UserGrantRole(user, role string, _ *clientv3.AuthUserGrantRoleResponse) error {
	return p.line("Role %s is granted to user %s", role, user)
}

func (p *simplePrinter) UserRevokeRole(user, role string, _ *clientv3.AuthUserRevokeRoleResponse) error {
	return p.line("Role %s is revoked from user %s", role, user)
}

func (p *simplePrinter) RoleAdd(role string, _ *clientv3.AuthRoleAddResponse) error {
	return p.line("Role %s created", role)
}

func (p *simplePrinter) RoleDelete(role string, _ *clientv3.AuthRoleDeleteResponse) error {
	return p.line("Role %s deleted", role)
}

// RoleGet shows the keys that a role may read, then those that it may write. An open end has no bracket.
func (p *simplePrinter) RoleGet(role string, r *clientv3.AuthRoleGetResponse) error {
	s := &sink{w: p.out}
	s.printf("Role %s\n", role)
	for _, side := range []struct {
		title string
		only  authpb.Permission_Type
	}{{"KV Read:", authpb.Permission_READ}, {"KV Write:", authpb.Permission_WRITE}} {
		s.printf("%s\n", side.title)
		if role == "root" && len(r.Perm) == 0 {
			s.printf("\t[, <open ended>\n")
		}
		for _, perm := range r.Perm {
			if t := perm.GetPermType(); t != side.only && t != authpb.Permission_READWRITE {
				continue
			}
			key, end := string(perm.GetKey()), string(perm.GetRangeEnd())
			switch end {
			case "":
				s.printf("\t%s", key)
			case "\x00":
				s.printf("\t[%s, <open ended>", key)
			default:
				s.printf("\t[%s, %s)", key, end)
			}
			if end != "" && key != "" && end == clientv3.GetPrefixRangeEnd(key) {
				s.printf(" (prefix %s)", key)
			}
			s.printf("\n")
		}
	}
	return s.err
}

func (p *simplePrinter) RoleList(r *clientv3.AuthRoleListResponse) error {
	return p.names(r.Roles)
}

func (p *simplePrinter) names(names []string) error {
	s := &sink{w: p.out}
	for _, name := range names {
		s.printf("%s\n", name)
	}
	return s.err
}

func (p *simplePrinter) RoleGrantPermission(role string, _ *clientv3.AuthRoleGrantPermissionResponse) error {
	return p.line("Role %s updated", role)
}

func (p *simplePrinter) RoleRevokePermission(role, key, end string, _ *clientv3.AuthRoleRevokePermissionResponse) error {
	switch end {
	case "":
		return p.line("Permission of key %s is revoked from role %s", key, role)
	case "\x00":
		return p.line("Permission of range [%s, <open ended> is revoked from role %s", key, role)
	}
	return p.line("Permission of range [%s, %s) is revoked from role %s", key, end, role)
}

func (p *simplePrinter) UserGet(user string, r *clientv3.AuthUserGetResponse) error {
	s := &sink{w: p.out}
	s.printf("User: %s\nRoles:", user)
	for _, role := range r.Roles {
		s.printf(" %s", role)
	}
	s.printf("\n")
	return s.err
}

func (p *simplePrinter) UserList(r *clientv3.AuthUserListResponse) error { return p.names(r.Users) }

func (p *simplePrinter) AuthStatus(r *clientv3.AuthStatusResponse) error {
	return p.line("Authentication Status: %v\nAuthRevision: %d", r.Enabled, r.AuthRevision)
}

// onlyHeader shows a reply that says nothing but that it was done.
func (p *fieldsPrinter) onlyHeader(h *pb.ResponseHeader) error {
	f := p.fields()
	f.header(h)
	return f.err
}

func (p *fieldsPrinter) UserAdd(_ string, r *clientv3.AuthUserAddResponse) error {
	return p.onlyHeader(r.Header)
}
func (p *fieldsPrinter) UserDelete(_ string, r *clientv3.AuthUserDeleteResponse) error {
	return p.onlyHeader(r.Header)
}
func (p *fieldsPrinter) UserChangePassword(r *clientv3.AuthUserChangePasswordResponse) error {
	return p.onlyHeader(r.Header)
}
func (p *fieldsPrinter) UserGrantRole(_, _ string, r *clientv3.AuthUserGrantRoleResponse) error {
	return p.onlyHeader(r.Header)
}
func (p *fieldsPrinter) UserRevokeRole(_, _ string, r *clientv3.AuthUserRevokeRoleResponse) error {
	return p.onlyHeader(r.Header)
}
func (p *fieldsPrinter) RoleAdd(_ string, r *clientv3.AuthRoleAddResponse) error {
	return p.onlyHeader(r.Header)
}
func (p *fieldsPrinter) RoleDelete(_ string, r *clientv3.AuthRoleDeleteResponse) error {
	return p.onlyHeader(r.Header)
}
func (p *fieldsPrinter) RoleGrantPermission(_ string, r *clientv3.AuthRoleGrantPermissionResponse) error {
	return p.onlyHeader(r.Header)
}
func (p *fieldsPrinter) RoleRevokePermission(_, _, _ string, r *clientv3.AuthRoleRevokePermissionResponse) error {
	return p.onlyHeader(r.Header)
}

func (p *fieldsPrinter) RoleGet(_ string, r *clientv3.AuthRoleGetResponse) error {
	f := p.fields()
	f.header(r.Header)
	for _, perm := range r.Perm {
		f.printf("\"PermType\" :  %s\n", perm.GetPermType())
		f.quoted("Key", string(perm.GetKey()))
		f.quoted("RangeEnd", string(perm.GetRangeEnd()))
	}
	return f.err
}

func (p *fieldsPrinter) RoleList(r *clientv3.AuthRoleListResponse) error {
	f := p.fields()
	f.header(r.Header)
	f.printf("\"Roles\" :")
	for _, role := range r.Roles {
		f.printf(" %q", role)
	}
	f.printf("\n")
	return f.err
}

func (p *jsonPrinter) UserAdd(_ string, r *clientv3.AuthUserAddResponse) error {
	return p.print((*pb.AuthUserAddResponse)(r))
}
func (p *jsonPrinter) UserDelete(_ string, r *clientv3.AuthUserDeleteResponse) error {
	return p.print((*pb.AuthUserDeleteResponse)(r))
}
func (p *jsonPrinter) UserChangePassword(r *clientv3.AuthUserChangePasswordResponse) error {
	return p.print((*pb.AuthUserChangePasswordResponse)(r))
}
func (p *jsonPrinter) UserGrantRole(_, _ string, r *clientv3.AuthUserGrantRoleResponse) error {
	return p.print((*pb.AuthUserGrantRoleResponse)(r))
}
func (p *jsonPrinter) UserRevokeRole(_, _ string, r *clientv3.AuthUserRevokeRoleResponse) error {
	return p.print((*pb.AuthUserRevokeRoleResponse)(r))
}
func (p *jsonPrinter) RoleAdd(_ string, r *clientv3.AuthRoleAddResponse) error {
	return p.print((*pb.AuthRoleAddResponse)(r))
}
func (p *jsonPrinter) RoleDelete(_ string, r *clientv3.AuthRoleDeleteResponse) error {
	return p.print((*pb.AuthRoleDeleteResponse)(r))
}
func (p *jsonPrinter) RoleGet(_ string, r *clientv3.AuthRoleGetResponse) error {
	return p.print((*pb.AuthRoleGetResponse)(r))
}
func (p *jsonPrinter) RoleList(r *clientv3.AuthRoleListResponse) error {
	return p.print((*pb.AuthRoleListResponse)(r))
}
func (p *jsonPrinter) RoleGrantPermission(_ string, r *clientv3.AuthRoleGrantPermissionResponse) error {
	return p.print((*pb.AuthRoleGrantPermissionResponse)(r))
}
func (p *jsonPrinter) RoleRevokePermission(_, _, _ string, r *clientv3.AuthRoleRevokePermissionResponse) error {
	return p.print((*pb.AuthRoleRevokePermissionResponse)(r))
}
func (p *jsonPrinter) UserGet(_ string, r *clientv3.AuthUserGetResponse) error {
	return p.print((*pb.AuthUserGetResponse)(r))
}
func (p *jsonPrinter) UserList(r *clientv3.AuthUserListResponse) error {
	return p.print((*pb.AuthUserListResponse)(r))
}
func (p *jsonPrinter) AuthStatus(r *clientv3.AuthStatusResponse) error {
	return p.print((*pb.AuthStatusResponse)(r))
}

func (p *protobufPrinter) UserAdd(_ string, r *clientv3.AuthUserAddResponse) error {
	return p.print((*pb.AuthUserAddResponse)(r))
}
func (p *protobufPrinter) UserDelete(_ string, r *clientv3.AuthUserDeleteResponse) error {
	return p.print((*pb.AuthUserDeleteResponse)(r))
}
func (p *protobufPrinter) UserChangePassword(r *clientv3.AuthUserChangePasswordResponse) error {
	return p.print((*pb.AuthUserChangePasswordResponse)(r))
}
func (p *protobufPrinter) UserGrantRole(_, _ string, r *clientv3.AuthUserGrantRoleResponse) error {
	return p.print((*pb.AuthUserGrantRoleResponse)(r))
}
func (p *protobufPrinter) UserRevokeRole(_, _ string, r *clientv3.AuthUserRevokeRoleResponse) error {
	return p.print((*pb.AuthUserRevokeRoleResponse)(r))
}
func (p *protobufPrinter) RoleAdd(_ string, r *clientv3.AuthRoleAddResponse) error {
	return p.print((*pb.AuthRoleAddResponse)(r))
}
func (p *protobufPrinter) RoleDelete(_ string, r *clientv3.AuthRoleDeleteResponse) error {
	return p.print((*pb.AuthRoleDeleteResponse)(r))
}
func (p *protobufPrinter) RoleGet(_ string, r *clientv3.AuthRoleGetResponse) error {
	return p.print((*pb.AuthRoleGetResponse)(r))
}
func (p *protobufPrinter) RoleList(r *clientv3.AuthRoleListResponse) error {
	return p.print((*pb.AuthRoleListResponse)(r))
}
func (p *protobufPrinter) RoleGrantPermission(_ string, r *clientv3.AuthRoleGrantPermissionResponse) error {
	return p.print((*pb.AuthRoleGrantPermissionResponse)(r))
}
func (p *protobufPrinter) RoleRevokePermission(_, _, _ string, r *clientv3.AuthRoleRevokePermissionResponse) error {
	return p.print((*pb.AuthRoleRevokePermissionResponse)(r))
}
func (p *protobufPrinter) UserGet(_ string, r *clientv3.AuthUserGetResponse) error {
	return p.print((*pb.AuthUserGetResponse)(r))
}
func (p *protobufPrinter) UserList(r *clientv3.AuthUserListResponse) error {
	return p.print((*pb.AuthUserListResponse)(r))
}
func (p *protobufPrinter) AuthStatus(r *clientv3.AuthStatusResponse) error {
	return p.print((*pb.AuthStatusResponse)(r))
}
