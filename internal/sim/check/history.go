// Package check holds what a run of the simulator has observed, and the checkers that judge it. A checker is an object
// of its own: it knows neither the world nor the seed, only a History, so that a planted bug is shown to it by a History
// written by hand.
//
// What is observed falls into four parts: what clients asked and were told (Operation), what watchers were told
// (Watcher), where each member's machine stood after each batch (Applied), and what the world did to the members (Event).
// All of it is ordered by Moment, which the world counts: two things never happen at the same moment.
package check

import (
	"fmt"
	"time"

	"holdfast/internal/kind"
)

// Moment is when something happened, as the world knows it and no member does.
type Moment struct {
	Step uint64        // counts what happens in the world; it grows from one observation to the next and is never the same twice
	At   time.Duration // the world's time since the run began; it grows weakly with Step
}

// Before reports whether m comes before n.
func (m Moment) Before(n Moment) bool { return m.Step < n.Step }

func (m Moment) String() string { return fmt.Sprintf("#%d %v", m.Step, m.At) }

// History is all that was observed in one run.
type History struct {
	Seed       uint64
	Operations []Operation // by the moment of the call
	Watchers   []Watcher   // by the moment of the request
	Applied    []Applied   // by moment
	Leases     []LeaseEnd  // by moment
	Events     []Event     // by moment
	Finals     []Final     // one for each member that lives at the end, after all faults were healed and progress was seen
	Cluster    Cluster
}

// Cluster is what checkers have to know of the settings.
type Cluster struct {
	ElectionTimeout   time.Duration // the longest is twice that
	HeartbeatInterval time.Duration
	RequestTimeout    time.Duration
}

// Outcome is what a client knows about the fate of what it asked.
type Outcome uint8

const (
	Unknown Outcome = iota // no answer, or one that leaves open whether it was done or ever will be
	Done                   // answered; the result is set
	Refused                // certainly not done and never will be
)

func (o Outcome) String() string { return [...]string{"unknown", "done", "refused"}[o] }

// Operation is one request of a client. Exactly one of the requests is set; the result of the same kind is set if and only
// if the outcome is Done.
type Operation struct {
	ID      int // its place in the history
	Client  int // one client has one operation under way at a time; after Unknown it goes on under a new number
	Member  kind.MemberID
	Call    Moment
	Return  Moment // of the answer; for Unknown the moment at which the client gave up, which says nothing about the effect
	Outcome Outcome
	Code    string // of the error, as gRPC names it; "" for Done
	Error   string // its text

	Range     *Range
	Put       *Put
	Delete    *Delete
	Txn       *Txn
	Compact   *Compact
	Grant     *Grant
	Revoke    *Revoke
	KeepAlive *KeepAlive
	Remaining *Remaining
	HashKV    *HashKV
	Auth      *Auth
	Change    *Change
}

// KV is one version of a key.
type KV struct {
	Key            string
	Value          string
	CreateRevision kind.Revision
	ModRevision    kind.Revision
	Version        int64
	Lease          kind.LeaseID
}

// Range reads the keys in [Key, End), or Key alone if End is "". The end "\x00" stands for the end of all keys.
type Range struct {
	Key, End     string
	Revision     kind.Revision // 0: the latest
	Limit        int64         // 0: none
	Serializable bool          // the member's own state, which may be old
	KeysOnly     bool
	CountOnly    bool

	Result *RangeResult
}

// RangeResult is the answer to a Range. Revision is that of the header.
type RangeResult struct {
	Revision kind.Revision
	KVs      []KV
	Count    int64
	More     bool
}

// Put writes a key.
type Put struct {
	Key, Value string
	Lease      kind.LeaseID
	PrevKV     bool

	Result *PutResult
}

// PutResult is the answer to a Put. Within a transaction Revision is that of the transaction.
type PutResult struct {
	Revision kind.Revision
	Prev     *KV // nil if not asked for or if there was none
}

