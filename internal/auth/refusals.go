package auth

import "errors"

// The refusals of changes and of requests, with etcd's bare texts; whoever speaks to clients adds codes and prefixes.
var (
	ErrRootUserMissing      = errors.New("root user does not exist")
	ErrRootRoleMissing      = errors.New("root user does not have root role")
	ErrUserExists           = errors.New("user name already exists")
	ErrUserEmpty            = errors.New("user name is empty")
	ErrUserNotFound         = errors.New("user name not found")
	ErrRoleExists           = errors.New("role name already exists")
	ErrRoleEmpty            = errors.New("role name is empty")
	ErrRoleNotFound         = errors.New("role name not found")
	ErrAuthFailed           = errors.New("authentication failed, invalid user ID or password")
	ErrPermissionNotGiven   = errors.New("permission not given")
	ErrPermissionDenied     = errors.New("permission denied")
	ErrRoleNotGranted       = errors.New("role is not granted to the user")
	ErrPermissionNotGranted = errors.New("permission is not granted to the role")
	ErrNotEnabled           = errors.New("authentication is not enabled")
	ErrInvalidManagement    = errors.New("invalid auth management")
	ErrInvalidToken         = errors.New("invalid auth token")
	// ErrOldRevision: users or roles have changed since the caller proved who it is, or while it was served.
	ErrOldRevision = errors.New("revision of auth store is old")
)

// ErrRecord says that a stored record is broken or of a version that this program does not know.
var ErrRecord = errors.New("a record of the users and roles cannot be read")
