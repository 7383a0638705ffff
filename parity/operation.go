package parity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// An Operation is one step of a run: a request for one method, or a restart of both systems.
type Operation struct {
	// Method is the full name of the method, as in etcdserverpb.KV.Put; empty for a restart.
	Method  protoreflect.FullName
	Request proto.Message
	// Metadata travels with the request.
	Metadata map[string]string
	Restart  Restart
}

// IsRestart reports whether the operation restarts both systems.
func (o Operation) IsRestart() bool { return o.Method == "" }

// Name is what the table of outcomes calls the operation.
func (o Operation) Name() string {
	if o.IsRestart() {
		return o.Restart.String()
	}
	return strings.TrimPrefix(string(o.Method), "etcdserverpb.")
}

// maxPrintedBytes bounds how much of one message a report shows.
const maxPrintedBytes = 4 << 10

func describe(m proto.Message) string {
	text := prototext.MarshalOptions{Multiline: false}.Format(m)
	if len(text) > maxPrintedBytes {
		text = fmt.Sprintf("%s... (%d characters)", text[:maxPrintedBytes], len(text))
	}
	return "{" + text + "}"
}

func (o Operation) String() string {
	if o.IsRestart() {
		return o.Name()
	}
	return o.Name() + " " + describe(o.Request)
}

// An Answer is everything a server said to a request: its messages in order (one for a unary method that succeeded), code and text.
type Answer struct {
	Messages []proto.Message
	Status   *status.Status
}

// Outcome is what the table of outcomes counts: ok, or the error's code and text.
func (a Answer) Outcome() string {
	if a.Status.Code() == 0 {
		return "ok"
	}
	return a.Status.Code().String() + ": " + a.Status.Message()
}

func (a Answer) String() string {
	var b strings.Builder
	b.WriteString(a.Outcome())
	for _, m := range a.Messages {
		b.WriteString("\n    " + describe(m))
	}
	return b.String()
}

// requestTimeout is far longer than any request takes, so that a server that hangs is a difference and not a hung test.
const requestTimeout = 60 * time.Second

// Do sends the operation's request and collects the whole answer. The operation is not a restart.
func Do(conn grpc.ClientConnInterface, o Operation) Answer {
	method, err := findMethod(o.Method)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	for key, value := range o.Metadata {
		ctx = metadata.AppendToOutgoingContext(ctx, key, value)
	}
	path := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	output, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	if err != nil {
		panic(err)
	}
	if !method.IsStreamingServer() {
		m := output.New().Interface()
		if err := conn.Invoke(ctx, path, o.Request, m); err != nil {
			return Answer{Status: status.Convert(err)}
		}
		return Answer{Messages: []proto.Message{m}, Status: status.New(0, "")}
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path)
	if err != nil {
		return Answer{Status: status.Convert(err)}
	}
	if err := stream.SendMsg(o.Request); err != nil && !errors.Is(err, io.EOF) {
		return Answer{Status: status.Convert(err)}
	}
	stream.CloseSend()
	var answer Answer
	for {
		m := output.New().Interface()
		switch err := stream.RecvMsg(m); {
		case errors.Is(err, io.EOF):
			answer.Status = status.New(0, "")
			return answer
		case err != nil:
			answer.Status = status.Convert(err)
			return answer
		}
		answer.Messages = append(answer.Messages, m)
	}
}

func findMethod(name protoreflect.FullName) (protoreflect.MethodDescriptor, error) {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return nil, fmt.Errorf("find method %s: %w", name, err)
	}
	m, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is not a method", name)
	}
	return m, nil
}

func storageVersion(ctx context.Context, conn *grpc.ClientConn) (string, error) {
	answer, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	return answer.GetStorageVersion(), err
}
