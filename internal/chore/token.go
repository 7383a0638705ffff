package chore

import (
	"context"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/auth"
	"holdfast/internal/command"
	"holdfast/internal/machine"
	"holdfast/internal/node"
)

// TokenNode is what the duties about tokens need of a member; all methods may be called at any time.
type TokenNode interface {
	// ClusterTime returns the time of the cluster in nanoseconds, and whether this member leads and knows it.
	ClusterTime() (elapsed uint64, leading bool)
	// LogTime sees to it that an entry is logged if the last is older than 250 ms.
	LogTime()
	// Auth is the users and tokens.
	Auth() *auth.Store
	// TokensUsed receives when TokenUses has something to return, up to so many tokens.
	TokensUsed() <-chan struct{}
	TokenUses(most int) []*auth.Token
	// Propose puts a command into the log and returns what the machine replied.
	Propose(ctx context.Context, c command.Command) (machine.Reply, error)
}

// Tokens does the duties about tokens. Every member has those uses logged that it has seen itself; the leader forgets
// the tokens whose time is over, and lets the log know the time while there are any. Run it once.
type Tokens struct {
	node  TokenNode
	log   *zap.Logger
	clock node.Clock
}

// NewTokens makes a Tokens; a nil log logs nothing, and a nil clock is that of the system.
func NewTokens(n TokenNode, log *zap.Logger, clock node.Clock) *Tokens {
	if log == nil {
		log = zap.NewNop()
	}
	return &Tokens{n, log, clockOr(clock)}
}

const (
	// gatherUses is how long uses gather before they are logged. It is part of what a restart may forget.
	gatherUses = 50 * time.Millisecond
	// mostUses is how many uses one command holds.
	mostUses = 4096
	// retryUses is how long a failed proposal rests.
	retryUses = time.Second
)

// Run does the duties until ctx ends.
func (t *Tokens) Run(ctx context.Context) {
	ticker := t.clock.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			now, leading := t.node.ClusterTime()
			if !leading || t.node.Auth().Tokens() == 0 {
				continue
			}
			t.node.LogTime()
			if t.node.Auth().Due(now) {
				t.propose(ctx, nil)
			}
		case <-t.node.TokensUsed():
			t.rest(ctx, gatherUses)
			for used := t.node.TokenUses(mostUses); len(used) > 0 && t.propose(ctx, used); {
				used = t.node.TokenUses(mostUses)
			}
		}
	}
}

// propose logs uses and reports whether that went well. What was not logged is noted again with the next use.
func (t *Tokens) propose(ctx context.Context, used []*auth.Token) bool {
	reply, err := t.node.Propose(ctx, node.TokenTouch(used))
	if err == nil {
		err = reply.Err
	}
	if err == nil {
		return true
	}
	for _, token := range used {
		token.Missed()
	}
	if ctx.Err() == nil {
		t.log.Warn("could not log the last uses of tokens; it is tried again when they are used again", zap.Int("tokens", len(used)), zap.Error(err))
		t.rest(ctx, retryUses)
	}
	return false
}

// rest waits, unless ctx ends first.
func (t *Tokens) rest(ctx context.Context, d time.Duration) {
	timer := t.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C():
	}
}
