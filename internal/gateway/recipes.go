package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"go.etcd.io/etcd/api/v3/mvccpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The Lock and Election services are not in etcd's API module, and neither are their gateway's handlers. Their messages
// are described here, field by field, and handled by the protobuf library like all others.

// recipe is one method of theirs.
type recipe struct {
	path, method      string
	request, response string
	streams           bool // its answer is a stream
}

var recipes = []recipe{
	{"/v3/lock/lock", "/v3lockpb.Lock/Lock", "v3lockpb.LockRequest", "v3lockpb.LockResponse", false},
	{"/v3/lock/unlock", "/v3lockpb.Lock/Unlock", "v3lockpb.UnlockRequest", "v3lockpb.UnlockResponse", false},
	{"/v3/election/campaign", "/v3electionpb.Election/Campaign", "v3electionpb.CampaignRequest", "v3electionpb.CampaignResponse", false},
	{"/v3/election/proclaim", "/v3electionpb.Election/Proclaim", "v3electionpb.ProclaimRequest", "v3electionpb.ProclaimResponse", false},
	{"/v3/election/leader", "/v3electionpb.Election/Leader", "v3electionpb.LeaderRequest", "v3electionpb.LeaderResponse", false},
	{"/v3/election/observe", "/v3electionpb.Election/Observe", "v3electionpb.LeaderRequest", "v3electionpb.LeaderResponse", true},
	{"/v3/election/resign", "/v3electionpb.Election/Resign", "v3electionpb.ResignRequest", "v3electionpb.ResignResponse", false},
}

// field is one field of a message; message is the name of its type if that is one.
type field struct {
	name    string
	number  int32
	kind    descriptorpb.FieldDescriptorProto_Type
	message string
}

const (
	bytesField   = descriptorpb.FieldDescriptorProto_TYPE_BYTES
	int64Field   = descriptorpb.FieldDescriptorProto_TYPE_INT64
	messageField = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
)

// lockMessages and electionMessages are the messages of the two services, as clients know them.
func lockMessages() *descriptorpb.FileDescriptorProto {
	header := field{"header", 1, messageField, name(&pb.ResponseHeader{})}
	return file("v3lock.proto", "v3lockpb",
		message("LockRequest", field{"name", 1, bytesField, ""}, field{"lease", 2, int64Field, ""}),
		message("LockResponse", header, field{"key", 2, bytesField, ""}),
		message("UnlockRequest", field{"key", 1, bytesField, ""}),
		message("UnlockResponse", header),
	)
}

func electionMessages() *descriptorpb.FileDescriptorProto {
	header := field{"header", 1, messageField, name(&pb.ResponseHeader{})}
	leader := field{"leader", 1, messageField, "v3electionpb.LeaderKey"}
	return file("v3election.proto", "v3electionpb",
		message("CampaignRequest", field{"name", 1, bytesField, ""}, field{"lease", 2, int64Field, ""}, field{"value", 3, bytesField, ""}),
		message("CampaignResponse", header, field{"leader", 2, messageField, "v3electionpb.LeaderKey"}),
		message("LeaderKey", field{"name", 1, bytesField, ""}, field{"key", 2, bytesField, ""}, field{"rev", 3, int64Field, ""}, field{"lease", 4, int64Field, ""}),
		message("LeaderRequest", field{"name", 1, bytesField, ""}),
		message("LeaderResponse", header, field{"kv", 2, messageField, name(&mvccpb.KeyValue{})}),
		message("ResignRequest", leader),
		message("ResignResponse", header),
		message("ProclaimRequest", leader, field{"value", 2, bytesField, ""}),
		message("ProclaimResponse", header),
	)
}

func name(m proto.Message) string { return string(m.ProtoReflect().Descriptor().FullName()) }

