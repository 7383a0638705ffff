package command

import "holdfast/internal/kind"

// Kind tells what a command is. The numbers are part of the format of an entry.
type Kind uint8

const (
	KindPut     Kind = 1
	KindDelete  Kind = 2
	KindTxn     Kind = 3
	KindCompact Kind = 4

	// Numbers kept for kinds to come: 8 to 15 leases, 16 to 31 users and roles, 32 to 39 members, 40 to 47
	// alarms, 48 the machine's own version.
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

// Command is one request on its way through the log.
type Command struct {
	Kind         Kind
	Origin       Origin
	User         string // who asked, "" without authentication
	AuthRevision uint64 // the state of the user store at which the command was allowed
	Payload      []byte // the request in its wire encoding
}

// Entry is the content of one Raft entry: all the commands that waited when it was made.
type Entry struct {
	Elapsed  uint64 // cluster time in nanoseconds; see ARCHITECTURE.md, time
	Wall     int64  // wall clock of the leader, Unix nanoseconds; for people only, no rule reads it
	Commands []Command
}
