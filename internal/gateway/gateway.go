// Package gateway is the API as JSON over HTTP: for curl, for Patroni and APISIX, for browsers.
//
// Every path of etcd's gateway is here: /v3/kv/range and its kin, under the older prefixes /v3beta and /v3alpha too.
// A request is decoded into the message that gRPC would carry and given to the handlers that gRPC calls, in the same
// process; nothing connects to a socket of its own.
//
// Invariants:
//
//	G1  Who is calling is what the HTTP request shows: its token, or the certificate of its connection. The gateway has no
//	    identity of its own, so a request is allowed what it would be allowed over gRPC, and nothing more.
//	G2  A request without an Origin header is never refused for its content type: it does not come from a page in a
//	    browser. One with an Origin is refused unless it is the member's own or the settings name it, before it can change
//	    anything.
//	G3  Bodies are bounded as gRPC messages are, with room for their encoding in base64. A message of a stream is
//	    bounded too, the stream is not.
//
// Use:
//
//	g, err := gateway.New(gateway.Config{Conn: server.Local(), MaxRequestBytes: 1536 << 10})
//	mux.Handle("/v3/", gateway.NewOrigins(origins).Wrap(g))
package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Prefixes are the path prefixes that a Gateway serves. All but the first are names of older versions of the API.
func Prefixes() []string { return []string{prefix, "/v3beta/", "/v3alpha/"} }

const prefix = "/v3/"

// Config is what a Gateway is made of.
type Config struct {
	// Conn reaches the handlers. Calls carry the peer of the HTTP request in their context.
	Conn grpc.ClientConnInterface
	// MaxRequestBytes is the limit of a command, as the server has it.
	MaxRequestBytes int
	// Address returns the address of the client of a request, for the peer of its calls.
	Address func(*http.Request) net.Addr
}

// Gateway serves the API as JSON. It is an http.Handler for the paths under Prefixes.
type Gateway struct {
	config Config
	mux    *runtime.ServeMux
}

// New makes a Gateway.
func New(c Config) (*Gateway, error) {
	g := &Gateway{config: c}
	g.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, newForm(g.maxBody())),
		runtime.WithErrorHandler(writeError),
		runtime.WithDisablePathLengthFallback(), // a form that curl posts is JSON all the same
	)
	ctx := context.Background() // the connection is not the gateway's to close
	err := errors.Join(
		gw.RegisterKVHandlerClient(ctx, g.mux, pb.NewKVClient(c.Conn)),
		gw.RegisterWatchHandlerClient(ctx, g.mux, pb.NewWatchClient(c.Conn)),
		gw.RegisterLeaseHandlerClient(ctx, g.mux, pb.NewLeaseClient(c.Conn)),
		gw.RegisterClusterHandlerClient(ctx, g.mux, pb.NewClusterClient(c.Conn)),
		gw.RegisterMaintenanceHandlerClient(ctx, g.mux, pb.NewMaintenanceClient(c.Conn)),
		gw.RegisterAuthHandlerClient(ctx, g.mux, pb.NewAuthClient(c.Conn)),
		g.registerRecipes(),
		g.registerDuplexes(),
	)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// ServeHTTP serves a request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = current(g.identified(r))
	if isUpgrade(r) {
		g.serveWebSocket(w, r)
		return
	}
	if streaming(r.URL.Path) {
		// The client may go on asking while it is answered. A connection that cannot do that just does not.
		_ = http.NewResponseController(w).EnableFullDuplex()
	} else {
		r.Body = http.MaxBytesReader(w, r.Body, g.maxBody()+trailingBytes)
	}
	g.mux.ServeHTTP(w, r)
}

// grpcOverheadBytes is what a gRPC message may have over a command.
const grpcOverheadBytes = 512 << 10

// maxBody is how long the JSON of a message may be: base64 makes four bytes of three.
func (g *Gateway) maxBody() int64 { return int64(g.config.MaxRequestBytes+grpcOverheadBytes) / 3 * 4 }

// trailingBytes is what may follow the message in a body, and is not looked at.
const trailingBytes = 64 << 10

// identified puts the client into the context, as gRPC does it for its calls.
func (g *Gateway) identified(r *http.Request) *http.Request {
	p := &peer.Peer{Addr: g.config.Address(r)}
	if r.TLS != nil {
		p.AuthInfo = credentials.TLSInfo{
			State:          *r.TLS,
			CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		}
	}
	return r.WithContext(peer.NewContext(r.Context(), p))
}

// current returns the request under today's prefix.
func current(r *http.Request) *http.Request {
	for _, old := range Prefixes()[1:] {
		if rest, ok := strings.CutPrefix(r.URL.Path, old); ok {
			r = r.Clone(r.Context())
			r.URL.Path = prefix + rest
			r.URL.RawPath = ""
			break
		}
	}
	return r
}
