package server

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"holdfast/internal/invariant"
)

// method is one RPC of a registered service.
type method struct {
	full    string // /service/name
	service string
	name    string
	kind    string // unary, client_stream, server_stream or bidi_stream
	policy  policy
	learner bool // a learner serves it, perhaps only in part
	state   bool // it reads or writes the state of the member
	counts  counters
	times   prometheus.Observer // of how long it takes; nil unless that is asked for
}

// took notes how long a call that began at start has taken.
func (m *method) took(start time.Time) {
	if m.times != nil {
		m.times.Observe(time.Since(start).Seconds())
	}
}

// rawHandler serves a method of the KV service from the bytes of its request.
type rawHandler func(ctx context.Context, request []byte) (*answer, error)

// raw returns the gRPC handler of a method of the KV service.
func (s *Server) raw(m *method, h rawHandler) grpc.MethodHandler {
	return func(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (_ any, err error) {
		start := time.Now()
		m.counts.started.Add(1)
		var f frame
		var a *answer
		defer func() {
			if p := recover(); p != nil {
				err = s.panicked(ctx, m, p)
			}
			m.counts.done(err)
			m.took(start)
			s.logSlow(ctx, m, start, f.data, a)
		}()
		if err := decode(&f); err != nil {
			return nil, err
		}
		m.counts.received.Add(1)
		if err := s.admit(ctx, m, &s.unaryVersions); err != nil {
			return nil, err
		}
		if interceptor == nil {
			a, err = h(ctx, f.data)
		} else {
			var response any
			info := &grpc.UnaryServerInfo{Server: s, FullMethod: m.full}
			response, err = interceptor(ctx, &f, info, func(ctx context.Context, _ any) (any, error) { return h(ctx, f.data) })
			a, _ = response.(*answer)
		}
		if err != nil {
			return nil, err
		}
		m.counts.sent.Add(1)
		return a, nil
	}
}

// unary wraps the handler of a method whose messages the protobuf library encodes.
func (s *Server) unary(m *method, h grpc.MethodHandler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (response any, err error) {
		start := time.Now()
		m.counts.started.Add(1)
		defer func() {
			if p := recover(); p != nil {
				err = s.panicked(ctx, m, p)
			}
			m.counts.done(err)
			m.took(start)
			s.logSlow(ctx, m, start, nil, nil)
		}()
		if err := s.admit(ctx, m, &s.unaryVersions); err != nil {
			return nil, err
		}
		response, err = h(srv, ctx, func(v any) error {
			if err := decode(v); err != nil {
				return err
			}
			m.counts.received.Add(1)
			return nil
		}, interceptor)
		if err != nil {
			return nil, err
		}
		m.counts.sent.Add(1)
		return response, nil
	}
}

// stream wraps the handler of a streaming method.
func (s *Server) stream(m *method, h grpc.StreamHandler) grpc.StreamHandler {
	return func(srv any, stream grpc.ServerStream) (err error) {
		start := time.Now()
		m.counts.started.Add(1)
		defer func() {
			if p := recover(); p != nil {
				err = s.panicked(stream.Context(), m, p)
			}
			m.counts.done(err)
			m.took(start)
		}()
		if err := s.admit(stream.Context(), m, &s.streamVersions); err != nil {
			return err
		}
		end, err := s.streams.begin(stream.Context())
		if err != nil {
			return err
		}
		return s.whileLed(m, h, srv, &countedStream{ServerStream: stream, counts: &m.counts}, end)
	}
}

// countedStream counts the messages of a stream.
type countedStream struct {
	grpc.ServerStream
	counts *counters
}

// SendMsg sends m.
func (c *countedStream) SendMsg(m any) error {
	err := c.ServerStream.SendMsg(m)
	if err == nil {
		c.counts.sent.Add(1)
	}
	return err
}

// RecvMsg receives into m.
func (c *countedStream) RecvMsg(m any) error {
	err := c.ServerStream.RecvMsg(m)
	if err == nil {
		c.counts.received.Add(1)
	}
	return err
}

// admit is what every call passes before its request is looked at: whether this member serves the method at all,
// whether its state is right, whether the client wants to be turned away while there is no leader, and what the method asks of the caller.
func (s *Server) admit(ctx context.Context, m *method, versions *clientVersions) error {
	where := s.node.Status()
	if where.Learner && !m.learner {
		return rpctypes.ErrGRPCNotSupportedForLearner
	}
	if m.state && s.node.Corrupt() {
		return rpctypes.ErrGRPCCorrupt
	}
	version := "unknown"
	if v := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey); len(v) > 0 {
		version = v[0]
	}
	if !utf8.ValidString(version) {
		return rpctypes.ErrGRPCInvalidClientAPIVersion
	}
	versions.add(version)
	if where.Leader == 0 && wantsLeader(ctx) {
		return rpctypes.ErrGRPCNoLeader
	}
	return s.enter(ctx, m)
}

// panicked stops the member because a handler panicked with p. A request never gets an answer from state that may
// be wrong: the call hangs until its connection ends with the process.
func (s *Server) panicked(ctx context.Context, m *method, p any) error {
	s.stopFor(m.full, p)
	<-ctx.Done()
	return rpctypes.ErrGRPCStopped
}

// stopFor stops the member because the handler named where panicked with p.
func (s *Server) stopFor(where string, p any) {
	err, ok := p.(error)
	if !ok {
		err = fmt.Errorf("%v", p)
	}
	if _, ok := p.(invariant.Violation); !ok {
		err = fmt.Errorf("the handler of %s panicked: %w", where, err)
	}
	s.log.Error("stopping: a request handler panicked", zap.String("method", where), zap.Error(err),
		zap.ByteString("stack", debug.Stack()))
	s.o.Fail(err)
}

// unfinished answers for a method that this version does not serve.
func unfinished(service, name string) error {
	return status.Errorf(codes.Unimplemented, "this version of Holdfast does not serve %s/%s", service, name)
}
