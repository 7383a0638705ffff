package server

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"holdfast/internal/auth"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/machine"
)

// The Lease service. Its requests go the way of those of the KV service: decoded once, checked, authorised, proposed.

// leaseGrant serves Lease.LeaseGrant. What the machine could not decide by itself is decided here: the id, if the
// client leaves it to us, and the least TTL.
func (s *Server) leaseGrant(ctx context.Context, request []byte) (*answer, error) {
	g, _, err := command.DecodeLeaseGrant(request)
	if err != nil {
		return nil, malformed(err)
	}
	if err := s.node.Space(); err != nil {
		return nil, toStatus(err)
	}
	g.TTL = max(g.TTL, s.o.MinLeaseTTL)
	for chosen := g.ID != 0; ; {
		if !chosen {
			g.ID = kind.LeaseID(1 + rand.Int64N(math.MaxInt64))
		}
		a, err := propose(ctx, s, command.KindLeaseGrant, &g, command.AppendLeaseGrant(nil, &g))
		if chosen || !errors.Is(err, toStatus(machine.ErrLeaseExists)) {
			return a, err
		}
	}
}

// leaseRevoke serves Lease.LeaseRevoke.
func (s *Server) leaseRevoke(ctx context.Context, request []byte) (*answer, error) {
	r, known, err := command.DecodeLeaseRevoke(request)
	if err != nil {
		return nil, malformed(err)
	}
	if !known {
		request = command.AppendLeaseRevoke(nil, &r)
	}
	return propose(ctx, s, command.KindLeaseRevoke, &r, request)
}

// The fields of LeaseTimeToLiveResponse and LeaseKeepAliveResponse, and of LeaseLeasesResponse and LeaseStatus.
const (
	fieldLeaseID    protowire.Number = 2
	fieldTTL        protowire.Number = 3
	fieldGrantedTTL protowire.Number = 4
	fieldKeys       protowire.Number = 5
	fieldLeases     protowire.Number = 2
	fieldStatusID   protowire.Number = 1
)

func appendInt(b []byte, field protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v))
}

// leaseTimeToLive serves Lease.LeaseTimeToLive. A lease that does not exist has a TTL of -1.
func (s *Server) leaseTimeToLive(ctx context.Context, request []byte) (*answer, error) {
	r, _, err := command.DecodeLeaseTimeToLive(request)
	if err != nil {
		return nil, malformed(err)
	}
	who, err := authorise(ctx, s, &r)
	if err != nil {
		return nil, toStatus(err)
	}
	if err := s.node.ReadIndex(ctx); err != nil {
		return nil, s.readFailed(err)
	}
	revision := int64(s.node.KV().Revision())
	l, exists := s.node.Leases().Get(r.ID)
	body := appendInt(nil, fieldLeaseID, int64(r.ID))
	if !exists {
		return s.newAnswer(revision, appendInt(body, fieldTTL, -1)), nil
	}
	now, _ := s.node.ClusterTime()
	body = appendInt(body, fieldTTL, int64((l.Deadline-min(now, l.Deadline))/lease.NanosPerSecond))
	body = appendInt(body, fieldGrantedTTL, l.TTL)
	if r.Keys {
		// A key that was attached since r was authorised is shown to those alone who may read it.
		var denied error
		err := s.node.Leases().Keys(r.ID, func(key []byte) bool {
			one := auth.Read{Interval: command.Interval{Shape: command.Point, Start: key}}
			if denied = who.users.Allow(who.id, &one, nil); denied != nil {
				return false
			}
			body = protowire.AppendBytes(protowire.AppendTag(body, fieldKeys, protowire.BytesType), key)
			return ctx.Err() == nil
		})
		if err == nil {
			err = cmp.Or(denied, ctx.Err())
		}
		if err != nil {
			return nil, s.readFailed(err)
		}
		if err := confirm(ctx, s, who, &r); err != nil {
			return nil, toStatus(err)
		}
	}
	return s.newAnswer(revision, body), nil
}

