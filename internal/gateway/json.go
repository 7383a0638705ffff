package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// form reads and writes JSON as etcd does: the names of the protocol, 64-bit numbers as strings, bytes in base64,
// fields without a value left out, unknown fields ignored.
type form struct {
	*runtime.JSONPb
	most int64 // bytes of a message that is read
}

func newForm(most int64) *form {
	return &form{&runtime.JSONPb{
		MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
		UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
	}, most}
}

// Marshal writes v. The last message of a stream that has failed gets the fields of older gateways beside those of
// today's: clients of each kind read their own.
func (f *form) Marshal(v any) ([]byte, error) {
	if chunk, ok := v.(map[string]proto.Message); ok {
		if s, ok := chunk["error"].(*statuspb.Status); ok {
			return json.Marshal(map[string]streamFailure{"error": newStreamFailure(s)})
		}
	}
	return f.JSONPb.Marshal(v)
}

// NewDecoder returns a decoder of the messages in r, each of which is bounded.
func (f *form) NewDecoder(r io.Reader) runtime.Decoder {
	b := &bounded{r: r}
	d := f.JSONPb.NewDecoder(b)
	return runtime.DecoderFunc(func(v any) error {
		b.left = f.most
		return d.Decode(v)
	})
}

// errTooLarge has the text with which gRPC clients are refused.
var errTooLarge = errors.New("etcdserver: request is too large")

// bounded reads as much as is left and then fails.
type bounded struct {
	r    io.Reader
	left int64
}

// Read reads from what is bounded.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// streamFailure is why a stream has ended.
type streamFailure struct {
	GRPCCode   codes.Code `json:"grpc_code"`
	Code       codes.Code `json:"code"`
	HTTPCode   int        `json:"http_code"`
	HTTPStatus string     `json:"http_status"`
	Message    string     `json:"message"`
}

func newStreamFailure(s *statuspb.Status) streamFailure {
	code := codes.Code(s.Code)
	answer := runtime.HTTPStatusFromCode(code)
	return streamFailure{code, code, answer, http.StatusText(answer), s.Message}
}
