package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/command"
	"holdfast/internal/digest"
	"holdfast/internal/kind"
)

// The refusals of Repair.
var (
	// ErrNothingToRepair: the member is not in quarantine.
	ErrNothingToRepair = errors.New("this member is not in quarantine: there is nothing to repair")
	// ErrRepairing: another repair is under way.
	ErrRepairing = errors.New("this member is being repaired already")
	// ErrNobodyToAsk: there is no other member from which the state could be fetched.
	ErrNobodyToAsk = errors.New("there is no other member from which the state could be fetched; restore the member from a backup")
)

// Repaired says what a repair has done.
type Repaired struct {
	Index    kind.Index    // at which the digests agreed
	Revision kind.Revision // at which the hashes agreed
	Took     time.Duration
}

// Repair fetches the state of a member in quarantine anew from the others, compares digest and hash with the majority's,
// and ends the quarantine and the alarm. It returns when all of that is done, or when ctx has ended; then it may be called
// again.
func (n *Node) Repair(ctx context.Context) (Repaired, error) {
	started := n.now()
	if !n.quarantine.isolated.Load() {
		return Repaired{}, ErrNothingToRepair
	}
	if n.alone() {
		return Repaired{}, ErrNobodyToAsk
	}
	if n.repairing.Swap(true) {
		return Repaired{}, ErrRepairing
	}
	defer n.repairing.Store(false)
	n.Logger.Info("fetching the state of this member anew", zap.String("cause", n.Quarantine()))
	if err := n.Refetch(ctx); err != nil {
		return Repaired{}, fmt.Errorf("fetch the state anew: %w", err)
	}
	r := Repaired{}
	var err error
	if r.Index, err = n.agree(ctx); err != nil {
		return Repaired{}, fmt.Errorf("compare the digest of the new state with the others': %w", err)
	}
	if r.Revision, err = n.sameKeys(ctx); err != nil {
		return Repaired{}, fmt.Errorf("compare the keys of the new state with the others': %w", err)
	}
	if err := n.releaseHold(ctx); err != nil {
		return Repaired{}, err
	}
	r.Took = n.now() - started
	n.Logger.Info("this member's state agrees with the majority's again; it serves", zap.Uint64("index", uint64(r.Index)),
		zap.Int64("revision", int64(r.Revision)), zap.Duration("took", r.Took))
	return r, nil
}

// agree waits until the majority has found the member's digest to be its own, at an entry that is made for it.
func (n *Node) agree(ctx context.Context) (kind.Index, error) {
	at := n.applied.Load().Position.Index
	// An entry, after which the leader logs the time, at which members compare. The alarm stands: it changes nothing.
	if _, err := n.Propose(ctx, corruptAlarm(command.AlarmRaise, n.Identity.Member)); err != nil {
		return 0, err
	}
	for {
		n.digests.mu.Lock()
		v := n.digests.mu.now
		n.digests.mu.Unlock()
		if v.At.Index > at {
			switch v.Standing {
			case digest.Agrees:
				return v.At.Index, nil
			case digest.Differs:
				return 0, errors.New("it differs again; look into the log of this member, and replace its disk or the member")
			}
		}
		if err := n.wait(ctx, judgeInterval); err != nil {
			return 0, err
		}
	}
}

// sameKeys compares all keys with the others'. A member that compacts at the moment is asked again.
func (n *Node) sameKeys(ctx context.Context) (kind.Revision, error) {
	for {
		c, err := n.CompareHashes(ctx, 0)
		switch {
		case err != nil:
			return 0, err
		case c.Decided && slices.Contains(c.Agreed, n.Identity.Member):
			return c.Revision, nil
		case c.Decided:
			return 0, fmt.Errorf("at revision %d they have another hash than those of the majority", c.Revision)
		}
		if err := n.wait(ctx, time.Second); err != nil {
			return 0, err
		}
	}
}

// wait waits.
func (n *Node) wait(ctx context.Context, d time.Duration) error {
	timer := n.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-n.stop:
		return ErrStopped
	case <-n.failed:
		return ErrStopped
	}
}

// releaseHold ends the quarantine: first on disk, then here, and then the alarm.
func (n *Node) releaseHold(ctx context.Context) error {
	if n.Hold.Release != nil {
		n.stores.dir.Lock()
		err := n.Hold.Release()
		n.stores.dir.Unlock()
		if err != nil {
			return fmt.Errorf("end the quarantine: %w", err)
		}
	}
	q := &n.quarantine
	q.mu.Lock()
	q.mu.cause, q.mu.cleared = "", true
	q.mu.Unlock()
	n.weigh()
	if _, err := n.Propose(ctx, corruptAlarm(command.AlarmClear, n.Identity.Member)); err != nil {
		return fmt.Errorf("clear the alarm: %w (it is tried again)", err)
	}
	return nil
}
