package node

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/kind"
)

// keepInterval is how often the keeper looks at the log's length and the disk's free space.
const keepInterval = time.Second

// runKeeper flushes the store when the log above its durable index has grown long or old, so that the log can be cut
// and a start has little to apply again, and watches the disk.
func (n *Node) runKeeper() {
	ticker := n.Clock.NewTicker(keepInterval)
	defer ticker.Stop()
	durable, err := n.DB().Durable()
	if err != nil {
		n.Fail(fmt.Errorf("read the applied index that the store has flushed: %w", err))
		return
	}
	var kept kept
	var through kind.Index // up to where the writer was told to cut the log
	moved := n.now()       // when the durable index last moved, or nothing was above it
	var flushing <-chan struct{}
	db := n.DB()
	n.space.look(n)
	for {
		select {
		case <-n.stop:
			return
		case <-n.failed:
			return
		case <-flushing:
			flushing = nil
		case <-ticker.C():
		}
		n.space.look(n)
		if current := n.DB(); current != db {
			// A flush, or a cut, for the store before concerns nobody any more.
			db, flushing, through = current, nil, 0
		}
		now, err := db.Durable()
		if err != nil {
			n.Fail(fmt.Errorf("read the applied index that the store has flushed: %w", err))
			return
		}
		applied := n.applied.Load().Position.Index
		if now.Index > durable.Index {
			durable, moved = now, n.now()
		}
		if now.Index < durable.Index { // a store that was fetched anew stands lower, and the log still holds what is behind it
			durable, moved = now, n.now()
		}
		if next := n.cutThrough(&kept, n.cuttable(durable.Index)); next > through {
			through = next
			n.writer.truncate.put(cut{through, db}) // N3
		}
		if applied == durable.Index {
			moved = n.now()
		}
		if flushing == nil && n.flushDue(durable.Index, applied, n.now()-moved) {
			if flushing, err = db.AsyncFlush(); err != nil {
				n.Fail(fmt.Errorf("flush the store: %w", err))
				return
			}
		}
	}
}

// cuttable is up to where nobody on this member needs the log any more: the store has flushed it, and raft knows that it is
// applied. raft hears of that a little later, and looks through the entries between when it stands for election.
func (n *Node) cuttable(durable kind.Index) kind.Index {
	return min(durable, kind.Index(n.settled.Load()))
}

// flushDue reports whether the log above the durable index has become too long, or what it holds too old.
func (n *Node) flushDue(durable, applied kind.Index, age time.Duration) bool {
	if applied <= durable {
		return false
	}
	return n.Replica.Log().SizeSince(durable+1) > n.FlushLogBytes ||
		uint64(applied-durable) > n.FlushLogEntries ||
		age > n.FlushInterval
}

// logSpace tells the log once when room has become short and once when it is back.
func (n *Node) logSpace(short bool, free, want uint64, cause error) {
	if !short {
		n.Logger.Info("there is room on the disk again; writes that grow the store are accepted")
		return
	}
	n.Logger.Warn("the disk has too little room; writes that grow the store are refused, reads, deletes and compactions go on",
		zap.String("directory", n.Dir), zap.Uint64("free-bytes", free), zap.Uint64("wanted-bytes", want), zap.Error(cause))
}
