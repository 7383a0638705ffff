package node

import (
	"context"
	"time"

	"holdfast/internal/kind"
	"holdfast/internal/transport"
)

// Transport is what a node needs of the connections to the other members; *transport.Transport says what each method
// means. The Node is the transport's Handler.
type Transport interface {
	SetPeers(peers []transport.Peer, removed []kind.MemberID)
	Send(ms []transport.Message)
	SendSnapshot(src transport.Source)
	Call(ctx context.Context, to kind.MemberID, method string, request []byte) ([]byte, error)
	Active(id kind.MemberID) (since time.Time, ok bool)
	Hello(id kind.MemberID) (h transport.Hello, ok bool)
}

// alone is the transport of a cluster of one that never had another member to reach.
type alone struct{}

func (alone) SetPeers([]transport.Peer, []kind.MemberID) {}
func (alone) Send([]transport.Message)                   {}
func (alone) SendSnapshot(src transport.Source)          { _ = src.Close() }
func (alone) Call(context.Context, kind.MemberID, string, []byte) ([]byte, error) {
	return nil, transport.ErrUnknownPeer
}
func (alone) Active(kind.MemberID) (since time.Time, ok bool)  { return time.Time{}, false }
func (alone) Hello(kind.MemberID) (h transport.Hello, ok bool) { return transport.Hello{}, false }
