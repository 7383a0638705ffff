package server

import (
	"context"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"holdfast/internal/auth"
	"holdfast/internal/command"
)

// caller is who asks, and the users among whom that was found out. The zero identity has no name.
type caller struct {
	id    auth.Identity
	users *auth.Snapshot
}

// identify finds out who is calling. It is the one place where that is decided: a token counts first, and a wrong one
// is refused whatever else the caller could show; then the name in a certificate that the connection has verified, if
// the member asks for certificates. Without authentication nobody is asked.
func (s *Server) identify(ctx context.Context) (caller, error) {
	users := s.node.Auth().Snapshot()
	if !users.Enabled() {
		return caller{users: users}, nil
	}
	if token, ok := tokenOf(ctx); ok {
		id, known := s.holder(token, users)
		if !known {
			return caller{}, auth.ErrInvalidToken
		}
		return caller{id, users}, nil
	}
	if name, ok := s.certified(ctx); ok {
		return caller{auth.Identity{Name: name, Revision: users.Revision()}, users}, nil
	}
	return caller{users: users}, nil
}

// tokenOf returns the token that a call carries.
func tokenOf(ctx context.Context) (string, bool) {
	for _, key := range [...]string{rpctypes.TokenFieldNameGRPC, rpctypes.TokenFieldNameSwagger} {
		if v := metadata.ValueFromIncomingContext(ctx, key); len(v) > 0 {
			return strings.TrimPrefix(v[0], "Bearer "), true
		}
	}
	return "", false
}

// certified returns the common name of the certificate with which the client opened the connection. What comes through
// a gateway shows the gateway's certificate, which says nothing about the client.
func (s *Server) certified(ctx context.Context) (name string, ok bool) {
	if !s.o.ClientCertAuth {
		return "", false
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(metadata.ValueFromIncomingContext(ctx, "grpcgateway-accept")) > 0 {
		return "", false
	}
	for _, chain := range info.State.VerifiedChains {
		if len(chain) > 0 {
			return chain[0].Subject.CommonName, true
		}
	}
	return "", false
}

// authorise decides whether the client behind ctx may have request done. It is the only way from a request to the node:
// whoever reads or proposes for a client asks here first, with the value that is then executed.
func authorise[R command.Put | command.Range | command.DeleteRange | command.Txn | command.Compaction |
	command.LeaseGrant | command.LeaseRevoke | command.LeaseRenew | command.LeaseTimeToLive | command.LeaseLeases |
	command.AuthChange | command.MemberUpdate | command.Alarm | auth.Read](ctx context.Context, s *Server, request *R) (caller, error) {
	who, err := s.identify(ctx)
	if err != nil {
		return caller{}, err
	}
	if !who.users.Enabled() {
		return who, nil
	}
	var attached auth.AttachedKeys
	switch any(request).(type) {
	case *command.LeaseRenew, *command.LeaseTimeToLive:
		attached = s.attached // of everything that is proposed, the machine decides about the keys of leases
	}
	return who, who.users.Allow(who.id, request, attached)
}

// confirm is called when the answer to a read is at hand, which was allowed to who, and before it is given away. If
// users or roles have changed since, the read is authorised anew: what is shown may be younger than the change. Changes
// of users are published before the keys that were written after them.
func confirm[R command.Range | command.Txn | command.LeaseTimeToLive | command.LeaseLeases | auth.Read](
	ctx context.Context, s *Server, who caller, request *R) error {
	if s.node.Auth().Snapshot() == who.users {
		return nil
	}
	_, err := authorise(ctx, s, request)
	return err
}
