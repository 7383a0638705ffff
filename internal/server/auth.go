package server

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/internal/auth"
	"holdfast/internal/command"
)

// authServer serves the Auth service. Every change is a command; a password stays in this process and in memory, and
// only its hash travels.
type authServer struct {
	pb.UnsafeAuthServer
	s *Server
}

// change proposes a change and returns the header of its response.
func (a *authServer) change(ctx context.Context, c command.AuthChange) (*pb.ResponseHeader, error) {
	reply, err := proposeReply(ctx, a.s, command.KindAuth, &c, command.AppendAuthChange(nil, &c))
	if err != nil {
		return nil, err
	}
	return a.s.header.message(reply.Revision, a.s.node.Status().Term), nil
}

// AuthEnable lets permissions count.
func (a *authServer) AuthEnable(ctx context.Context, _ *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	h, err := a.change(ctx, command.AuthChange{Op: command.AuthEnable})
	if err != nil {
		return nil, err
	}
	return &pb.AuthEnableResponse{Header: h}, nil
}

// AuthDisable stops permissions from counting, and ends all simple tokens.
func (a *authServer) AuthDisable(ctx context.Context, _ *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	h, err := a.change(ctx, command.AuthChange{Op: command.AuthDisable})
	if err != nil {
		return nil, err
	}
	return &pb.AuthDisableResponse{Header: h}, nil
}

// current waits until this member knows every change that was acknowledged, and returns the users.
func (a *authServer) current(ctx context.Context) (*auth.Snapshot, error) {
	if err := a.s.node.ReadIndex(ctx); err != nil {
		return nil, a.s.readFailed(err)
	}
	return a.s.node.Auth().Snapshot(), nil
}

