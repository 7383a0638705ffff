package node

import (
	"sync/atomic"
	"time"

	"holdfast/internal/kind"
	"holdfast/internal/replica"
	"holdfast/internal/store"
)

// idleInterval is how often the writer looks whether the log has fallen idle: then it appends the sync mark,
// which lets a later start tell a lost write from one that never was.
const idleInterval = 50 * time.Millisecond

// writer owns the log.
type writer struct {
	box      mailbox[*replica.Append]
	truncate mailbox[cut]
	prepare  chan struct{}      // holds a token while a spare segment is wanted
	spares   mailbox[string]    // the preparer's answers: the file that it has made, or "" if it could not
	fetched  mailbox[*incoming] // snapshots that this member has asked for

	began atomic.Int64 // when the write under way began, in the node's time; 0 when there is none

	// preparing is the writer goroutine's: there is one question at a time, and no other until its answer is used up.
	// The preparer writes under one name, so a file that waits to be taken must not meet the making of the next.
	preparing bool
}

// cut says that the log may be cut: through is applied and flushed in store. Another store may stand before it, so the cut
// is not made once that one is current.
type cut struct {
	through kind.Index
	store   *store.DB
}

func (w *writer) init() {
	w.box = newMailbox[*replica.Append]()
	w.truncate = newMailbox[cut]()
	w.prepare = make(chan struct{}, 1)
	w.spares = newMailbox[string]()
	w.fetched = newMailbox[*incoming]()
}

func (n *Node) runWriter() {
	log := n.Replica.Log()
	ticker := n.Clock.NewTicker(idleInterval)
	defer ticker.Stop()
	var appends []*replica.Append
	var cuts []cut
	var spares []string
	busy := true
	for {
		appends = n.writer.box.take(appends)
		if len(appends) > 0 {
			busy = true
			if err := n.writeLog(appends); err != nil {
				n.failUnlessStopping(err)
				return
			}
			log.Evict(n.evictable())
			n.wantSpare()
		}
		spares = n.writer.spares.take(spares)
		for _, made := range spares {
			n.writer.preparing = false
			if made == "" {
				continue
			}
			if err := log.AddSpare(made); err != nil {
				n.Fail(err)
				return
			}
		}
		cuts = n.writer.truncate.take(cuts)
		for _, c := range cuts {
			if n.refetching() || c.store != n.DB() {
				continue // a later cut takes it with it
			}
			if err := log.Truncate(c.through); err != nil {
				n.Fail(err)
				return
			}
		}
		for _, in := range n.writer.fetched.take(nil) {
			if err := n.adoptRefetched(in); err != nil {
				n.failUnlessStopping(err)
				return
			}
		}
		if len(appends) > 0 {
			continue // more may have come meanwhile
		}
		select {
		case <-n.stop:
			return
		case <-n.failed:
			return
		case <-n.writer.box.wake:
		case <-n.writer.truncate.wake:
		case <-n.writer.spares.wake:
		case <-n.writer.fetched.wake:
		case <-ticker.C():
			if busy {
				busy = false // idle only if nothing comes until the next tick
				continue
			}
			if err := log.Mark(); err != nil {
				n.Fail(err)
				return
			}
			n.wantSpare()
		}
	}
}

// wantSpare asks the preparer for the next segment if none is ready. One may be there although the last could not be made:
// a cut of the log leaves its old segments for use.
func (n *Node) wantSpare() {
	if !n.Replica.Log().WantsSpare() {
		n.space.spareReady()
		return
	}
	if !n.writer.preparing {
		n.writer.preparing = true
		n.writer.prepare <- struct{}{} // there is room: the token before has been answered
	}
}

// runPreparer makes the log's next segment beside the writer, so that nobody waits for it.
func (n *Node) runPreparer() {
	for {
		select {
		case <-n.stop:
			return
		case <-n.failed:
			return
		case <-n.writer.prepare:
		}
		made, err := n.Replica.Log().MakeSpare()
		if err != nil {
			// Not a failure yet: the segment in use still has room, and the guard of free space refuses growth before it
			// is gone. The writer asks again.
			n.space.spareFailed(err)
		} else {
			n.space.spareReady()
		}
		n.writer.spares.put(made) // "" after an error
	}
}
