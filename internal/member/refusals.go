package member

import "errors"

// The refusals of a change of the membership, with the bare texts; whoever speaks to clients adds codes and prefixes.
var (
	// ErrIDNotFound: no member has the id.
	ErrIDNotFound = errors.New("member not found")
	// ErrIDRemoved: the member with the id was removed, and its id is not given again.
	ErrIDRemoved = errors.New("member ID removed")
	// ErrIDExists: a member has the id already.
	ErrIDExists = errors.New("member ID already exist")
	// ErrPeerURLExists: another member is reached by the URL.
	ErrPeerURLExists = errors.New("Peer URLs already exists")
	// ErrNotLearner: only a learner can be promoted.
	ErrNotLearner = errors.New("can only promote a learner member")
	// ErrLearnerNotReady: the learner lags too far behind the leader to vote.
	ErrLearnerNotReady = errors.New("can only promote a learner member which is in sync with leader")
	// ErrTooManyLearners: the cluster has as many learners as it may.
	ErrTooManyLearners = errors.New("too many learner members in cluster")
	// ErrNotEnoughStarted: after the change less than a majority of the voters would have started.
	ErrNotEnoughStarted = errors.New("re-configuration failed due to not enough started members")
	// ErrUnhealthy: after the change the voters that have been connected for HealthInterval might not be a majority.
	ErrUnhealthy = errors.New("unhealthy cluster")
	// ErrUnderWay: an earlier change of several voters has not been completed. Whoever asks waits for it.
	ErrUnderWay = errors.New("a change of the membership is under way")
)
