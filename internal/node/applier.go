package node

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/replica"
)

// applier owns the machine.
type applier struct {
	box  mailbox[replica.Work]
	busy atomic.Int64 // nanoseconds spent applying, in all

	park       chan parking
	handed     kind.Index  // of the last entry that was handed over; read by who has parked the applier
	discarding atomic.Bool // see Node.SetDiscarding
}

func (a *applier) init(applied kind.Index) {
	a.box = newMailbox[replica.Work]()
	a.park = make(chan parking)
	a.handed = applied
}

func (n *Node) runApplier() {
	var work []replica.Work
	var marked time.Duration
	term := n.applied.Load().Position.Term
	mark := func() (since time.Duration) {
		now := n.now()
		since, marked = now-marked, now
		n.applier.busy.Add(int64(since))
		return since
	}
	deliver := func(p *machine.Pending) {
		took := mark()
		applied := p.Applied()
		if n.SlowApply > 0 && took > n.SlowApply {
			n.Logger.Warn("apply request took too long", zap.Duration("took", took), zap.Duration("expected-duration", n.SlowApply),
				zap.Uint64("up-to-index", uint64(applied.Position.Index)), zap.Int64("revision", int64(applied.Revision)))
		}
		n.applied.Store(&applied)
		n.membersApplied()
		n.Metrics.applied(applied)
		n.Metrics.leases(p.LeaseCounts())
		n.sweeper.compacted(applied.Compacted)
		n.alarmsApplied()
		n.marksReached(p)
		n.hub.Publish(p.Changes())
		n.queue.deliver(p.Replies())
		if applied.Position.Term != term {
			// What was proposed in an earlier term and has not come until now never will: it is proposed again.
			term = applied.Position.Term
			if n.queue.settle(term) > 0 {
				n.loop.ring()
			}
		}
	}
	var parked *parking
	for {
		work = n.applier.box.take(work)
		if len(work) > 0 {
			started := n.now()
			marked = started
			if !n.applier.discarding.Load() {
				if err := n.Replica.ApplyWork(work, n.Boot, deliver); err != nil {
					n.Fail(err)
					return
				}
			}
			n.applier.handed = replica.Last(work)
			mark()
			n.Metrics.Commit.Observe((marked - started).Seconds())
			n.loop.put(work...)
			continue
		}
		if parked != nil {
			n.rest(*parked)
			parked = nil
		}
		select {
		case <-n.stop:
			return
		case <-n.failed:
			return
		case <-n.applier.box.wake:
		case p := <-n.applier.park:
			parked = &p // when what was handed over before is done
		}
	}
}
