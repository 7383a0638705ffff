package server

import (
	"context"

	"holdfast/internal/auth"
)

// policy says what a caller must be allowed before a method is entered, while authentication is enabled.
type policy uint8

const (
	// denied is what a method has that nobody listed; it is denied with or without authentication.
	denied policy = iota
	// public methods ask nothing, and do not look at who is calling.
	public
	// anybody may call, but not with a token that is none.
	anybody
	// anyUser asks for any user.
	anyUser
	// admin asks for the root role.
	admin
	// byRequest leaves the decision to authorise, which the handler calls with the decoded request.
	byRequest
)

// policies lists every RPC that is registered. A test compares it with the descriptors of the services.
var policies = map[string]policy{
	"/etcdserverpb.KV/Range":       byRequest,
	"/etcdserverpb.KV/RangeStream": byRequest,
	"/etcdserverpb.KV/Put":         byRequest,
	"/etcdserverpb.KV/DeleteRange": byRequest,
	"/etcdserverpb.KV/Txn":         byRequest,
	"/etcdserverpb.KV/Compact":     admin,

	"/etcdserverpb.Watch/Watch": byRequest,

	"/etcdserverpb.Lease/LeaseGrant":      anyUser,
	"/etcdserverpb.Lease/LeaseRevoke":     byRequest,
	"/etcdserverpb.Lease/LeaseKeepAlive":  byRequest,
	"/etcdserverpb.Lease/LeaseTimeToLive": byRequest,
	"/etcdserverpb.Lease/LeaseLeases":     byRequest,

	"/etcdserverpb.Cluster/MemberAdd":     admin,
	"/etcdserverpb.Cluster/MemberRemove":  admin,
	"/etcdserverpb.Cluster/MemberUpdate":  admin,
	"/etcdserverpb.Cluster/MemberList":    anyUser,
	"/etcdserverpb.Cluster/MemberPromote": admin,

	"/etcdserverpb.Maintenance/Alarm":      anyUser, // its handler asks for more to raise or clear one
	"/etcdserverpb.Maintenance/Status":     anyUser,
	"/etcdserverpb.Maintenance/Defragment": admin,
	"/etcdserverpb.Maintenance/Hash":       admin,
	"/etcdserverpb.Maintenance/HashKV":     admin,
	"/etcdserverpb.Maintenance/Snapshot":   admin,
	"/etcdserverpb.Maintenance/MoveLeader": admin,
	"/etcdserverpb.Maintenance/Downgrade":  admin,

	"/etcdserverpb.Auth/AuthEnable":           admin,
	"/etcdserverpb.Auth/AuthDisable":          admin,
	"/etcdserverpb.Auth/AuthStatus":           anybody,
	"/etcdserverpb.Auth/Authenticate":         public,
	"/etcdserverpb.Auth/UserAdd":              admin,
	"/etcdserverpb.Auth/UserGet":              byRequest,
	"/etcdserverpb.Auth/UserList":             admin,
	"/etcdserverpb.Auth/UserDelete":           admin,
	"/etcdserverpb.Auth/UserChangePassword":   admin,
	"/etcdserverpb.Auth/UserGrantRole":        admin,
	"/etcdserverpb.Auth/UserRevokeRole":       admin,
	"/etcdserverpb.Auth/RoleAdd":              admin,
	"/etcdserverpb.Auth/RoleGet":              byRequest,
	"/etcdserverpb.Auth/RoleList":             admin,
	"/etcdserverpb.Auth/RoleDelete":           admin,
	"/etcdserverpb.Auth/RoleGrantPermission":  admin,
	"/etcdserverpb.Auth/RoleRevokePermission": admin,

	"/v3lockpb.Lock/Lock":   byRequest,
	"/v3lockpb.Lock/Unlock": byRequest,

	"/v3electionpb.Election/Campaign": byRequest,
	"/v3electionpb.Election/Proclaim": byRequest,
	"/v3electionpb.Election/Leader":   byRequest,
	"/v3electionpb.Election/Observe":  byRequest,
	"/v3electionpb.Election/Resign":   byRequest,

	"/holdfast.v1.Cluster/Change": admin,
	"/holdfast.v1.Cluster/Repair": admin,

	"/grpc.health.v1.Health/Check": public,
	"/grpc.health.v1.Health/Watch": public,
	"/grpc.health.v1.Health/List":  public,
}

// enter decides whether the caller behind ctx may call m at all.
func (s *Server) enter(ctx context.Context, m *method) error {
	switch m.policy {
	case public, byRequest:
		return nil
	case denied:
		return toStatus(auth.ErrPermissionDenied)
	}
	who, err := s.identify(ctx)
	if err == nil {
		switch m.policy {
		case anyUser:
			err = who.users.AllowAnyUser(who.id)
		case admin:
			err = who.users.AllowAdmin(who.id)
		}
	}
	if err != nil {
		return toStatus(err)
	}
	return nil
}
