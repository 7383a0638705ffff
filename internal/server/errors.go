package server

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/internal/auth"
	"holdfast/internal/command"
	"holdfast/internal/machine"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/node"
	"holdfast/internal/store"
)

// refusals is the one table from refusals of ours to the codes and texts of etcd, which clients compare word by
// word. The first row that errors.Is finds counts.
var refusals = []struct {
	ours  error
	etcds error
}{
	{command.ErrEmptyKey, rpctypes.ErrGRPCEmptyKey},
	{command.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
	{command.ErrValueProvided, rpctypes.ErrGRPCValueProvided},
	{command.ErrLeaseProvided, rpctypes.ErrGRPCLeaseProvided},
	{command.ErrTooManyOps, rpctypes.ErrGRPCTooManyOps},
	{command.ErrDuplicateKey, rpctypes.ErrGRPCDuplicateKey},
	{command.ErrInvalidSortOption, rpctypes.ErrGRPCInvalidSortOption},
	{command.ErrStreamSort, status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")},
	{command.ErrStreamFilters, status.Error(codes.Unimplemented, "RangeStream does not support revision filters")},

	{mvcc.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{mvcc.ErrFutureRevision, rpctypes.ErrGRPCFutureRev},

	{machine.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{machine.ErrLeaseExists, rpctypes.ErrGRPCLeaseExist},
	{machine.ErrLeaseTTLTooLarge, rpctypes.ErrGRPCLeaseTTLTooLarge},

	{auth.ErrRootUserMissing, rpctypes.ErrGRPCRootUserNotExist},
	{auth.ErrRootRoleMissing, rpctypes.ErrGRPCRootRoleNotExist},
	{auth.ErrUserExists, rpctypes.ErrGRPCUserAlreadyExist},
	{auth.ErrUserEmpty, rpctypes.ErrGRPCUserEmpty},
	{auth.ErrUserNotFound, rpctypes.ErrGRPCUserNotFound},
	{auth.ErrRoleExists, rpctypes.ErrGRPCRoleAlreadyExist},
	{auth.ErrRoleEmpty, rpctypes.ErrGRPCRoleEmpty},
	{auth.ErrRoleNotFound, rpctypes.ErrGRPCRoleNotFound},
	{auth.ErrAuthFailed, rpctypes.ErrGRPCAuthFailed},
	{auth.ErrPermissionNotGiven, rpctypes.ErrGRPCPermissionNotGiven},
	{auth.ErrPermissionDenied, rpctypes.ErrGRPCPermissionDenied},
	{auth.ErrRoleNotGranted, rpctypes.ErrGRPCRoleNotGranted},
	{auth.ErrPermissionNotGranted, rpctypes.ErrGRPCPermissionNotGranted},
	{auth.ErrNotEnabled, rpctypes.ErrGRPCAuthNotEnabled},
	{auth.ErrInvalidManagement, rpctypes.ErrGRPCInvalidAuthMgmt},
	{auth.ErrInvalidToken, rpctypes.ErrGRPCInvalidAuthToken},
	{auth.ErrOldRevision, rpctypes.ErrGRPCAuthOldRevision},

	{member.ErrIDNotFound, rpctypes.ErrGRPCMemberNotFound},
	{member.ErrIDRemoved, rpctypes.ErrGRPCMemberNotFound},
	{member.ErrIDExists, rpctypes.ErrGRPCMemberExist},
	{member.ErrPeerURLExists, rpctypes.ErrGRPCPeerURLExist},
	{member.ErrNotLearner, rpctypes.ErrGRPCMemberNotLearner},
	{member.ErrLearnerNotReady, rpctypes.ErrGRPCLearnerNotReady},
	{member.ErrTooManyLearners, rpctypes.ErrGRPCTooManyLearners},
	{member.ErrNotEnoughStarted, rpctypes.ErrGRPCMemberNotEnoughStarted},
	{member.ErrUnhealthy, rpctypes.ErrGRPCUnhealthy},
	{member.ErrUnderWay, rpctypes.ErrGRPCRequestTooManyRequests},

	{node.ErrTooManyRequests, rpctypes.ErrGRPCRequestTooManyRequests},
	{node.ErrRequestTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{node.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
	{node.ErrCorrupt, rpctypes.ErrGRPCCorrupt},
	{node.ErrStopped, rpctypes.ErrGRPCStopped},
	{node.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
	{node.ErrNotLeader, rpctypes.ErrGRPCNotLeader},
	{node.ErrLeaderChanged, rpctypes.ErrGRPCLeaderChanged},
	{node.ErrUnhealthy, rpctypes.ErrGRPCUnhealthy},
	{node.ErrBadLeaderTransferee, rpctypes.ErrGRPCBadLeaderTransferee},
	{node.ErrTimeout, rpctypes.ErrGRPCTimeout},
	{node.ErrTimeoutLeaderLoss, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{node.ErrTimeoutConnLost, rpctypes.ErrGRPCTimeoutDueToConnectionLost},
	{node.ErrTimeoutAppliedIndex, rpctypes.ErrGRPCTimeoutWaitAppliedIndex},
}

// toStatus returns what a client is told about err: the row of the table, or the plain words of a context that has
// ended. An error that is already a status stays; anything else has code Unknown and its own text.
func toStatus(err error) error {
	for i := range refusals {
		if errors.Is(err, refusals[i].ours) {
			return refusals[i].etcds
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return status.FromContextError(context.Canceled).Err()
	case errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(context.DeadlineExceeded).Err()
	case errors.Is(err, store.ErrReplaced):
		return status.Error(codes.Unavailable, err.Error())
	case errors.Is(err, mvcc.ErrAnswerTooLarge):
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unknown, err.Error())
}

// proposalFailed is toStatus for a command that was on its way when its caller's context ended: etcd says that the
// request was cancelled or timed out, since it may still be applied.
func proposalFailed(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return rpctypes.ErrGRPCCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return rpctypes.ErrGRPCTimeout
	}
	return toStatus(err)
}

// readFailed is toStatus for a read. One that finds damage in the store stops the member (I4): what is damaged must
// not be served, and what else is damaged is unknown.
func (s *Server) readFailed(err error) error {
	var damage *store.Corruption
	if errors.As(err, &damage) {
		s.o.Fail(fmt.Errorf("read the store: %w", err))
		return rpctypes.ErrGRPCCorrupt
	}
	return toStatus(err)
}
