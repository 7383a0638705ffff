package node

import "errors"

// The refusals of a node. Each is final for the attempt: the command was either certainly not appended (the
// first group) or its fate is unknown (the timeouts), and it is never proposed a second time.
var (
	// ErrTooManyRequests: a queue between the client and the log is full. Nothing was appended.
	ErrTooManyRequests = errors.New("too many requests")
	// ErrRequestTooLarge: the command is larger than the limit that the node was given. Nothing was appended.
	ErrRequestTooLarge = errors.New("request is too large")
	// ErrNoSpace: the disk, or the quota, has no room for commands that grow the store. Nothing was appended.
	ErrNoSpace = errors.New("database space exceeded")
	// ErrCorrupt: this member's state is known to differ from the cluster's; it serves nothing.
	ErrCorrupt = errors.New("corrupt cluster")
	// ErrStopped: the node is stopping or has stopped.
	ErrStopped = errors.New("server stopped")
	// ErrNoLeader: no leader is known.
	ErrNoLeader = errors.New("no leader")
	// ErrNotLeader: the call needs the leader and this member is not.
	ErrNotLeader = errors.New("not leader")
	// ErrLeaderChanged: leadership moved while a read waited for its index.
	ErrLeaderChanged = errors.New("leader changed")
	// ErrRemoved: the cluster has removed this member, and it has stopped.
	ErrRemoved = errors.New("the member has been permanently removed from the cluster")
	// ErrUnhealthy: too few members are connected for the change that was asked.
	ErrUnhealthy = errors.New("unhealthy cluster")

	// ErrTimeout: no answer within the request timeout; the command may or may not be applied.
	ErrTimeout = errors.New("request timed out")
	// ErrTimeoutLeaderLoss is ErrTimeout when the leader was lost meanwhile.
	ErrTimeoutLeaderLoss = errors.New("request timed out, possibly due to previous leader failure")
	// ErrTimeoutConnLost is ErrTimeout when the connection to the leader was lost meanwhile.
	ErrTimeoutConnLost = errors.New("request timed out, possibly due to connection lost")
	// ErrBadLeaderTransferee: leadership cannot go to that member, because it is no voter of the cluster.
	ErrBadLeaderTransferee = errors.New("bad leader transferee")
	// ErrTimeoutLeaderTransfer: leadership did not move in time.
	ErrTimeoutLeaderTransfer = errors.New("request timed out, leader transfer took too long")
	// ErrTimeoutAppliedIndex: the member did not apply up to a linearizable read's index in time.
	ErrTimeoutAppliedIndex = errors.New("request timed out, waiting for the applied index took too long")
)
