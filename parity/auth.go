package parity

import (
	"math/rand/v2"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// authMethod is a method of the Auth service.
func authMethod(name string) protoreflect.FullName {
	return "etcdserverpb.Auth." + protoreflect.FullName(name)
}

const authenticateMethod protoreflect.FullName = "etcdserverpb.Auth.Authenticate"

// userEmpty refuses a caller without a token.
const userEmpty = "etcdserver: user name is empty"

// authService covers users, roles and permissions. While authentication is on, the requests of all services are made by several users.
var authService = Service{
	Name:    "Auth",
	Weight:  5,
	Next:    nextAuth,
	Corners: authCorners,
	Errors: []Refusal{
		{codes.InvalidArgument, userEmpty},
		{codes.InvalidArgument, "etcdserver: role name is empty"},
		authFailed,
		{codes.InvalidArgument, "etcdserver: permission not given"},
		{codes.InvalidArgument, "etcdserver: invalid auth management"},
		{codes.FailedPrecondition, "etcdserver: root user does not exist"},
		{codes.FailedPrecondition, "etcdserver: root user does not have root role"},
		{codes.FailedPrecondition, "etcdserver: user name already exists"},
		{codes.FailedPrecondition, "etcdserver: user name not found"},
		{codes.FailedPrecondition, "etcdserver: role name already exists"},
		{codes.FailedPrecondition, "etcdserver: role name not found"},
		{codes.FailedPrecondition, "etcdserver: role is not granted to the user"},
		{codes.FailedPrecondition, "etcdserver: permission is not granted to the role"},
		{codes.FailedPrecondition, "etcdserver: authentication is not enabled"},
		{codes.PermissionDenied, "etcdserver: permission denied"},
		{codes.Unauthenticated, "etcdserver: invalid auth token"},
		tooLong,
	},
}

// Users, roles and passwords are few. The empty ones and those called missing are never made.
var (
	userNames = []string{"root", "alice", "alice", "bob", "bob", "\u0141ukasz", "keyless"}
	roleNames = []string{"root", "reader", "writer", "writer", "r"}
	passwords = []string{"p", "p", "p", "", "q", strings.Repeat("x", 72), strings.Repeat("x", 73)}
)

// rootPassword never changes in drawn operations, so that a run can always end an episode.
const rootPassword = "r"

// someIdentity draws who makes a request while authentication is on: mostly root, or a user who may do a part; nobody; a token that no
// server made, with and without the form of one.
func someIdentity(r *rand.Rand) string {
	return pick(r, "root", "root", "root", "root", "root", "root", "root", "alice", "alice", "alice", "alice", "bob", "bob", "\u0141ukasz", "", "bad", "bad.1")
}

func auth(name string, request proto.Message) Operation {
	return Operation{Method: authMethod(name), Request: request}
}

func authenticate(name, password string) Operation {
	return auth("Authenticate", &pb.AuthenticateRequest{Name: name, Password: password})
}

func userAdd(name, password string) Operation {
	return auth("UserAdd", &pb.AuthUserAddRequest{Name: name, Password: password})
}

func grantRole(user, role string) Operation {
	return auth("UserGrantRole", &pb.AuthUserGrantRoleRequest{User: user, Role: role})
}

func roleAdd(name string) Operation { return auth("RoleAdd", &pb.AuthRoleAddRequest{Name: name}) }

func permit(role string, kind authpb.Permission_Type, key, end string) Operation {
	return auth("RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: role,
		Perm: &authpb.Permission{PermType: kind, Key: []byte(key), RangeEnd: []byte(end)}})
}

// as makes the operations requests of a user, but those that have one already.
func as(user string, operations ...Operation) []Operation {
	made := make([]Operation, len(operations))
	for i, o := range operations {
		if o.As == "" {
			o.As = user
		}
		made[i] = o
	}
	return made
}

