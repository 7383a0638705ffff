package chore

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/kind"
	"holdfast/internal/node"
)

// Comparer is what Checks needs of a member.
type Comparer interface {
	// ClusterTime says whether this member leads.
	ClusterTime() (elapsed uint64, leading bool)
	// CompactedRevision is how far this member has compacted.
	CompactedRevision() kind.Revision
	// CompareHashes asks all members what they hold at a revision, 0 for the latest.
	CompareHashes(ctx context.Context, rev kind.Revision) (node.Comparison, error)
	// Accuse raises the alarm against those who differ.
	Accuse(ctx context.Context, c node.Comparison) error
}

// ChecksConfig is what Checks are made of.
type ChecksConfig struct {
	Node        Comparer
	Logger      *zap.Logger   // nil logs nothing
	Clock       node.Clock    // nil means that of the system
	Always      time.Duration // between two comparisons of all keys; 0 means never
	Compactions time.Duration // between two looks for a compaction whose result was not compared; 0 means never
}

// Checks are the leader's comparisons of what all members hold, as etcd's flags set them. They find what a store has lost
// after it was written; what entries do is compared all the time, by the digest. Run them once.
type Checks struct {
	ChecksConfig
	compared kind.Revision // the compaction that all members have compared last
}

// checkTimeout is how long one comparison may take: every member reads all its keys.
const checkTimeout = 10 * time.Minute

// NewChecks makes Checks.
func NewChecks(c ChecksConfig) *Checks {
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	c.Clock = clockOr(c.Clock)
	return &Checks{ChecksConfig: c}
}

// Run compares until ctx ends.
func (c *Checks) Run(ctx context.Context) {
	always, compactions := c.ticks(c.Always), c.ticks(c.Compactions)
	defer always.Stop()
	defer compactions.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-always.C():
			if c.Always > 0 {
				c.compare(ctx, 0)
			}
		case <-compactions.C():
			if c.Compactions > 0 {
				c.compactions(ctx)
			}
		}
	}
}

// ticks makes a ticker, one that hardly ever ticks for 0.
func (c *Checks) ticks(d time.Duration) node.Timer {
	if d <= 0 {
		d = 1 << 60
	}
	return c.Clock.NewTicker(d)
}

// compactions compares the result of the last compaction, if that was not done yet. A member that has not come so far
// is asked again at the next look.
func (c *Checks) compactions(ctx context.Context) {
	at := c.Node.CompactedRevision()
	if at <= c.compared || at <= 0 {
		return
	}
	if result, ok := c.compare(ctx, at); ok && len(result.Silent) == 0 {
		c.compared = at
	}
}

// compare compares, and accuses who differs. ok is false if this member does not lead, or it failed.
func (c *Checks) compare(ctx context.Context, rev kind.Revision) (result node.Comparison, ok bool) {
	if _, leading := c.Node.ClusterTime(); !leading {
		return node.Comparison{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	result, err := c.Node.CompareHashes(ctx, rev)
	if err == nil && len(result.Differ) > 0 {
		err = c.Node.Accuse(ctx, result)
	}
	switch {
	case err != nil && !errors.Is(err, context.Canceled):
		c.Logger.Warn("could not compare what the members hold", zap.Error(err))
		return result, false
	case err != nil:
		return result, false
	}
	c.Logger.Info("compared what the members hold", zap.Int64("revision", int64(result.Revision)), zap.Stringers("agreed", result.Agreed),
		zap.Stringers("differ", result.Differ), zap.Stringers("silent", result.Silent))
	return result, true
}
