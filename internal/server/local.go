package server

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// local is a connection to the server inside its own process, for the gateway: there is no socket, and the handlers, with
// all that they ask of a caller, are those that gRPC calls. Whom a call comes from is what its context says:
// the peer, and the outgoing metadata, which arrive as they are.
type local struct {
	s       *Server
	unary   map[string]localUnary
	streams map[string]localStream
}

type localUnary struct {
	srv     any
	handler grpc.MethodHandler
}

type localStream struct {
	srv     any
	handler grpc.StreamHandler
}

// Local returns a connection to the server that stays inside the process. The context of a call carries the peer (with
// the state of TLS, by which a certificate says who is calling) and the outgoing metadata of the client behind it.
func (s *Server) Local() grpc.ClientConnInterface {
	l := &local{s: s, unary: map[string]localUnary{}, streams: map[string]localStream{}}
	for _, g := range s.registrations {
		for _, d := range g.desc.Methods {
			l.unary["/"+g.desc.ServiceName+"/"+d.MethodName] = localUnary{g.srv, d.Handler}
		}
		for _, d := range g.desc.Streams {
			l.streams["/"+g.desc.ServiceName+"/"+d.StreamName] = localStream{g.srv, d.Handler}
		}
	}
	return l
}

// arriving turns the context of a client's call into that of the handler. What a gateway between processes says
// about itself is not taken over: the peer is the client here, and its own certificate counts.
func arriving(ctx context.Context) context.Context {
	sent, _ := metadata.FromOutgoingContext(ctx)
	received := make(metadata.MD, len(sent))
	for key, values := range sent {
		if !strings.HasPrefix(key, "grpcgateway-") {
			received[key] = values
		}
	}
	return metadata.NewIncomingContext(ctx, received)
}

// Invoke calls a unary method.
func (l *local) Invoke(ctx context.Context, name string, request, response any, _ ...grpc.CallOption) error {
	m, ok := l.unary[name]
	if !ok {
		return status.Errorf(codes.Unimplemented, "unknown method %s", name)
	}
	encoded, err := l.encode(request)
	if err != nil {
		return err
	}
	answered, err := m.handler(m.srv, arriving(ctx), func(into any) error { return l.s.codec.Unmarshal(encoded, into) }, nil)
	if err != nil {
		return toStatus(err)
	}
	pieces, err := l.s.codec.Marshal(answered)
	if err != nil {
		return err
	}
	defer pieces.Free()
	return l.decode(pieces, response)
}

// NewStream calls a streaming method. The handler runs on a goroutine of its own until it returns or ctx ends; the
// caller reads until an error or ends ctx.
func (l *local) NewStream(ctx context.Context, _ *grpc.StreamDesc, name string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	m, ok := l.streams[name]
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "unknown method %s", name)
	}
	ctx, cancel := context.WithCancel(arriving(ctx))
	p := &pipe{
		local:     l,
		ctx:       ctx,
		requests:  make(chan mem.BufferSlice),
		responses: make(chan mem.BufferSlice),
		closed:    make(chan struct{}),
		ended:     make(chan struct{}),
	}
	go func() {
		defer cancel()
		defer close(p.ended)
		p.err = io.EOF
		if err := m.handler(m.srv, (*serverEnd)(p)); err != nil {
			p.err = toStatus(err)
		}
	}()
	return (*clientEnd)(p), nil
}

// encode is what a client's codec does. The server's own, which counts, does the other half.
func (l *local) encode(v any) (mem.BufferSlice, error) {
	m := messageOf(v)
	if m == nil {
		return nil, fmt.Errorf("cannot encode a %T, which is no protobuf message", v)
	}
	var clientSide Codec
	return clientSide.Marshal(m)
}

func (l *local) decode(pieces mem.BufferSlice, v any) error {
	var clientSide Codec
	return clientSide.Unmarshal(pieces, v)
}

// pipe is a streaming call under way. A message is handed over when the other side takes it, so neither runs ahead.
type pipe struct {
	local     *local
	ctx       context.Context
	requests  chan mem.BufferSlice
	responses chan mem.BufferSlice
	closed    chan struct{} // the client has closed its side
	closeOnce sync.Once
	ended     chan struct{} // the handler has returned
	err       error         // what the client is told then; set before ended is closed
}

// clientEnd is the pipe as the client sees it.
type clientEnd pipe

// Header returns nothing: the handlers send no headers of their own.
func (c *clientEnd) Header() (metadata.MD, error) { return metadata.MD{}, nil }

// Trailer returns nothing.
func (c *clientEnd) Trailer() metadata.MD { return metadata.MD{} }

// Context returns the context of the call.
func (c *clientEnd) Context() context.Context { return c.ctx }

// CloseSend tells the handler that no more requests come.
func (c *clientEnd) CloseSend() error {
	c.closeOnce.Do(func() { close(c.closed) })
	return nil
}

// SendMsg hands a request to the handler. It returns io.EOF when the handler has returned: RecvMsg says why.
func (c *clientEnd) SendMsg(m any) error {
	encoded, err := c.local.encode(m)
	if err != nil {
		return err
	}
	select {
	case c.requests <- encoded:
		return nil
	case <-c.ended:
		return io.EOF
	case <-c.ctx.Done():
		return status.FromContextError(c.ctx.Err()).Err()
	}
}

// RecvMsg waits for the next response. It returns io.EOF after the last.
func (c *clientEnd) RecvMsg(m any) error {
	select {
	case pieces := <-c.responses:
		defer pieces.Free()
		return c.local.decode(pieces, m)
	case <-c.ended:
		return c.err
	}
}

// serverEnd is the pipe as the handler sees it.
type serverEnd pipe

// SetHeader does nothing: nobody would see it.
func (e *serverEnd) SetHeader(metadata.MD) error { return nil }

// SendHeader does nothing.
func (e *serverEnd) SendHeader(metadata.MD) error { return nil }

// SetTrailer does nothing.
func (e *serverEnd) SetTrailer(metadata.MD) {}

// Context returns the context of the call.
func (e *serverEnd) Context() context.Context { return e.ctx }

// SendMsg hands a response to the client, which may be slow.
func (e *serverEnd) SendMsg(m any) error {
	pieces, err := e.local.s.codec.Marshal(m)
	if err != nil {
		return err
	}
	select {
	case e.responses <- pieces:
		return nil
	case <-e.ctx.Done():
		pieces.Free()
		return status.FromContextError(e.ctx.Err()).Err()
	}
}

// RecvMsg waits for the next request. It returns io.EOF when the client has closed its side.
func (e *serverEnd) RecvMsg(m any) error {
	select {
	case encoded := <-e.requests:
		return e.local.s.codec.Unmarshal(encoded, m)
	case <-e.closed:
		return io.EOF
	case <-e.ctx.Done():
		return status.FromContextError(e.ctx.Err()).Err()
	}
}
