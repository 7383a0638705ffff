package transport

import (
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
)

// Kind says what a Message carries.
type Kind uint8

// KindRaft is a message of raft's, in Message.Raft. The others carry a payload that only their sender and receiver
// understand: commands for the leader, what a leader did not take of them, and digests of the state.
const (
	KindRaft    Kind = 1
	KindForward Kind = 2
	KindRefused Kind = 3
	KindDigest  Kind = 4
)

func (k Kind) String() string {
	switch k {
	case KindRaft:
		return "raft"
	case KindForward:
		return "forward"
	case KindRefused:
		return "refused"
	case KindDigest:
		return "digest"
	}
	return "unknown"
}

// Message goes from one member to another. What it refers to must not be changed once it was given to Send.
type Message struct {
	From, To kind.MemberID
	Kind     Kind
	Raft     *raftpb.Message // of a KindRaft, and of no other; not MsgSnap, which goes by SendSnapshot
	Payload  []byte          // of the other kinds
}

// Class is the part of a peer's connections that a message takes (P2).
type Class uint8

// The classes. Only ClassUrgent and ClassData carry messages.
const (
	ClassUrgent   Class = 1
	ClassData     Class = 2
	ClassCall     Class = 3
	ClassSnapshot Class = 4
)

func (c Class) String() string {
	switch c {
	case ClassUrgent:
		return "urgent"
	case ClassData:
		return "data"
	case ClassCall:
		return "call"
	case ClassSnapshot:
		return "snapshot"
	}
	return "unknown"
}

// Class returns the class of m. All appends are data, also those without entries: an append that overtook another would
// be refused by its receiver, and its sender would begin to probe. What a leader refuses is urgent, so that the member
// that forwarded it does not wait.
func (m Message) Class() Class {
	switch m.Kind {
	case KindRaft:
		switch m.Raft.GetType() {
		case raftpb.MsgApp, raftpb.MsgProp:
			return ClassData
		}
		return ClassUrgent
	case KindRefused:
		return ClassUrgent
	}
	return ClassData
}

// size is about what m takes in memory and on the wire, in bytes.
func (m *Message) size() int {
	n := messageOverhead + len(m.Payload)
	if m.Raft != nil {
		n += len(m.Raft.GetContext())
		for _, e := range m.Raft.GetEntries() {
			n += entryOverhead + len(e.GetData())
		}
	}
	return n
}

// What a message and an entry take beside their bytes.
const (
	messageOverhead = 128
	entryOverhead   = 64
)

// Peer is another member, with the URLs at which it can be reached: http, https, unix or unixs. They are tried in turn.
type Peer struct {
	ID   kind.MemberID
	URLs []string
}

// Hello is what members tell each other of their versions when they connect.
type Hello struct {
	// MachineMin and MachineMax are the versions of the replicated machine that the member can act like.
	MachineMin, MachineMax uint32
	// Version is the member's own version, for people; at most 64 bytes are sent.
	Version string
}
