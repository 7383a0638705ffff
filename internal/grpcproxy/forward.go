package grpcproxy

import (
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// frame is a message that is passed on without being read.
type frame struct{ bytes []byte }

// codec leaves frames as they are and has all else encoded as always.
type codec struct{}

func (codec) Name() string { return proto.Name }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return mem.BufferSlice{mem.SliceBuffer(f.bytes)}, nil
	}
	return encoding.GetCodecV2(proto.Name).Marshal(v)
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*frame); ok {
		f.bytes = data.Materialize()
		return nil
	}
	return encoding.GetCodecV2(proto.Name).Unmarshal(data, v)
}

// forward passes a call on, whatever it is (P1).
func (p *Proxy) forward(_ any, in grpc.ServerStream) error {
	method, ok := grpc.MethodFromServerStream(in)
	if !ok {
		return status.Error(codes.Internal, "the call has no method")
	}
	return p.pass(method, in)
}

func (p *Proxy) pass(method string, in grpc.ServerStream) error {
	out, err := p.client.ActiveConnection().NewStream(outgoing(in.Context()),
		&grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodecV2(codec{}))
	if err != nil {
		return asStatus(err)
	}
	go func() {
		// It ends with the call, at the latest when the handler has returned.
		for {
			f := &frame{}
			if err := in.RecvMsg(f); err != nil {
				if errors.Is(err, io.EOF) {
					_ = out.CloseSend()
				}
				return
			}
			if err := out.SendMsg(f); err != nil {
				return // the reason comes from RecvMsg below
			}
		}
	}()
	if header, err := out.Header(); err == nil && len(header) > 0 {
		_ = in.SetHeader(header)
	}
	for {
		f := &frame{}
		if err := out.RecvMsg(f); err != nil {
			in.SetTrailer(out.Trailer())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return asStatus(err)
		}
		if err := in.SendMsg(f); err != nil {
			return err
		}
	}
}
