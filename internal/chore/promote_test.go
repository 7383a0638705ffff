package chore

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/member"
)

// learners is a cluster of a leader and learners, of which those in ready may be promoted.
type learners struct {
	mu       sync.Mutex // for what follows
	leading  bool
	members  []member.Member
	ready    []kind.MemberID
	promoted []kind.MemberID
	tried    int
}

func (l *learners) ClusterTime() (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 0, l.leading
}

func (l *learners) Members(context.Context, bool) ([]member.Member, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.members), nil
}

func (l *learners) ChangeMembers(_ context.Context, change command.MemberChange) (machine.Reply, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried++
	id := change.Steps[0].ID
	if len(change.Steps) != 1 || change.Steps[0].Op != command.PromoteMember || !slices.Contains(l.ready, id) {
		return machine.Reply{}, member.ErrLearnerNotReady
	}
	l.promoted = append(l.promoted, id)
	for i := range l.members {
		if l.members[i].ID == id {
			l.members[i].Learner = false
		}
	}
	return machine.Reply{}, nil
}

// let changes, or looks at, the cluster.
func (l *learners) let(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
}

// A leader promotes learners that have started once they are in sync, each once; who does not lead touches nobody.
func TestPromoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &learners{members: []member.Member{{ID: 1, Name: "a"}, {ID: 2, Name: "b", Learner: true}, {ID: 3, Learner: true}, {ID: 4, Name: "d", Learner: true}},
			ready: []kind.MemberID{2, 3}}
		ctx, cancel := context.WithCancel(t.Context())
		go NewPromoter(l, nil).Run(ctx)
		<-time.After(5 * promoteInterval)
		synctest.Wait()
		l.let(func() {
			if l.tried != 0 {
				t.Errorf("a member that does not lead has tried %d times", l.tried)
			}
			l.leading = true
		})
		<-time.After(5 * promoteInterval)
		synctest.Wait()
		l.let(func() {
			if !slices.Equal(l.promoted, []kind.MemberID{2}) {
				t.Errorf("promoted are %v", l.promoted)
			}
			l.ready = append(l.ready, 4)
		})
		<-time.After(2 * promoteInterval)
		synctest.Wait()
		l.let(func() {
			if !slices.Equal(l.promoted, []kind.MemberID{2, 4}) {
				t.Errorf("promoted are %v", l.promoted)
			}
		})
		cancel()
		synctest.Wait()
	})
}
