package node

import (
	"holdfast/internal/machine"
	"holdfast/internal/replica"
)

// applier owns the machine.
type applier struct {
	box mailbox[replica.Work]
}

func (a *applier) init() { a.box = newMailbox[replica.Work]() }

func (n *Node) runApplier() {
	var work []replica.Work
	deliver := func(p *machine.Pending) {
		applied := p.Applied()
		n.applied.Store(&applied)
		n.Metrics.applied(applied)
		n.sweeper.compacted(applied.Compacted)
		n.queue.deliver(p.Replies())
	}
	for {
		work = n.applier.box.take(work)
		if len(work) > 0 {
			started := n.now()
			if err := n.Replica.ApplyWork(work, n.Boot, deliver); err != nil {
				n.Fail(err)
				return
			}
			n.Metrics.Commit.Observe((n.now() - started).Seconds())
			n.loop.put(work...)
			continue
		}
		select {
		case <-n.stop:
			return
		case <-n.failed:
			return
		case <-n.applier.box.wake:
		}
	}
}