func file(path, pkg string, messages ...*descriptorpb.DescriptorProto) *descriptorpb.FileDescriptorProto {
	return &descriptorpb.FileDescriptorProto{
		Name:    proto.String(path),
		Package: proto.String(pkg),
		Syntax:  proto.String("proto3"),
		Dependency: []string{
			(&pb.ResponseHeader{}).ProtoReflect().Descriptor().ParentFile().Path(),
			(&mvccpb.KeyValue{}).ProtoReflect().Descriptor().ParentFile().Path(),
		},
		MessageType: messages,
	}
}

func message(name string, fields ...field) *descriptorpb.DescriptorProto {
	m := &descriptorpb.DescriptorProto{Name: proto.String(name)}
	for _, f := range fields {
		d := &descriptorpb.FieldDescriptorProto{
			Name:   proto.String(f.name),
			Number: proto.Int32(f.number),
			Type:   f.kind.Enum(),
			Label:  descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
		if f.message != "" {
			d.TypeName = proto.String("." + f.message)
		}
		m.Field = append(m.Field, d)
	}
	return m
}

// recipeMessages returns the types of the messages by their names.
func recipeMessages() (map[string]protoreflect.MessageDescriptor, error) {
	found := map[string]protoreflect.MessageDescriptor{}
	for _, f := range []*descriptorpb.FileDescriptorProto{lockMessages(), electionMessages()} {
		d, err := protodesc.NewFile(f, protoregistry.GlobalFiles)
		if err != nil {
			return nil, fmt.Errorf("describe the messages of %s: %w", f.GetName(), err)
		}
		for i := range d.Messages().Len() {
			m := d.Messages().Get(i)
			found[string(m.FullName())] = m
		}
	}
	return found, nil
}

// registerRecipes puts the two services' paths into the mux.
func (g *Gateway) registerRecipes() error {
	types, err := recipeMessages()
	if err != nil {
		return err
	}
	for _, r := range recipes {
		if err := g.mux.HandlePath(http.MethodPost, r.path, g.recipe(r, types[r.request], types[r.response])); err != nil {
			return fmt.Errorf("serve %s: %w", r.path, err)
		}
	}
	return nil
}

// recipe serves one method.
func (g *Gateway) recipe(m recipe, request, response protoreflect.MessageDescriptor) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, _ map[string]string) {
		in, out := runtime.MarshalerForRequest(g.mux, r)
		ctx, err := runtime.AnnotateContext(r.Context(), g.mux, r, m.method, runtime.WithHTTPPathPattern(m.path))
		if err != nil {
			runtime.HTTPError(r.Context(), g.mux, out, w, r, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		asked := dynamicpb.NewMessage(request)
		if err := in.NewDecoder(r.Body).Decode(asked); err != nil && !errors.Is(err, io.EOF) {
			runtime.HTTPError(ctx, g.mux, out, w, r, status.Error(codes.InvalidArgument, err.Error()))
			return
		}
		ctx = runtime.NewServerMetadataContext(ctx, runtime.ServerMetadata{})
		if m.streams {
			next, err := g.open(ctx, m.method, asked, response)
			if err != nil {
				runtime.HTTPError(ctx, g.mux, out, w, r, err)
				return
			}
			runtime.ForwardResponseStream(ctx, g.mux, out, w, r, next)
			return
		}
		answer := dynamicpb.NewMessage(response)
		if err := g.config.Conn.Invoke(ctx, m.method, asked, answer); err != nil {
			runtime.HTTPError(ctx, g.mux, out, w, r, err)
			return
		}
		runtime.ForwardResponseMessage(ctx, g.mux, out, w, r, answer)
	}
}

// open calls a method that answers with a stream and returns what reads it.
func (g *Gateway) open(ctx context.Context, method string, request proto.Message, response protoreflect.MessageDescriptor) (func() (proto.Message, error), error) {
	stream, err := g.config.Conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	return func() (proto.Message, error) {
		m := dynamicpb.NewMessage(response)
		return m, stream.RecvMsg(m)
	}, nil
}
