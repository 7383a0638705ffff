package parity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
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
	// More are sent after Request on the same stream, by a method that takes several requests.
	More []proto.Message
	// Metadata travels with the request.
	Metadata map[string]string
	// As is the user whose token travels with the request: on each side the token that the last Authenticate as this user gave there.
	// A user who never had one sends a token that no server made. Empty sends none.
	As string
	// Stream is the number of the long-lived stream that a request of Watch goes on; it is opened when needed.
	Stream  int
	Restart Restart
	// Ended makes the operation a pause until these leases have ended on both sides.
	Ended []int64
	// Lasting is set for a grant whose lease shall come to its end by itself.
	Lasting bool
}

// IsRestart reports whether the operation restarts both systems.
func (o Operation) IsRestart() bool { return o.Method == "" && len(o.Ended) == 0 }

// Name is what the table of outcomes calls the operation.
func (o Operation) Name() string {
	if o.IsRestart() {
		return o.Restart.String()
	}
	if o.Method == "" {
		return "end of leases"
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
	if o.Method == "" {
		return strings.TrimSuffix(fmt.Sprintf("%s %v", o.Name(), o.Ended), " []")
	}
	text := o.Name() + " " + describe(o.Request)
	for _, m := range o.More {
		text += " " + describe(m)
	}
	if o.Stream > 0 {
		text += fmt.Sprintf(" on stream %d", o.Stream)
	}
	if o.As != "" {
		text += " as " + o.As
	}
	return text
}

// An Answer is everything a server said to a request: its messages in order (one for a unary method that succeeded), code and text.
type Answer struct {
	Messages []proto.Message
	Status   *status.Status
}

// Outcome is what the table of outcomes counts: ok, or the error's code and text, or why a watch is cancelled.
func (a Answer) Outcome() string {
	if a.Status.Code() == 0 {
		for _, m := range a.Messages {
			if r, ok := m.(*pb.WatchResponse); ok && r.Canceled && (r.CancelReason != "" || r.CompactRevision != 0) {
				return codes.Canceled.String() + ": " + cmp.Or(r.CancelReason, compactedWatch)
			}
		}
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

// Do sends the operation's requests and collects the whole answer. The operation has a method, which is not Watch: its streams do not end.
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
	if !method.IsStreamingServer() && !method.IsStreamingClient() {
		m := output.New().Interface()
		if err := conn.Invoke(ctx, path, o.Request, m); err != nil {
			return Answer{Status: status.Convert(err)}
		}
		return Answer{Messages: []proto.Message{m}, Status: status.New(0, "")}
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: method.IsStreamingClient()}, path)
	if err != nil {
		return Answer{Status: status.Convert(err)}
	}
	for _, m := range append([]proto.Message{o.Request}, o.More...) {
		if err := stream.SendMsg(m); err != nil && !errors.Is(err, io.EOF) {
			return Answer{Status: status.Convert(err)}
		}
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
