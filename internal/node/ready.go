package node

import (
	"time"

	"holdfast/internal/kind"
)

// readyAlone is how long a member waits for a leader before it is ready with what it has itself.
const readyAlone = 5 * time.Second

// readiness is the loop's: when the member may show what it has, so that no revision that a client has seen goes back
// (I6).
type readiness struct {
	done   bool
	floor  kind.Index // committed according to the log at the start
	target kind.Index // ready when this is applied too; 0 until the leader has said how far it has committed
	alone  time.Duration
	batch  *readBatch // asks the leader
}

// ready looks whether the member has become ready: when everything up to the leader's commit index is applied, as a read
// index says it, and after five seconds without a leader, when everything is that the log knew as committed. One that
// has not been told who the members are has nothing to show.
func (l *loopState) ready(applied kind.Index) {
	r := &l.readiness
	if r.done {
		return
	}
	if l.quarantine.held.Load() {
		// It shows nothing until a repair has brought it to where the others are, and cannot be repaired unless it runs.
		r.done = true
		close(l.Node.ready)
		return
	}
	if r.target == 0 && l.state.Leader != 0 {
		r.alone = l.now()
		if _, began := l.ClusterTime(); began && l.state.SoleVoter {
			r.target = max(1, r.floor)
		}
		if r.batch == nil && r.target == 0 {
			r.batch, _, _ = l.reads.join()
			l.loop.ring()
		}
		if r.batch != nil {
			select {
			case <-r.batch.done:
				if r.batch.err == nil {
					r.target = max(1, r.floor) // its index is applied
				}
				r.batch = nil
			default:
			}
		}
	}
	if r.target == 0 && l.state.Leader == 0 && l.now()-r.alone >= readyAlone && applied > 0 {
		r.target = max(1, r.floor)
	}
	if r.target > 0 && applied >= r.target {
		r.done = true
		close(l.Node.ready)
	}
}
