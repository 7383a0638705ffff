package command

import (
	"math"

	"holdfast/internal/kind"
)

// Kind tells what a command is. The numbers are part of the format of an entry.
type Kind uint8

const (
	KindPut     Kind = 1
	KindDelete  Kind = 2
	KindTxn     Kind = 3
	KindCompact Kind = 4

	KindLeaseGrant  Kind = 5
	KindLeaseRevoke Kind = 6
	KindLeaseRenew  Kind = 7
	KindLeaseExpire Kind = 8

	KindAuth         Kind = 9  // an AuthChange
	KindAuthenticate Kind = 10 // a TokenGrant
	KindTokenTouch   Kind = 11 // a TokenTouch

	KindMemberPublish Kind = 12 // a MemberPublish
	KindMemberUpdate  Kind = 13 // a MemberUpdate
	KindAlarm         Kind = 14 // an Alarm
	KindVersionRaise  Kind = 15 // a VersionRaise
	KindMemberChange  Kind = 16 // a MemberChange; alone, in the context of a change of Raft's configuration

	lastKind = KindMemberChange
)

func (k Kind) String() string {
	switch k {
	case KindPut:
		return "put"
	case KindDelete:
		return "delete"
	case KindTxn:
		return "txn"
	case KindCompact:
		return "compact"
	case KindLeaseGrant:
		return "lease grant"
	case KindLeaseRevoke:
		return "lease revoke"
	case KindLeaseRenew:
		return "lease renew"
	case KindLeaseExpire:
		return "lease expire"
	case KindAuth:
		return "auth"
	case KindAuthenticate:
		return "authenticate"
	case KindTokenTouch:
		return "token touch"
	case KindMemberPublish:
		return "member publish"
	case KindMemberUpdate:
		return "member update"
	case KindAlarm:
		return "alarm"
	case KindVersionRaise:
		return "version raise"
	case KindMemberChange:
		return "member change"
	}
	return "unknown"
}

// Origin says who waits for a command's reply: the member that proposed it, which of the member's lives, and
// the number it gave the command in that life.
type Origin struct {
	Member   kind.MemberID
	Boot     uint64
	Sequence uint64
}

// ByMember is the AuthRevision of a command that no client has asked for: nobody's rights are looked at.
const ByMember uint64 = math.MaxUint64

// Command is one request on its way through the log.
type Command struct {
	Kind   Kind
	Origin Origin
	User   string // who asked, "" without authentication
	// AuthRevision is the state of the users at which the command was allowed: 0 while authentication is not
	// enabled, ByMember for what a member does of itself.
	AuthRevision uint64
	Payload      []byte // the request in its wire encoding
}

// Entry is the content of one Raft entry: all the commands that waited when it was made.
type Entry struct {
	Elapsed  uint64 // cluster time in nanoseconds; see ARCHITECTURE.md, time
	Wall     int64  // wall clock of the leader, Unix nanoseconds; for people only, no rule reads it
	Commands []Command
}
