package parity

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A planter stands between one system and its client and alters the answers to one method.
type planter struct {
	mu struct {
		sync.Mutex
		method string
		answer func(proto.Message) error
		err    func(*status.Status) error
		seen   map[string]proto.Message // the last answer of each method, as it came
	}
}

func (p *planter) arm(method protoreflect.FullName, alter func(proto.Message) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.method, p.mu.answer, p.mu.err = path(method), alter, nil
}

func (p *planter) armError(method protoreflect.FullName, alter func(*status.Status) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.method, p.mu.answer, p.mu.err = path(method), nil, alter
}

func (p *planter) disarm() { p.arm("", nil) }

func (p *planter) last(method protoreflect.FullName) proto.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.seen[path(method)]
}

func (p *planter) alter(method string, reply proto.Message, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		if p.mu.seen == nil {
			p.mu.seen = map[string]proto.Message{}
		}
		p.mu.seen[method] = proto.Clone(reply)
	}
	switch {
	case method != p.mu.method:
	case err == nil && p.mu.answer != nil:
		return p.mu.answer(reply)
	case err != nil && p.mu.err != nil:
		return p.mu.err(status.Convert(err))
	}
	return err
}

func (p *planter) unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	err := invoke(ctx, method, request, reply, conn, options...)
	return p.alter(method, reply.(proto.Message), err)
}

func (p *planter) stream(ctx context.Context, d *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, d, conn, method, options...)
	return &plantedStream{ClientStream: s, planter: p, method: method}, err
}

type plantedStream struct {
	grpc.ClientStream
	planter *planter
	method  string
	ended   bool // the server has ended the stream
	repeat  proto.Message
}

// errLost and errTwice are what a planter returns for a message that shall not arrive, or arrive a second time.
var (
	errLost  = errors.New("lost")
	errTwice = errors.New("twice")
)

func (s *plantedStream) RecvMsg(m any) error {
	if s.repeat != nil {
		proto.Merge(m.(proto.Message), s.repeat)
		s.repeat = nil
		return nil
	}
	for {
		err := s.ClientStream.RecvMsg(m)
		if s.ended || errors.Is(err, io.EOF) {
			return io.EOF
		}
		s.ended = err != nil
		switch err = s.planter.alter(s.method, m.(proto.Message), err); {
		case errors.Is(err, errLost):
			proto.Reset(m.(proto.Message))
		case errors.Is(err, errTwice):
			s.repeat = proto.Clone(m.(proto.Message))
			return nil
		default:
			return err
		}
	}
}

// path is how gRPC writes a method.
func path(method protoreflect.FullName) string {
	return "/" + string(method.Parent()) + "/" + string(method.Name())
}
