package discovery

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// isRefusal tells an answer of the other cluster that repeating does not change from a failure that may pass.
func isRefusal(err error) bool {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented:
		return true
	}
	return false
}