// episode turns authentication on with three users: root, one with parts of two roles, and one with all from a key on.
func episode() []Operation {
	const read, write, both = authpb.Permission_READ, authpb.Permission_WRITE, authpb.Permission_READWRITE
	changePassword := func(name, password string) Operation {
		return auth("UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: name, Password: password})
	}
	return []Operation{
		userAdd("root", rootPassword), changePassword("root", rootPassword), grantRole("root", "root"),
		userAdd("alice", "p"), changePassword("alice", "p"), userAdd("bob", "q"), changePassword("bob", "q"),
		roleAdd("reader"), permit("reader", read, "a", "aa"), permit("reader", read, "aa", "b"), permit("reader", both, "/r/", "/r0"),
		roleAdd("writer"), permit("writer", write, "aaa", "ab"), permit("writer", write, "b", ""), permit("writer", both, "k1", ""), permit("writer", both, "k10", "k2"),
		roleAdd("r"), permit("r", both, "k", "\x00"),
		grantRole("alice", "reader"), grantRole("alice", "writer"), grantRole("bob", "r"),
		auth("AuthEnable", &pb.AuthEnableRequest{}), authenticate("root", rootPassword), authenticate("alice", "p"), authenticate("bob", "q"),
	}
}

func nextAuth(r *rand.Rand, s *State) Operation {
	switch {
	case s.AuthEnabled && chance(r, 12):
		return as("root", auth("AuthDisable", &pb.AuthDisableRequest{}))[0]
	case !s.AuthEnabled && chance(r, 12):
		s.Queue = append(s.Queue, episode()...)
	}
	if s.AuthEnabled && !chance(r, 5) {
		return as("root", drawAuth(r, s))[0]
	}
	return drawAuth(r, s)
}

func drawAuth(r *rand.Rand, s *State) Operation {
	user, role, password := pick(r, userNames...), pick(r, roleNames...), pick(r, passwords...)
	switch {
	case chance(r, 25):
		user = pick(r, "", "missing")
	case chance(r, 25):
		role = pick(r, "", "missing")
	}
	switch n := r.IntN(100); {
	case n < 3:
		s.Queue = append(s.Queue, authenticate("root", rootPassword), authenticate("alice", "p"), authenticate("bob", "q"))
		return auth("AuthEnable", &pb.AuthEnableRequest{})
	case n < 5:
		return auth("AuthDisable", &pb.AuthDisableRequest{})
	case n < 9:
		return auth("AuthStatus", &pb.AuthStatusRequest{})
	case n < 23:
		if user == "root" {
			password = rootPassword
		}
		return authenticate(user, password)
	case n < 31:
		return auth("UserAdd", aUser(r, user, password))
	case n < 35:
		return auth("UserGet", &pb.AuthUserGetRequest{Name: user})
	case n < 37:
		return auth("UserList", &pb.AuthUserListRequest{})
	case n < 40:
		return auth("UserDelete", &pb.AuthUserDeleteRequest{Name: user})
	case n < 45:
		return changedPassword(r, s, user, password)
	case n < 53:
		return grantRole(user, role)
	case n < 58:
		return auth("UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: user, Role: role})
	case n < 63:
		return roleAdd(role)
	case n < 68:
		return auth("RoleGet", &pb.AuthRoleGetRequest{Role: role})
	case n < 70:
		return auth("RoleList", &pb.AuthRoleListRequest{})
	case n < 73:
		return auth("RoleDelete", &pb.AuthRoleDeleteRequest{Role: role})
	case n < 90:
		return aPermission(r, s, role)
	default:
		key := aKey(r, s)
		return auth("RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: role, Key: key, RangeEnd: anEnd(r, key)})
	}
}

func aUser(r *rand.Rand, name, password string) *pb.AuthUserAddRequest {
	u := &pb.AuthUserAddRequest{Name: name, Password: password}
	if name == "root" {
		u.Password = rootPassword
	}
	if name == "keyless" || chance(r, 12) && name != "root" {
		u.Options = &authpb.UserAddOptions{NoPassword: true}
	} else if chance(r, 4) {
		u.Options = &authpb.UserAddOptions{}
	}
	// A hash without a password is used by Holdfast, and by etcd replaced with that of the empty password.
	if chance(r, 10) && (u.Password != "" || u.Options.GetNoPassword()) {
		u.HashedPassword = pick(r, hashOfP, "no base64")
	}
	return u
}

// changedPassword draws a change of a password. That of root is set to what it is, which ends its tokens, and root authenticates again.
func changedPassword(r *rand.Rand, s *State, name, password string) Operation {
	request := &pb.AuthUserChangePasswordRequest{Name: name, Password: password}
	if chance(r, 6) {
		request.HashedPassword = hashOfP
	}
	if name == "root" {
		request.Password, request.HashedPassword = rootPassword, ""
		s.Queue = append([]Operation{authenticate("root", rootPassword)}, s.Queue...)
	}
	return auth("UserChangePassword", request)
}

// maxPermissions of a role keep etcd's order of equal keys stable: it sorts more than twelve by another way.
const maxPermissions = 10

func aPermission(r *rand.Rand, s *State, role string) Operation {
	if len(s.Permissions[role]) >= maxPermissions {
		s.Queue = append(s.Queue, as("root", roleAdd(role))...)
		return auth("RoleDelete", &pb.AuthRoleDeleteRequest{Role: role})
	}
	key := aKey(r, s)
	p := &authpb.Permission{PermType: pick[authpb.Permission_Type](r, 0, 1, 2, 2, 2, 0, 1, 2, 3, -1), Key: key, RangeEnd: anEnd(r, key)}
	if chance(r, 20) {
		p.Key = nil
	}
	if s.grantsTwice(role, p.Key, p.RangeEnd) {
		return auth("RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: role, Key: p.Key, RangeEnd: p.RangeEnd})
	}
	if chance(r, 25) {
		p = nil
	}
	return auth("RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: role, Perm: p})
}
