package server

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"holdfast/internal/node"
)

// The fields of a RepairResponse, whose header is field 1.
const (
	repairedCause    protowire.Number = 2
	repairedIndex    protowire.Number = 3
	repairedRevision protowire.Number = 4
	repairedNanos    protowire.Number = 5
)

// repair serves Cluster.Repair. It takes as long as it takes to fetch the state of the member; if the call is cut off, so is
// the repair, and it may be made again.
func (s *Server) repair(ctx context.Context, request []byte) (*answer, error) {
	if len(request) > 0 {
		return nil, status.Error(codes.InvalidArgument, "the request has fields that this version of Holdfast does not know")
	}
	cause := s.node.Quarantine()
	r, err := s.node.Repair(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, status.FromContextError(ctx.Err()).Err()
	case errors.Is(err, node.ErrNothingToRepair), errors.Is(err, node.ErrRepairing), errors.Is(err, node.ErrNobodyToAsk):
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	case err != nil:
		return nil, status.Error(codes.Unavailable, err.Error()) // with all its reasons, which are for people
	}
	body := protowire.AppendTag(nil, repairedCause, protowire.BytesType)
	body = protowire.AppendString(body, cause)
	for _, f := range []struct {
		number protowire.Number
		value  uint64
	}{{repairedIndex, uint64(r.Index)}, {repairedRevision, uint64(r.Revision)}, {repairedNanos, uint64(r.Took)}} {
		body = protowire.AppendTag(body, f.number, protowire.VarintType)
		body = protowire.AppendVarint(body, f.value)
	}
	return s.newAnswer(int64(s.node.KV().Revision()), body), nil
}

// readsOrWrites reports whether a method answers out of the member's state, or changes it, for clients: a member that knows
// its state to be wrong refuses those. What an operator needs to see and to end that is served.
func readsOrWrites(full string) bool {
	for _, service := range []string{"/etcdserverpb.KV/", "/etcdserverpb.Watch/", "/etcdserverpb.Lease/", "/etcdserverpb.Auth/", "/v3lockpb.Lock/", "/v3electionpb.Election/"} {
		if strings.HasPrefix(full, service) {
			return true
		}
	}
	return full == "/etcdserverpb.Maintenance/Snapshot"
}