// Delete deletes the keys in [Key, End), or Key alone.
type Delete struct {
	Key, End string
	PrevKV   bool

	Result *DeleteResult
}

// DeleteResult is the answer to a Delete.
type DeleteResult struct {
	Revision kind.Revision
	Deleted  int64
	Prev     []KV // if asked for
}

// Txn is a transaction: if every comparison holds, Then is done, otherwise Else.
type Txn struct {
	Compares []Compare
	Then     []TxnOp
	Else     []TxnOp

	Result *TxnResult
}

// TxnResult is the answer to a Txn. Results has one element, with its result set, for each operation of the branch that
// was taken.
type TxnResult struct {
	Revision  kind.Revision
	Succeeded bool
	Results   []TxnOp
}

// TxnOp is one operation of a transaction; one of the fields is set.
type TxnOp struct {
	Range  *Range
	Put    *Put
	Delete *Delete
	Txn    *Txn
}

// Target is what of a key a comparison looks at.
type Target uint8

const (
	CompareValue Target = iota
	CompareVersion
	CompareCreate
	CompareMod
	CompareLease
)

// Compare compares a key of the state before the transaction. A key that does not exist has no value (every comparison of
// its value fails) and zeros for the rest.
type Compare struct {
	Key    string
	Target Target
	Sign   byte   // '=', '!', '<' or '>'
	Value  string // for CompareValue
	Number int64  // for the others
}

// Compact compacts the history below Revision.
type Compact struct {
	Revision kind.Revision

	Result *CompactResult
}

// CompactResult is the answer to a Compact.
type CompactResult struct{ Revision kind.Revision }

// Grant makes a lease.
type Grant struct {
	ID  kind.LeaseID // never 0
	TTL int64        // in seconds

	Result *GrantResult
}

// GrantResult is the answer to a Grant. TTL is what was granted, in seconds.
type GrantResult struct {
	Revision kind.Revision
	TTL      int64
}

// Revoke ends a lease and deletes its keys.
type Revoke struct {
	ID kind.LeaseID

	Result *RevokeResult
}

// RevokeResult is the answer to a Revoke.
type RevokeResult struct{ Revision kind.Revision }

// KeepAlive gives a lease its whole TTL again.
type KeepAlive struct {
	ID kind.LeaseID

	Result *KeepAliveResult
}

// KeepAliveResult is the answer to a KeepAlive. TTL is 0 if there is no such lease.
type KeepAliveResult struct {
	Revision kind.Revision
	TTL      int64
}

// Remaining asks how long a lease has to live.
type Remaining struct {
	ID kind.LeaseID

	Result *RemainingResult
}

// RemainingResult is the answer to a Remaining. TTL is -1 if there is no such lease.
type RemainingResult struct {
	Revision kind.Revision
	TTL      int64
	Granted  int64
	Keys     []string
}

// HashKV asks a member for the hash of its keys at a revision.
type HashKV struct {
	Revision kind.Revision

	Result *HashKVResult
}

// HashKVResult is the answer to a HashKV.
type HashKVResult struct {
	Revision  kind.Revision // of the header
	Compacted kind.Revision
	Hash      uint32
}

// Auth is a change of users and roles, or a request made under a user's name that tests it.
type Auth struct {
	What string // "enable", "disable", "user add alice", …

	Result *AuthResult
}

// AuthResult is the answer to an Auth.
type AuthResult struct{ Revision kind.Revision }

// Change is a change of the membership.
type Change struct {
	What   string // "add learner", "promote", "remove", "replace", "update"
	Member kind.MemberID

	Result *ChangeResult
}

// ChangeResult is the answer to a Change.
type ChangeResult struct {
	Voters   []kind.MemberID
	Learners []kind.MemberID
}

