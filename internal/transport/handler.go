package transport

import (
	"context"
	"errors"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
)

// Handler is what a member does with what reaches it. Its methods are called on the transport's goroutines, several at
// a time; none may block, except Snapshot, the methods of its Sink, and Call. They may call Send.
type Handler interface {
	// Receive gets the messages of one frame: in order for a peer and a class. It may keep them: nothing that they
	// refer to is used again.
	Receive(ms []Message)
	// Unreachable says that raft messages to a peer were dropped, or that a connection to it was lost. It is called at
	// most about ten times a second for a peer.
	Unreachable(id kind.MemberID)
	// Unsent gets KindForward messages that were certainly never sent (P4). For a peer that cannot be reached it is
	// called when an attempt to reach it has failed, not at once.
	Unsent(ms []Message)
	// SnapshotSent says how a SendSnapshot has ended: nil means that the peer has the snapshot, complete and durable.
	SnapshotSent(id kind.MemberID, err error)
	// Snapshot is called when a peer offers a snapshot: m is a MsgSnap without data. snapshotID is the Source's, the
	// same for every attempt to send it. An error refuses the snapshot, and its text goes to the sender.
	Snapshot(from kind.MemberID, m *raftpb.Message, snapshotID uint64) (Sink, error)
	// Call answers a peer's Call. ctx ends with the caller's deadline, when the caller gives up, or with the connection.
	// The text of an error goes to the caller as a RemoteError.
	Call(ctx context.Context, from kind.MemberID, method string, request []byte) ([]byte, error)
	// Refused says that a peer does not talk to this member: ErrRemoved, ErrWrongCluster, ErrWrongMember or ErrVersion,
	// wrapped in a sentence. It is called again with each attempt, a few seconds apart.
	Refused(id kind.MemberID, why error)
}

// Source is a snapshot to be sent. Its methods are called by one goroutine at a time and may block.
type Source interface {
	// ID tells the snapshot from every other one that this member sends, also after a restart.
	ID() uint64
	// Message is the MsgSnap that announces it: without data, addressed to the member that gets it.
	Message() *raftpb.Message
	// Chunk returns a part of it of at most MaxChunkBytes, numbered from 0: the same bytes each time, until Close. The
	// bytes are not used after the next call. It returns io.EOF after the last part.
	Chunk(n uint64) ([]byte, error)
	// Size is about how many bytes it has, for people; 0 if that is not known.
	Size() int64
	// Close is called once, before Handler.SnapshotSent.
	Close() error
}

// Sink takes a snapshot that is received. Its methods are called by one goroutine at a time and may block. Once Finish
// or Abort has been called, none is called any more.
//
// A transfer whose connection breaks is resumed with the same Sink if the sender comes back in time.
type Sink interface {
	// Next is the chunk it wants next: the one after the last that Write has taken. A Sink may begin with one that is
	// not 0, if it still has the chunks before.
	Next() uint64
	// Write takes chunk n, which is Next. The chunk's checksum has been verified. The bytes are not used again.
	Write(n uint64, chunk []byte) error
	// Finish is called after the last chunk, when the checksum of the whole has been verified. When it returns nil, the
	// snapshot is complete and durable; the Sink then tells raft by itself.
	Finish() error
	// Abort is called when the snapshot will not be finished: why says so in a sentence.
	Abort(why error)
}

// What a peer may have against this member, and this member against a peer. Errors that wrap them say who and why.
var (
	// ErrRemoved means that this member was removed from the cluster.
	ErrRemoved = errors.New("this member was removed from the cluster")
	// ErrWrongCluster means that the two belong to different clusters.
	ErrWrongCluster = errors.New("the other member belongs to another cluster")
	// ErrWrongMember means that another member than the expected one answers at the URL.
	ErrWrongMember = errors.New("another member answers there")
	// ErrVersion means that the two speak no common version of the protocol.
	ErrVersion = errors.New("the other member speaks no version of the peer protocol that this one speaks")
)

// How a Call or a SendSnapshot may fail.
var (
	// ErrUnknownPeer means that SetPeers has not named the member.
	ErrUnknownPeer = errors.New("the member is not a peer of this one")
	// ErrUnreachable means that the peer cannot be reached: what was to be sent was certainly not.
	ErrUnreachable = errors.New("the member cannot be reached")
	// ErrLost means that the connection was lost after something was sent: it may have been received or not.
	ErrLost = errors.New("the connection was lost before an answer came")
	// ErrBusy means that too much is under way already: try again later. Nothing was sent.
	ErrBusy = errors.New("too much is under way to the member")
	// ErrTooLarge means that a request or an answer is larger than the limit.
	ErrTooLarge = errors.New("larger than the limit for what members send each other")
	// ErrCorrupt means that a checksum did not match what it stands for.
	ErrCorrupt = errors.New("the checksum does not match")
	// ErrClosed means that the Transport was closed.
	ErrClosed = errors.New("the peer transport is closed")
)

// RemoteError is an error that the Handler of another member has returned.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return e.Text }
