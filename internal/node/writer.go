package node

import (
	"time"

	"holdfast/internal/kind"
	"holdfast/internal/replica"
)

// idleInterval is how often the writer looks whether the log has fallen idle: then it appends the sync mark,
// which lets a later start tell a lost write from one that never was, and makes the next segment ready.
const idleInterval = 50 * time.Millisecond

// writer owns the log.
type writer struct {
	box      mailbox[*replica.Append]
	truncate mailbox[kind.Index] // the log may be cut through these
}

func (w *writer) init() {
	w.box = newMailbox[*replica.Append]()
	w.truncate = newMailbox[kind.Index]()
}

func (n *Node) runWriter() {
	log := n.Replica.Log()
	ticker := time.NewTicker(idleInterval)
	defer ticker.Stop()
	var appends []*replica.Append
	var cuts []kind.Index
	var finished []replica.Work
	busy := true
	for {
		appends = n.writer.box.take(appends)
		if len(appends) > 0 {
			busy = true
			synced, err := n.Replica.WriteLog(appends, n.now)
			if err != nil {
				n.Fail(err)
				return
			}
			if synced > 0 {
				n.Metrics.LogSync.Observe(synced.Seconds())
			}
			finished = finished[:0]
			for _, a := range appends {
				finished = append(finished, a)
			}
			n.loop.put(finished...)
			log.Evict(n.applied.Load().Position.Index)
			continue
		}
		cuts = n.writer.truncate.take(cuts)
		for _, through := range cuts {
			if err := log.Truncate(through); err != nil {
				n.Fail(err)
				return
			}
		}
		select {
		case <-n.stop:
			return
		case <-n.failed:
			return
		case <-n.writer.box.wake:
		case <-n.writer.truncate.wake:
		case <-ticker.C:
			if busy {
				busy = false // idle only if nothing comes until the next tick
				continue
			}
			if err := n.idle(); err != nil {
				n.Fail(err)
				return
			}
		}
	}
}

// idle does what the log wants when nobody waits for it.
func (n *Node) idle() error {
	if err := n.Replica.Log().Mark(); err != nil {
		return err
	}
	if err := n.Replica.Log().PrepareSpare(); err != nil {
		// No room for a spare segment is not a failure yet: the one in use still has some, and the guard of free
		// space refuses growth before it is gone.
		n.space.spareFailed(err)
		return nil
	}
	n.space.spareReady()
	return nil
}