// AuthStatus tells anybody whether permissions count.
func (a *authServer) AuthStatus(ctx context.Context, _ *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	users, err := a.current(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.AuthStatusResponse{Header: a.s.currentHeader(), Enabled: users.Enabled(), AuthRevision: users.Revision()}, nil
}

// Authenticate exchanges a password for a token.
func (a *authServer) Authenticate(ctx context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	password := r.Password
	r.Password = ""
	if _, err := a.current(ctx); err != nil {
		return nil, err
	}
	for range maxAuthorisations {
		users := a.s.node.Auth().Snapshot()
		if !users.Enabled() {
			return nil, toStatus(auth.ErrNotEnabled)
		}
		if err := a.s.passwords.verify(ctx, users.User(r.Name), password); err != nil {
			return nil, toStatus(err)
		}
		token, err := a.token(ctx, r.Name, users)
		switch {
		case errors.Is(err, auth.ErrOldRevision):
			continue
		case err != nil:
			return nil, err
		}
		return &pb.AuthenticateResponse{Header: a.s.currentHeader(), Token: token}, nil
	}
	return nil, toStatus(auth.ErrOldRevision)
}

// token gives a token to a user whose password was right among these users. auth.ErrOldRevision, which is no status,
// says that the password is not the user's any more.
func (a *authServer) token(ctx context.Context, name string, users *auth.Snapshot) (string, error) {
	tokens := &a.s.o.Tokens
	switch {
	case tokens.jwt != nil:
		token, err := tokens.jwt.sign(name, users.Revision(), time.Now())
		if err != nil {
			return "", status.Error(codes.Unknown, err.Error())
		}
		u := a.s.node.Auth().Snapshot().User(name)
		if u == nil || u.Since > users.Revision() {
			return "", auth.ErrOldRevision
		}
		return token, nil
	case !tokens.simple:
		return "", toStatus(auth.ErrAuthFailed)
	}
	token := newToken()
	grant := command.TokenGrant{User: name, Token: tokenID(token), TTL: uint64(tokens.ttl)}
	reply, err := a.s.node.Propose(ctx, command.Command{
		Kind:         command.KindAuthenticate,
		User:         name,
		AuthRevision: users.Revision(),
		Payload:      command.AppendTokenGrant(nil, &grant),
	})
	switch {
	case err != nil:
		return "", proposalFailed(err)
	case errors.Is(reply.Err, auth.ErrOldRevision):
		return "", auth.ErrOldRevision
	case reply.Err != nil:
		return "", toStatus(reply.Err)
	}
	return token, nil
}

// hash returns the hash that a request brings or that of the password in it. Neither gives an empty hash, with which
// nobody can log in.
func (a *authServer) hash(ctx context.Context, password, encoded string) ([]byte, error) {
	if password != "" {
		hash, err := a.s.passwords.hash(ctx, password)
		if err != nil {
			return nil, toStatus(err)
		}
		return hash, nil
	}
	if encoded == "" {
		return nil, nil
	}
	hash, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !usable(hash) {
		return nil, status.Errorf(codes.InvalidArgument, "etcdserver: the hashed password is not the base64 of a bcrypt hash of a cost up to %d", maxHashCost)
	}
	return hash, nil
}

// UserAdd adds a user.
func (a *authServer) UserAdd(ctx context.Context, r *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	c := command.AuthChange{Op: command.UserAdd, User: r.Name, NoPassword: r.GetOptions().GetNoPassword()}
	password := r.Password
	r.Password = ""
	if !c.NoPassword {
		var err error
		if c.Hash, err = a.hash(ctx, password, r.HashedPassword); err != nil {
			return nil, err
		}
	}
	h, err := a.change(ctx, c)
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserAddResponse{Header: h}, nil
}

// UserDelete deletes a user and ends its tokens.
func (a *authServer) UserDelete(ctx context.Context, r *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	h, err := a.change(ctx, command.AuthChange{Op: command.UserDelete, User: r.Name})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserDeleteResponse{Header: h}, nil
}

// UserChangePassword gives a user another password and ends its tokens.
func (a *authServer) UserChangePassword(ctx context.Context, r *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	password := r.Password
	r.Password = ""
	hash, err := a.hash(ctx, password, r.HashedPassword)
	if err != nil {
		return nil, err
	}
	h, err := a.change(ctx, command.AuthChange{Op: command.UserChangePassword, User: r.Name, Hash: hash})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserChangePasswordResponse{Header: h}, nil
}

// UserGrantRole gives a user a role.
func (a *authServer) UserGrantRole(ctx context.Context, r *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	h, err := a.change(ctx, command.AuthChange{Op: command.UserGrantRole, User: r.User, Role: r.Role})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserGrantRoleResponse{Header: h}, nil
}

// UserRevokeRole takes a role from a user.
func (a *authServer) UserRevokeRole(ctx context.Context, r *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	h, err := a.change(ctx, command.AuthChange{Op: command.UserRevokeRole, User: r.Name, Role: r.Role})
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserRevokeRoleResponse{Header: h}, nil
}

// RoleAdd adds a role.
func (a *authServer) RoleAdd(ctx context.Context, r *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	h, err := a.change(ctx, command.AuthChange{Op: command.RoleAdd, Role: r.Name})
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleAddResponse{Header: h}, nil
}

// RoleDelete deletes a role and takes it from everybody.
func (a *authServer) RoleDelete(ctx context.Context, r *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	h, err := a.change(ctx, command.AuthChange{Op: command.RoleDelete, Role: r.Role})
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleDeleteResponse{Header: h}, nil
}

// RoleGrantPermission gives a role a permission, or another type to one that it has.
func (a *authServer) RoleGrantPermission(ctx context.Context, r *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	c := command.AuthChange{Op: command.RoleGrantPermission, Role: r.Name}
	if p := r.Perm; p != nil {
		c.Permission = &command.Permission{Type: command.PermissionType(p.PermType), Interval: command.NewInterval(p.Key, p.RangeEnd)}
	}
	h, err := a.change(ctx, c)
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleGrantPermissionResponse{Header: h}, nil
}

// RoleRevokePermission takes a permission from a role.
func (a *authServer) RoleRevokePermission(ctx context.Context, r *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	c := command.AuthChange{Op: command.RoleRevokePermission, Role: r.Role}
	c.Permission = &command.Permission{Interval: command.NewInterval(r.Key, r.RangeEnd)}
	h, err := a.change(ctx, c)
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleRevokePermissionResponse{Header: h}, nil
}

// seen returns the users when this member knows every change that was acknowledged, and what they say to the caller's
// wish to see one of them: the root role sees all, and self says what everybody may see of himself.
func (a *authServer) seen(ctx context.Context, self func(u *auth.Snapshot, name string) bool) (*auth.Snapshot, error) {
	if _, err := a.current(ctx); err != nil {
		return nil, err
	}
	who, err := a.s.identify(ctx)
	if err == nil {
		if err = who.users.AllowAdmin(who.id); err != nil && self != nil && who.users.AllowAnyUser(who.id) == nil && self(who.users, who.id.Name) {
			err = nil
		}
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return who.users, nil
}

// UserGet lists the roles of a user: to the root role, and to the user.
func (a *authServer) UserGet(ctx context.Context, r *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	users, err := a.seen(ctx, func(_ *auth.Snapshot, name string) bool { return name == r.Name })
	if err != nil {
		return nil, err
	}
	u := users.User(r.Name)
	if u == nil {
		return nil, toStatus(auth.ErrUserNotFound)
	}
	return &pb.AuthUserGetResponse{Header: a.s.currentHeader(), Roles: u.Roles}, nil
}

// UserList lists all users.
func (a *authServer) UserList(ctx context.Context, _ *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	users, err := a.seen(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserListResponse{Header: a.s.currentHeader(), Users: users.Users()}, nil
}

// RoleGet lists the permissions of a role: to the root role, and to those who have the role.
func (a *authServer) RoleGet(ctx context.Context, r *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	users, err := a.seen(ctx, func(users *auth.Snapshot, name string) bool {
		u := users.User(name)
		return u != nil && u.HasRole(r.Role)
	})
	if err != nil {
		return nil, err
	}
	role := users.Role(r.Role)
	if role == nil {
		return nil, toStatus(auth.ErrRoleNotFound)
	}
	response := &pb.AuthRoleGetResponse{Header: a.s.currentHeader()}
	if role.Name == auth.Root {
		response.Perm = []*authpb.Permission{{PermType: authpb.Permission_READWRITE, Key: []byte{}, RangeEnd: []byte{0}}}
		return response, nil
	}
	for i := range role.Permissions {
		key, end := role.Permissions[i].Interval.Wire()
		response.Perm = append(response.Perm, &authpb.Permission{
			PermType: authpb.Permission_Type(role.Permissions[i].Type), Key: key, RangeEnd: end})
	}
	return response, nil
}

// RoleList lists all roles.
func (a *authServer) RoleList(ctx context.Context, _ *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	users, err := a.seen(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleListResponse{Header: a.s.currentHeader(), Roles: users.Roles()}, nil
}
