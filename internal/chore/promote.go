package chore

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/command"
	"holdfast/internal/machine"
	"holdfast/internal/member"
)

// promoteInterval is how often the learners are looked at.
const promoteInterval = 2 * time.Second

// Members is what the promoting of learners needs of a member; all methods may be called at any time.
type Members interface {
	// ClusterTime returns the time of the cluster, which does not matter here, and whether this member leads.
	ClusterTime() (elapsed uint64, leading bool)
	// Members lists the members; linearizable is not asked for.
	Members(ctx context.Context, linearizable bool) ([]member.Member, error)
	// ChangeMembers changes the membership; the leader refuses to promote a learner that is not in sync.
	ChangeMembers(ctx context.Context, change command.MemberChange) (machine.Reply, error)
}

// Promoter gives learners a vote as soon as they run and are in sync (--auto-promote-learners). Only the leader does it.
// The leader's check is that of a promotion by hand, so that no majority is lost by it.
type Promoter struct {
	node     Members
	log      *zap.Logger
	interval time.Duration
}

// NewPromoter makes a Promoter. The logger may be nil.
func NewPromoter(node Members, log *zap.Logger) *Promoter {
	if log == nil {
		log = zap.NewNop()
	}
	return &Promoter{node: node, log: log, interval: promoteInterval}
}

// Run promotes learners until ctx ends.
func (p *Promoter) Run(ctx context.Context) {
	ticker := time.NewTicker(p.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			p.turn(ctx)
		}
	}
}

// turn tries each learner that runs, one after the other. One that is not in sync is tried again later.
func (p *Promoter) turn(ctx context.Context) {
	if _, leading := p.node.ClusterTime(); !leading {
		return
	}
	members, err := p.node.Members(ctx, false)
	if err != nil {
		return // the member is stopping
	}
	for _, m := range members {
		if !m.Learner || m.Name == "" {
			continue
		}
		_, err := p.node.ChangeMembers(ctx, command.MemberChange{Steps: []command.MemberStep{{Op: command.PromoteMember, ID: m.ID}}})
		switch {
		case err == nil:
			p.log.Info("promoted a learner that is in sync (--auto-promote-learners)", zap.Stringer("member", m.ID), zap.String("name", m.Name))
		case ctx.Err() == nil && !errors.Is(err, member.ErrLearnerNotReady):
			p.log.Warn("could not promote a learner; it is tried again", zap.Stringer("member", m.ID), zap.Error(err))
		}
	}
}
