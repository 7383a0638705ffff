package server

import (
	"context"
	"errors"

	"holdfast/internal/auth"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
)

// maxAuthorisations is how often a command is authorised and proposed when users or roles change under it in a way
// that might matter to it. Each time needs such a change between the proposal and the application of the command.
const maxAuthorisations = 16

// propose authorises a request, sends it through the log and returns the answer that the machine gave. payload is the
// request's encoding.
func propose[R command.Put | command.DeleteRange | command.Txn | command.Compaction | command.LeaseGrant |
	command.LeaseRevoke | command.LeaseRenew](ctx context.Context, s *Server, k command.Kind, request *R, payload []byte) (*answer, error) {
	reply, err := proposeReply(ctx, s, k, request, payload)
	if err != nil {
		return nil, err
	}
	return s.replyAnswer(ctx, reply), nil
}

// proposeReply is propose for those who word the answer themselves. Its errors are statuses.
func proposeReply[R command.Put | command.DeleteRange | command.Txn | command.Compaction | command.LeaseGrant |
	command.LeaseRevoke | command.LeaseRenew | command.AuthChange | command.MemberUpdate | command.Alarm](ctx context.Context, s *Server, k command.Kind, request *R, payload []byte) (machine.Reply, error) {
	for range maxAuthorisations {
		who, err := authorise(ctx, s, request)
		if err != nil {
			return machine.Reply{}, toStatus(err)
		}
		reply, err := s.node.Propose(ctx, command.Command{
			Kind:         k,
			User:         who.id.Name,
			AuthRevision: who.users.Stamp(),
			Payload:      payload,
		})
		switch {
		case err != nil:
			return machine.Reply{}, proposalFailed(err)
		case errors.Is(reply.Err, machine.ErrAuthChanged):
			// It was refused before it did anything, so this is another command.
		case reply.Err != nil:
			return machine.Reply{}, toStatus(reply.Err)
		default:
			return reply, nil
		}
	}
	return machine.Reply{}, toStatus(auth.ErrOldRevision)
}

// attached are the keys of a lease as they are published.
func (s *Server) attached(id kind.LeaseID, yield func(key []byte) bool) {
	if err := s.node.Leases().Keys(id, yield); err != nil {
		_ = s.readFailed(err) // damage stops the member
		yield(nil)            // and a key that nobody may have denies
	}
}