// leaseLeases serves Lease.LeaseLeases: the lease that ends first comes first.
func (s *Server) leaseLeases(ctx context.Context, request []byte) (*answer, error) {
	r, _, err := command.DecodeLeaseLeases(request)
	if err != nil {
		return nil, malformed(err)
	}
	if _, err := authorise(ctx, s, &r); err != nil {
		return nil, toStatus(err)
	}
	if err := s.node.ReadIndex(ctx); err != nil {
		return nil, s.readFailed(err)
	}
	// Whoever asks for all leases may read all keys that are attached to them, as it is now.
	who, err := s.identify(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	revision := int64(s.node.KV().Revision())
	all := s.node.Leases().All()
	const statusBytes = 2 + 1 + binary.MaxVarintLen64
	body := make([]byte, 0, len(all)*statusBytes)
	for _, l := range all {
		one := command.LeaseTimeToLive{ID: l.ID, Keys: true}
		if err := who.users.Allow(who.id, &one, s.attached); err != nil {
			return nil, toStatus(err)
		}
		var inner [1 + binary.MaxVarintLen64]byte
		body = protowire.AppendTag(body, fieldLeases, protowire.BytesType)
		body = protowire.AppendBytes(body, appendInt(inner[:0], fieldStatusID, int64(l.ID)))
	}
	return s.newAnswer(revision, body), nil
}

// maxKeepAlives is how many keep-alives of one stream make one command, and how many may wait for it.
const maxKeepAlives = 1024

// leaseKeepAlive serves Lease.LeaseKeepAlive. All requests that have come while the last command was under way make
// the next, and are answered in order when it is applied: an answer says that the lease has its time in the log. A
// lease that does not exist has a TTL of 0, and the stream goes on.
func (s *Server) leaseKeepAlive(_ any, stream grpc.ServerStream) error {
	ctx := stream.Context()
	ids := make(chan kind.LeaseID, maxKeepAlives)
	ended := make(chan error, 1)
	go func() {
		defer close(ids)
		for {
			var f frame
			err := stream.RecvMsg(&f)
			var id kind.LeaseID
			if err == nil {
				if id, _, err = command.DecodeLeaseKeepAlive(f.data); err != nil {
					err = malformed(err)
				}
			}
			if err != nil {
				ended <- err
				return
			}
			select {
			case ids <- id:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	}()
	for id := range ids {
		renew := command.LeaseRenew{IDs: []kind.LeaseID{id}}
		for more := true; more && len(renew.IDs) < maxKeepAlives; {
			select {
			case id, more = <-ids:
				if more {
					renew.IDs = append(renew.IDs, id)
				}
			default:
				more = false
			}
		}
		if err := s.renewInOrder(ctx, stream, &renew); err != nil {
			return err
		}
	}
	err := <-ended
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case ctx.Err() != nil:
		return toStatus(ctx.Err())
	}
	return err
}

// renewInOrder renews leases together, and if the user may not renew all of them one after the other up to the one that
// is refused: how they came together is chance, and must not decide which of them live on.
func (s *Server) renewInOrder(ctx context.Context, stream grpc.ServerStream, renew *command.LeaseRenew) error {
	err := s.renewLeases(ctx, stream, renew)
	if status.Code(err) != codes.PermissionDenied || len(renew.IDs) == 1 {
		return err
	}
	for _, id := range renew.IDs {
		if err := s.renewLeases(ctx, stream, &command.LeaseRenew{IDs: []kind.LeaseID{id}}); err != nil {
			return err
		}
	}
	return nil
}

// renewLeases proposes one command and answers each of its leases.
func (s *Server) renewLeases(ctx context.Context, stream grpc.ServerStream, renew *command.LeaseRenew) error {
	who, err := authorise(ctx, s, renew)
	if err != nil {
		return toStatus(err)
	}
	reply, err := s.node.Propose(ctx, command.Command{
		Kind:         command.KindLeaseRenew,
		User:         who.id.Name,
		AuthRevision: who.users.Stamp(),
		Payload:      command.AppendLeaseRenew(nil, renew),
	})
	if err != nil {
		return proposalFailed(err)
	}
	if reply.Err != nil {
		return toStatus(reply.Err)
	}
	ttls := reply.Body
	for _, id := range renew.IDs {
		ttl, n := binary.Uvarint(ttls)
		ttls = ttls[max(n, 0):]
		body := appendInt(appendInt(nil, fieldLeaseID, int64(id)), fieldTTL, int64(ttl))
		if err := stream.SendMsg(s.newAnswer(int64(reply.Revision), body)); err != nil {
			return err
		}
	}
	return nil
}
