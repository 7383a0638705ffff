package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// duplex is a method whose request is a stream too. The library's handlers leave a client waiting for ever whose JSON
// cannot be read; these end its stream and say why.
type duplex struct {
	path, method string
	request      func() proto.Message
	response     func() proto.Message
}

var duplexes = []duplex{
	{"/v3/watch", pb.Watch_Watch_FullMethodName,
		func() proto.Message { return new(pb.WatchRequest) }, func() proto.Message { return new(pb.WatchResponse) }},
	{"/v3/lease/keepalive", pb.Lease_LeaseKeepAlive_FullMethodName,
		func() proto.Message { return new(pb.LeaseKeepAliveRequest) }, func() proto.Message { return new(pb.LeaseKeepAliveResponse) }},
}

// streaming are the paths whose body is a stream of messages.
func streaming(path string) bool {
	for _, d := range duplexes {
		if d.path == path {
			return true
		}
	}
	return false
}

// registerDuplexes puts their paths into the mux. They are found before what was registered earlier.
func (g *Gateway) registerDuplexes() error {
	var err error
	for _, d := range duplexes {
		err = errors.Join(err, g.mux.HandlePath(http.MethodPost, d.path, g.duplex(d)))
	}
	return err
}

func (g *Gateway) duplex(d duplex) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, _ map[string]string) {
		in, out := runtime.MarshalerForRequest(g.mux, r)
		ctx, err := runtime.AnnotateContext(r.Context(), g.mux, r, d.method, runtime.WithHTTPPathPattern(d.path))
		if err != nil {
			runtime.HTTPError(r.Context(), g.mux, out, w, r, err)
			return
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		ctx = runtime.NewServerMetadataContext(ctx, runtime.ServerMetadata{})
		stream, err := g.config.Conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, d.method)
		if err != nil {
			runtime.HTTPError(ctx, g.mux, out, w, r, err)
			return
		}
		go func() {
			if err := d.send(stream, in.NewDecoder(r.Body)); err != nil {
				cancel(err)
			}
		}()
		runtime.ForwardResponseStream(ctx, g.mux, out, w, r, func() (proto.Message, error) {
			m := d.response()
			err := stream.RecvMsg(m)
			if err != nil && !errors.Is(err, io.EOF) {
				if cause, ok := status.FromError(context.Cause(ctx)); ok && cause.Code() != codes.OK {
					err = cause.Err()
				}
			}
			return m, err
		})
	}
}

// send passes the client's messages on until it has closed its side or the stream has ended. The error says what is
// wrong with one.
func (d duplex) send(stream grpc.ClientStream, messages runtime.Decoder) error {
	for {
		m := d.request()
		err := messages.Decode(m)
		if errors.Is(err, io.EOF) {
			return stream.CloseSend()
		}
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		if err := stream.SendMsg(m); err != nil {
			return nil // it has ended, and the receiver knows why
		}
	}
}
