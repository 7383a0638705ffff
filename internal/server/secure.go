package server

import (
	"context"
	"errors"
	"net"
	"net/http"

	"google.golang.org/grpc/credentials"
)

// settled are the credentials of connections whose handshake, if there was one, is over when gRPC gets them. A
// handler finds the client's verified certificate in peer.AuthInfo as credentials.TLSInfo; without TLS AuthInfo is
// nil.
type settled struct{}

// ServerHandshake returns what is known of conn.
func (settled) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, ok := conn.(*connection)
	if !ok {
		return conn, nil, nil
	}
	state, ok := c.secure()
	if !ok {
		return conn, nil, nil
	}
	return conn, credentials.TLSInfo{
		State:          state,
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// ClientHandshake fails: these are a server's.
func (settled) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for a server")
}

// Info says nothing: whether there is TLS differs from one connection to the next.
func (settled) Info() credentials.ProtocolInfo { return credentials.ProtocolInfo{} }

// Clone returns the credentials, which have no state.
func (settled) Clone() credentials.TransportCredentials { return settled{} }

// OverrideServerName does nothing.
func (settled) OverrideServerName(string) error { return nil }

// connectionKey is the key of a *connection in the context of an HTTP/1 connection.
type connectionKey struct{}

// withConnection lets HTTP handlers find their connection.
func withConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// withTLS fills in Request.TLS, which net/http does for the connections that it made the handshake of itself.
func withTLS(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connectionKey{}).(*connection); ok && r.TLS == nil {
			if state, ok := c.secure(); ok {
				r.TLS = &state
			}
		}
		h.ServeHTTP(w, r)
	})
}

// ClientAddress returns the address of the client of an HTTP request, by which what it asks for through Local counts as
// its connection's.
func ClientAddress(r *http.Request) net.Addr {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		return c.RemoteAddr()
	}
	return textAddress(r.RemoteAddr)
}

// textAddress is an address as net/http writes it.
type textAddress string

// Network returns the name of the network.
func (textAddress) Network() string { return "tcp" }

// String returns the address.
func (a textAddress) String() string { return string(a) }
