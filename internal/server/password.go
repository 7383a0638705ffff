package server

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"

	"holdfast/internal/auth"
	"holdfast/internal/node"
)

// maxPasswordsWaiting is how many passwords may wait to be hashed or compared; more are refused.
const maxPasswordsWaiting = 256

// maxHashCost bounds the cost of hashes that come from a client: each comparison would take that long.
const maxHashCost = 16

// passwords hashes and compares passwords, which takes tens of milliseconds of a processor each: at most on half of
// them, so that requests with tokens go on, and never in the path of the log.
type passwords struct {
	cost    int
	slots   chan struct{}
	waiting atomic.Int64
	// nobody is the hash that is compared with for a user who does not exist, so that the time tells nothing.
	nobody func() []byte
}

func newPasswords(cost int) *passwords {
	return &passwords{
		cost:  cost,
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		nobody: sync.OnceValue(func() []byte {
			hash, err := bcrypt.GenerateFromPassword([]byte("nobody"), cost)
			if err != nil {
				panic(err) // only a cost or a length out of range
			}
			return hash
		}),
	}
}

// run calls do when it is its turn. It returns node.ErrTooManyRequests or why ctx ended.
func (p *passwords) run(ctx context.Context, do func()) error {
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxPasswordsWaiting {
		return node.ErrTooManyRequests
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.slots }()
	do()
	return nil
}

// hash returns the hash of a password.
func (p *passwords) hash(ctx context.Context, password string) (hash []byte, err error) {
	if e := p.run(ctx, func() { hash, err = bcrypt.GenerateFromPassword([]byte(password), p.cost) }); e != nil {
		return nil, e
	}
	return hash, err
}

// verify returns nil if it is the user's password, and auth.ErrAuthFailed otherwise, after the same time whether the
// user exists or not. An empty password is never right.
func (p *passwords) verify(ctx context.Context, u *auth.User, password string) error {
	hash, possible := p.nobody(), false
	if u != nil && !u.NoPassword && len(u.Hash) > 0 {
		hash, possible = u.Hash, password != ""
	}
	right := false
	if err := p.run(ctx, func() { right = bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil }); err != nil {
		return err
	}
	if !right || !possible {
		return auth.ErrAuthFailed
	}
	return nil
}

// usable reports whether a hash that came from a client can be compared with.
func usable(hash []byte) bool {
	cost, err := bcrypt.Cost(hash)
	return err == nil && cost <= maxHashCost
}
