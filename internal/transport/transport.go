package transport

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"holdfast/internal/kind"
)

// Transport talks to the other members. All methods may be called from any goroutine.
type Transport struct {
	config Config
}

// New returns a Transport that does nothing before SetPeers and Serve.
func New(c Config) *Transport { return &Transport{config: c} }

// SetHandler sets the handler. It is called once at most, before SetPeers, Serve and Send, if Config has none.
func (t *Transport) SetHandler(h Handler) { t.config.Handler = h }

// SetPeers says whom to talk to, and whom to turn away because they were removed. Both lists are complete: a peer that
// is no longer named is given a little time to take what waits for it, and is then forgotten. This member itself may be
// among the peers. Calling it again with the same lists changes nothing.
func (t *Transport) SetPeers(peers []Peer, removed []kind.MemberID) {}

// Send sends messages, each to the member that it names. It does not block and cannot fail (P1); messages to this
// member itself or to a member that is no peer are dropped, forwards among them reported as unsent.
func (t *Transport) Send(ms []Message) {}

// SendSnapshot sends a snapshot to the member that its message is addressed to, and closes it. It returns at once;
// Handler.SnapshotSent is called when the transfer is over, with ErrBusy if another one to the member is under way.
func (t *Transport) SendSnapshot(src Source) {}

// SetSnapshotRate changes Config.SnapshotBytesPerSecond; it counts at once.
func (t *Transport) SetSnapshotRate(bytesPerSecond int64) {}

// Call asks a peer and waits for the answer until ctx ends. A method's name has at most 64 bytes. The error is a
// *RemoteError if the peer's Handler returned one, ErrUnknownPeer, ErrUnreachable, ErrBusy or ErrTooLarge if nothing was
// sent, ErrLost if the request may have been received, or that of ctx.
func (t *Transport) Call(ctx context.Context, to kind.MemberID, method string, request []byte) ([]byte, error) {
	return nil, ErrUnknownPeer
}

// Active reports whether a peer is connected both ways and answers, and since when.
func (t *Transport) Active(id kind.MemberID) (since time.Time, ok bool) { return time.Time{}, false }

// Hello returns what a peer has told of its versions when it was last connected, in either direction.
func (t *Transport) Hello(id kind.MemberID) (h Hello, ok bool) { return Hello{}, false }

// ClockOffset returns how far the wall clock of a peer is ahead of this member's, and the round trip of the probe that
// measured it: the offset is right to within half of it. ok is false while nothing was measured.
func (t *Transport) ClockOffset(id kind.MemberID) (offset, roundTrip time.Duration, ok bool) {
	return 0, 0, false
}

// Serve takes the connections of peers at l until Close, and closes it. They speak TLS as secure says, and do without
// only if plain is true; secure may be nil. The error is that of l, and nil after Close.
func (t *Transport) Serve(l net.Listener, secure *tls.Config, plain bool) error { return nil }

// Close breaks all connections, stops everything (P7), and closes the listeners that are served.
func (t *Transport) Close() {}
