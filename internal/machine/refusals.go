package machine

import "errors"

// The refusals about leases.
var (
	// ErrLeaseNotFound: a put names, or a revocation ends, a lease that does not exist.
	ErrLeaseNotFound = errors.New("requested lease not found")
	// ErrLeaseExists: the id that a client has chosen for a lease is taken.
	ErrLeaseExists = errors.New("lease already exists")
	// ErrLeaseTTLTooLarge: the TTL is above command.MaxLeaseTTL.
	ErrLeaseTTLTooLarge = errors.New("too large lease TTL")
)

// ErrAuthChanged refuses a command that was allowed by users and roles that have changed since, in such a way that it
// might not be any more. No client sees it: the proposer authorises and proposes anew.
var ErrAuthChanged = errors.New("users or roles have changed since the command was allowed")

// The failures that are not the disk's. The member stops.
var (
	// ErrUnknownEntry: a committed entry or command is not fully understood by this version (I5).
	ErrUnknownEntry = errors.New("the log holds an entry that this version of Holdfast does not understand; start the member with the version that the rest of the cluster runs")
	// ErrNewerMachine: the store was written by a machine version that this program does not know.
	ErrNewerMachine = errors.New("the store was written by a newer version of Holdfast; start the member with that version or a later one")
	// ErrCursor: the record of an unfinished command cannot be read or does not fit the log.
	ErrCursor = errors.New("the record of a command that was interrupted does not fit; restore the directory from a backup, or remove this member and let it join anew")
)