// Watcher is one watch request, from its making to its end. A client that watches on after its stream has ended makes a
// new Watcher that Resumes the old one, from the revision after the last event that it was given.
type Watcher struct {
	ID      int
	Resumes int // the ID of the watcher whose place it takes; -1 for none
	Client  int
	Member  kind.MemberID
	Request Moment

	Key, End   string        // as in Range
	Start      kind.Revision // 0: from now on
	PrevKV     bool
	NoPut      bool
	NoDelete   bool
	Fragment   bool
	Responses  []WatchResponse // in the order of their arrival
	Ended      Moment          // of the end of its stream; zero if it was open at the end of the run
	CaughtUpTo kind.Revision   // at the end of the run, if the stream is open then and the world waited for it: the revision up to which it must have been given everything
}

// WatchResponse is one response to a watcher.
type WatchResponse struct {
	Moment
	Revision        kind.Revision // of the header
	Created         bool
	Canceled        bool
	CompactRevision kind.Revision
	Fragment        bool // more of the same revision follows in the next response
	Progress        bool // no event: all up to Revision was given before
	Events          []WatchEvent
}

// WatchEvent is one change of a key.
type WatchEvent struct {
	Delete bool
	KV     KV  // for a delete only Key and ModRevision are set
	Prev   *KV // if asked for and there was one that is not compacted
}

// Applied is where a member's machine stood when the world looked at it. The world looks whenever something has changed,
// but a member may have gone over several batches between two looks.
type Applied struct {
	Moment
	Member         kind.MemberID
	Life           int // counts the starts of the member, from 1
	Position       kind.Position
	Commit         kind.Index // as raft knows it
	Revision       kind.Revision
	Compacted      kind.Revision
	Digest         uint64 // over the effects of all entries up to Position
	Elapsed        uint64 // cluster time, in nanoseconds
	MachineVersion uint32
	LiveKeys       int64
	LiveBytes      int64
	Versions       int64
	Leading        bool      // this member believes that it leads
	Term           kind.Term // raft's
	ReadyToServe   bool      // clients may ask it
}

// LeaseEnd is that a member has a lease no more, by expiry or by revocation.
type LeaseEnd struct {
	Moment
	Member  kind.MemberID
	Lease   kind.LeaseID
	Elapsed uint64 // cluster time of the entry that ended it, or a later one
}

// EventKind is what kind of thing an Event is.
type EventKind uint8

const (
	Started        EventKind = iota // the member runs, from what is on its disk
	Ready                           // it serves clients
	StoppedClean                    // it was asked to stop and has stopped
	Crashed                         // its process was ended, with or without its disk's power
	Failed                          // it has stopped by itself; Text says why
	Paused                          // its process stands still
	Resumed                         // and goes on
	Leads                           // it has become leader of Term
	LeadsNoMore                     // it has noticed that it is no longer
	FaultBegins                     // something is wrong with network, disk or clock; Text says what
	FaultEnds                       // and is well again
	Healed                          // all faults are over for the rest of the run; Member is 0
	AdoptsSnapshot                  // it has taken over the state of another member
	Joined                          // it is a member
	Left                            // it was removed
	CorruptRaised                   // it refuses service because its state differs
	Repaired                        // it has fetched its state anew
)

var eventNames = [...]string{"started", "ready", "stopped", "crashed", "failed", "paused", "resumed", "leads", "leads no more",
	"fault begins", "fault ends", "healed", "adopts snapshot", "joined", "left", "corrupt raised", "repaired"}

func (k EventKind) String() string { return eventNames[k] }

// Event is something that the world did, or saw happen to a member.
type Event struct {
	Moment
	Kind   EventKind
	Member kind.MemberID // 0 if it is about none
	Term   kind.Term     // for Leads and LeadsNoMore
	Text   string
}

// Final is what is in a member's store at the end of a run.
type Final struct {
	Applied
	Live   []KV // every live key, in order
	Hash   uint32
	Leases []FinalLease // by id
	Users  string       // users, roles and permissions, in one stable text
}

// FinalLease is one lease of a Final.
type FinalLease struct {
	ID       kind.LeaseID
	TTL      int64
	Deadline uint64 // in cluster time
	Keys     []string
}
