package transport

import "time"

// Limits bound what peers and strangers may cost. Zero values stand for the defaults.
type Limits struct {
	// MaxMessageBytes is the size of the largest message; 576 MiB, which is more than the largest request that a member
	// takes with any setting. A larger one is dropped, and a connection on which one arrives is closed, so it should be
	// the same on all members.
	MaxMessageBytes int
	// MaxCallBytes is the size of the largest request of a Call and of its answer; 64 MiB. A larger one is refused with
	// ErrTooLarge.
	MaxCallBytes int
	// UrgentQueueBytes and DataQueueBytes bound what waits for a peer in a class; 8 MiB and 128 MiB. A message that
	// finds the queue empty is always taken.
	UrgentQueueBytes, DataQueueBytes int
	// QueueMessages bounds the number of messages that wait for a peer in a class; 16384.
	QueueMessages int
	// Calls is how many calls may be under way to a peer, and from it; 256.
	Calls int

	// Strangers is how many connections may be open that have not yet said who they are, 128, and Guests how many
	// members are talked to that SetPeers has not named, 8: those that were added while this member was away.
	Strangers, Guests int
	// HTTPConnections is how many HTTP connections may be open at a time; 64.
	HTTPConnections int
	// HelloTimeout is how long a connection may take to say who it is, its TLS handshake included; 5 s.
	HelloTimeout time.Duration

	// DialTimeout is how long one attempt to connect may take; 3 s.
	DialTimeout time.Duration
	// MinBackoff and MaxBackoff are the shortest and the longest pause after all URLs of a peer have failed; 50 ms and
	// 1 s. RefusedBackoff is the pause after the peer has refused this member; 3 s. All are varied by a half.
	MinBackoff, MaxBackoff, RefusedBackoff time.Duration
	// ProbeInterval is how often a quiet connection is probed, and the round trip measured; 1 s.
	ProbeInterval time.Duration
	// DeadAfter is how long a peer may leave probes unanswered before it counts as gone; 5 s.
	DeadAfter time.Duration
	// WriteTimeout is how long it may take for a MiB; as DeadAfter.
	WriteTimeout time.Duration
	// LastWords is how long what waits for a peer may still be sent when SetPeers no longer names it; 2 s.
	LastWords time.Duration

	// SnapshotAttempts is how often in a row a transfer may break without a new chunk having arrived; 8.
	SnapshotAttempts int
	// SnapshotPatience is how long a receiver keeps an unfinished snapshot for its sender to come back; 1 min.
	SnapshotPatience time.Duration
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

func (l Limits) withDefaults() Limits {
	defaultInt(&l.MaxMessageBytes, 576*mib)
	defaultInt(&l.MaxCallBytes, 64*mib)
	defaultInt(&l.UrgentQueueBytes, 8*mib)
	defaultInt(&l.DataQueueBytes, 128*mib)
	defaultInt(&l.QueueMessages, 16384)
	defaultInt(&l.Calls, 256)
	defaultInt(&l.Strangers, 128)
	defaultInt(&l.Guests, 8)
	defaultInt(&l.HTTPConnections, 64)
	defaultInt(&l.SnapshotAttempts, 8)
	defaultInt(&l.HelloTimeout, 5*time.Second)
	defaultInt(&l.DialTimeout, 3*time.Second)
	defaultInt(&l.MinBackoff, 50*time.Millisecond)
	defaultInt(&l.MaxBackoff, time.Second)
	defaultInt(&l.RefusedBackoff, 3*time.Second)
	defaultInt(&l.ProbeInterval, time.Second)
	defaultInt(&l.DeadAfter, 5*time.Second)
	defaultInt(&l.WriteTimeout, l.DeadAfter)
	defaultInt(&l.LastWords, 2*time.Second)
	defaultInt(&l.SnapshotPatience, time.Minute)
	return l
}

func defaultInt[T int | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}
