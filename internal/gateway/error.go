package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// failure is the body of an answer that is none. Newer clients read message and code, older ones error.
type failure struct {
	Error   string     `json:"error"`
	Code    codes.Code `json:"code"`
	Message string     `json:"message"`
}

// writeError answers a request that has failed.
func writeError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	var routed *runtime.HTTPStatusError
	if errors.As(err, &routed) {
		s := status.Convert(routed.Err)
		writeFailure(w, routed.HTTPStatus, s.Code(), s.Message())
		return
	}
	s := status.Convert(err)
	writeFailure(w, runtime.HTTPStatusFromCode(s.Code()), s.Code(), s.Message())
}

func writeFailure(w http.ResponseWriter, answer int, code codes.Code, message string) {
	b, err := json.Marshal(failure{message, code, message})
	if err != nil {
		http.Error(w, message, answer)
		return
	}
	h := w.Header()
	h.Del("Trailer")
	h.Del("Transfer-Encoding")
	h.Set("Content-Type", "application/json")
	if code == codes.Unauthenticated {
		h.Set("WWW-Authenticate", message)
	}
	w.WriteHeader(answer)
	_, _ = w.Write(b)
}
