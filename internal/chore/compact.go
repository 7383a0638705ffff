package chore

import (
	"context"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/node"
)

// Historian is what a Compactor needs of a member; all methods may be called at any time.
type Historian interface {
	// ClusterTime says whether this member leads.
	ClusterTime() (elapsed uint64, leading bool)
	// CurrentRevision is the revision that the member has come to.
	CurrentRevision() kind.Revision
	// CompactedRevision is how far the member has compacted.
	CompactedRevision() kind.Revision
	// Propose puts a command into the log and returns what the machine replied.
	Propose(ctx context.Context, c command.Command) (machine.Reply, error)
}

// CompactorConfig is what a Compactor is made of.
type CompactorConfig struct {
	Node      Historian
	Logger    *zap.Logger   // nil logs nothing
	Clock     node.Clock    // nil means that of the system
	Period    time.Duration // the history that is kept; 0 sets no rule by time
	Revisions int64         // the number of revisions that are kept; 0 sets no rule by number
}

// Compactor compacts by itself what is older than the rules keep. With both rules a revision goes when neither keeps it.
// The times are etcd's: by time, the first compaction comes after one period, and further ones every period, or every
// hour if the period is longer; by number alone, one every five minutes.
//
// Every member notes which revision it was at, so that a leader that has just been elected knows what is old; only the
// leader compacts. Run it once.
type Compactor struct {
	CompactorConfig
	seen []sighting // the oldest first; the first is the newest that is older than the period, if there is one
	last time.Duration
	did  bool // last is when the last compaction was
}

// sighting is the revision that the member was at.
type sighting struct {
	at       time.Duration
	revision kind.Revision
}

// The rhythm of a Compactor.
const (
	longestInterval  = time.Hour       // between two compactions by time
	revisionInterval = 5 * time.Minute // between two compactions by number
	leastLook        = 10 * time.Millisecond
)

// NewCompactor makes a Compactor.
func NewCompactor(c CompactorConfig) *Compactor {
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	c.Clock = clockOr(c.Clock)
	return &Compactor{CompactorConfig: c}
}

// look is how often the Compactor notes the revision, and sees whether a compaction is due. A compaction by time that
// has failed is tried again as soon.
func (c *Compactor) look() time.Duration {
	if c.Period == 0 {
		return revisionInterval
	}
	return max(min(c.Period, longestInterval)/10, leastLook)
}

// Run compacts until ctx ends, or returns at once if there is no rule.
func (c *Compactor) Run(ctx context.Context) {
	if c.Period <= 0 && c.Revisions <= 0 {
		return
	}
	c.note()
	ticker := c.Clock.NewTicker(c.look())
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			c.note()
			c.turn(ctx)
		}
	}
}

// note notes the present revision, and forgets what no compaction will ask for.
func (c *Compactor) note() {
	if c.Period <= 0 {
		return
	}
	now := c.Clock.Now()
	c.seen = append(c.seen, sighting{now, c.Node.CurrentRevision()})
	old := 0
	for old+1 < len(c.seen) && c.seen[old+1].at <= now-c.Period {
		old++
	}
	c.seen = c.seen[old:]
}

// target is the revision below which no rule keeps anything; 0 if there is none.
func (c *Compactor) target() kind.Revision {
	to := c.Node.CurrentRevision()
	if c.Period > 0 {
		if c.seen[0].at > c.Clock.Now()-c.Period {
			return 0
		}
		to = c.seen[0].revision
	}
	if c.Revisions > 0 {
		to = min(to, c.Node.CurrentRevision()-kind.Revision(c.Revisions))
	}
	return max(to, 0)
}

// turn compacts if this member leads, it is time, and there is something to compact.
func (c *Compactor) turn(ctx context.Context) {
	now := c.Clock.Now()
	if _, leading := c.Node.ClusterTime(); !leading {
		return
	}
	// A tick may come a little early or late; half of one is no reason to wait for the next.
	if c.Period > 0 && c.did && now-c.last < min(c.Period, longestInterval)-c.look()/2 {
		return
	}
	to := c.target()
	if to <= c.Node.CompactedRevision() {
		return
	}
	err := c.compact(ctx, to)
	switch {
	case err == nil, c.Node.CompactedRevision() >= to: // in the second case somebody else has done it meanwhile
		c.last, c.did = now, true
		c.Logger.Info("completed auto compaction", zap.Int64("revision", int64(to)), zap.Duration("retention", c.Period), zap.Int64("retention-revisions", c.Revisions))
	case ctx.Err() == nil:
		c.Logger.Warn("could not compact by --auto-compaction-retention; it is tried again", zap.Int64("revision", int64(to)), zap.Duration("after", c.look()), zap.Error(err))
	}
}

func (c *Compactor) compact(ctx context.Context, to kind.Revision) error {
	payload := command.AppendCompaction(nil, &command.Compaction{Revision: to})
	reply, err := c.Node.Propose(ctx, command.Command{Kind: command.KindCompact, AuthRevision: command.ByMember, Payload: payload})
	if err != nil {
		return err
	}
	defer reply.Release()
	return reply.Err
}
