// Package chore is the duties of a leader that no client asks for: it ends leases whose time is over, and lets the log
// know the time; it raises the version of the machine when every member can; it compacts by itself. One duty every member has: it raises the alarm about itself. Chores propose commands like anybody else;
// the machine decides.
//
// Invariants:
//
//	K1  A duty is done only by a leader that has applied an entry of its own term: before, it does not know the time.
//	K2  While any lease lives, an entry is logged at least every 500 ms, so that a change of leader or a restart
//	    loses less than that of the leases' time.
//	K3  Expiry is proposed in bounded batches, one after the other, each as large as fits into a few milliseconds: a
//	    put that comes in between waits for one batch at most.
//	K4  What was logged last is compared by all members within a second, also if nothing follows it.
//
// Use: Run until the node stops; it starts no goroutine.
package chore

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/machine"
	"holdfast/internal/node"
)

// Node is what the duties need of a member; all methods may be called at any time.
type Node interface {
	// ClusterTime returns the time of the cluster in nanoseconds, and whether this member leads and knows it.
	ClusterTime() (elapsed uint64, leading bool)
	// LogTime sees to it that an entry is logged if the last is older than 250 ms.
	LogTime()
	// Leases is the table of leases.
	Leases() *lease.Table
	// ApplyTime returns how long the member's applier has been at work, in all.
	ApplyTime() time.Duration
	// Propose puts a command into the log and returns what the machine replied.
	Propose(ctx context.Context, c command.Command) (machine.Reply, error)
	// AlarmDue returns the command by which the member raises or clears an alarm about itself, if it is time for that.
	AlarmDue() (command.Command, bool)
	// MarkDue reports whether the leader should have the time logged, so that the members compare their states there.
	MarkDue() bool
	// VersionDue returns the command that raises the version of the machine, if it is time for that.
	VersionDue() (command.Command, bool)
}

// Config is what a Chore is made of.
type Config struct {
	Node   Node
	Logger *zap.Logger // nil logs nothing
	Clock  node.Clock  // nil means that of the system
}

// interval is how often the duties are looked at when nothing is due before. It is half of what K2 promises.
const interval = 250 * time.Millisecond

// soonest is how long the duties rest at least, so that leases that end one by one share a batch.
const soonest = 5 * time.Millisecond

// Chore does a leader's duties. Run it once.
type Chore struct {
	node  Node
	log   *zap.Logger
	clock node.Clock
	batch int // leases that the next batch of expiry holds
}

// New makes a Chore.
func New(c Config) *Chore {
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return &Chore{node: c.Node, log: c.Logger, clock: clockOr(c.Clock), batch: firstBatch}
}

// clockOr returns the clock, that of the system for nil.
func clockOr(c node.Clock) node.Clock {
	if c == nil {
		return node.SystemClock()
	}
	return c
}

// Run does the duties until ctx ends. The error is that of a bug that it has met, with which the member stops.
func (c *Chore) Run(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("stopping: a duty of the leader panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("a duty of the leader panicked: %v", p)
		}
	}()
	timer := c.clock.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C():
		}
		timer.Reset(c.turn(ctx))
	}
}

// turn does what is due and returns when to look again.
func (c *Chore) turn(ctx context.Context) time.Duration {
	c.alarm(ctx)
	now, leading := c.node.ClusterTime()
	if !leading {
		return interval
	}
	c.raise(ctx)
	if c.node.MarkDue() {
		c.node.LogTime()
	}
	if !c.expire(ctx, now) {
		return interval
	}
	leases := c.node.Leases()
	next, any := leases.Next()
	if !any {
		return interval
	}
	c.node.LogTime()
	now, _ = c.node.ClusterTime()
	if next <= now {
		return soonest
	}
	return min(max(time.Duration(min(next-now, uint64(interval))), soonest), interval)
}

// alarm sees to the alarms about the member itself, whether it leads or not.
func (c *Chore) alarm(ctx context.Context) {
	change, due := c.node.AlarmDue()
	if !due {
		return
	}
	reply, err := c.node.Propose(ctx, change)
	if err == nil {
		err = reply.Err
	}
	if err != nil && ctx.Err() == nil {
		c.log.Warn("could not raise or clear an alarm of this member; it is tried again", zap.Error(err))
	}
}

// raise lets the cluster act in a later version of the machine when every member can.
func (c *Chore) raise(ctx context.Context) {
	change, due := c.node.VersionDue()
	if !due {
		return
	}
	reply, err := c.node.Propose(ctx, change)
	if err == nil {
		err = reply.Err
	}
	switch {
	case err == nil:
		c.log.Info("every member can act in a later version of the machine, and from here on does")
	case ctx.Err() == nil:
		c.log.Warn("could not raise the version of the machine; it is tried again", zap.Error(err))
	}
}

// The bounds of a batch of expiry, in leases, and how long the applier may be at work for it before the next is
// smaller, or larger. What the disk takes does not count: it holds nobody else up.
const (
	firstBatch = 64
	leastBatch = 8
	mostBatch  = 256
	slowBatch  = 5 * time.Millisecond
	fastBatch  = 2 * time.Millisecond
)

// expire ends all leases that are due. It reports false if a proposal failed: then it is tried again later, should this
// member still lead.
func (c *Chore) expire(ctx context.Context, now uint64) bool {
	leases := c.node.Leases()
	for ctx.Err() == nil {
		ids, more := leases.Due(now, c.batch)
		if len(ids) > 0 && !c.propose(ctx, ids) {
			return false
		}
		if !more {
			return true
		}
	}
	return false
}

func (c *Chore) propose(ctx context.Context, ids []kind.LeaseID) bool {
	before := c.node.ApplyTime()
	payload := command.AppendLeaseExpire(nil, &command.LeaseExpire{IDs: ids})
	reply, err := c.node.Propose(ctx, command.Command{Kind: command.KindLeaseExpire, Payload: payload})
	if err == nil {
		err = reply.Err
	}
	if err != nil {
		if ctx.Err() == nil {
			c.log.Warn("could not end leases whose time is over; it is tried again", zap.Int("leases", len(ids)), zap.Error(err))
		}
		return false
	}
	switch took := c.node.ApplyTime() - before; {
	case took > slowBatch:
		c.batch = max(c.batch/2, leastBatch)
	case took < fastBatch && len(ids) == c.batch:
		c.batch = min(c.batch*2, mostBatch)
	}
	return true
}
