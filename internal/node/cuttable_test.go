package node

import (
	"testing"

	"go.etcd.io/raft/v3"

	"holdfast/internal/kind"
	"holdfast/internal/replica"
)

// The log stays as far as raft may still read it, though the store has flushed more.
func TestCuttable(t *testing.T) {
	var n Node
	n.settled.Store(5)
	for durable, want := range map[kind.Index]kind.Index{3: 3, 5: 5, 9: 5} {
		if got := n.cuttable(durable); got != want {
			t.Errorf("flushed up to %d: cut through %d, want %d", durable, got, want)
		}
	}
}

// What raft has dropped is proposed again only where somebody else is to lead: a leader that goes on would drop it again,
// at once and for ever.
func TestWhyDropped(t *testing.T) {
	for _, c := range []struct {
		state replica.State
		want  reason
	}{
		{replica.State{Role: raft.StateLeader}, reasonBusy},
		{replica.State{Role: raft.StateLeader, Transferee: 2}, reasonAgain},
		{replica.State{Role: raft.StateFollower}, reasonAgain},
	} {
		l := loopState{state: c.state}
		if got := l.whyDropped(); got != c.want {
			t.Errorf("%+v: %v, want %v", c.state, got, c.want)
		}
	}
}
