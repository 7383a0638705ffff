package node

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/datadir"
	"holdfast/internal/machine"
	"holdfast/internal/store"
)

// Stores is where the stores of a member lie and how one is opened. Snapshots of other members become stores beside the
// current one, and then take its place.
type Stores struct {
	Dir *datadir.Dir // the node's alone while it runs
	// Open opens the store in a directory, and the machine of it. Nobody else may be using it.
	Open func(path string) (*machine.Machine, error)
}

// retireGrace is how long a store that was replaced stays open at least: who has asked for the current one just before
// finds it usable.
const retireGrace = 2 * time.Second

// stores is what a node knows of its stores beside the current one.
type stores struct {
	dir     sync.Mutex // one caller of Stores.Dir at a time
	closing mailbox[*retired]
}

// retired is a store that is not current any more, or never was. It is closed when its last reader has gone, and removed.
type retired struct {
	name    string           // of its directory
	machine *machine.Machine // nil if it is not open
	since   time.Duration
	grace   time.Duration
}

// next makes the directory of a new store.
func (n *Node) nextStore() (name, path string, err error) {
	n.stores.dir.Lock()
	defer n.stores.dir.Unlock()
	return n.Stores.Dir.NextStoreDir()
}

// retire has a store closed and removed when its last reader has gone. The grace is for those who are about to read.
func (n *Node) retire(name string, m *machine.Machine, grace time.Duration) {
	n.stores.closing.put(&retired{name, m, n.now(), grace})
}

// remove closes and removes a store if nobody reads it any more, and reports whether it is gone. A directory that cannot
// be removed is left to the next start.
func (n *Node) remove(r *retired) bool {
	if n.now()-r.since < r.grace || !r.close() {
		return false
	}
	n.stores.dir.Lock()
	defer n.stores.dir.Unlock()
	if err := n.Stores.Dir.RemoveStore(r.name); err != nil {
		n.Logger.Warn("an old store could not be removed; the next start tries again", zap.String("store", r.name), zap.Error(err))
	}
	return true
}

// close closes a store unless somebody reads it.
func (r *retired) close() bool {
	if r.machine == nil {
		return true
	}
	if !r.machine.DB().Shut() {
		return false
	}
	closeStore(r.machine)
	r.machine = nil
	return true
}

// closeStore closes a store that is not needed any more, whatever state it is in.
func closeStore(m *machine.Machine) error {
	return errors.Join(m.Close(), m.DB().Close(false))
}

// runStores sends snapshots that are wanted, ends those that take too long, and closes and removes old stores.
func (n *Node) runStores() {
	ticker := n.Clock.NewTicker(keepInterval)
	defer ticker.Stop()
	var come, old []*retired
	defer func() {
		n.stores.closing.put(old...) // endStores closes them
		n.snapshots.close()
	}()
	for {
		come = n.stores.closing.take(come)
		old = append(old, come...)
		rest := old[:0]
		for _, r := range old {
			if !n.remove(r) {
				rest = append(rest, r)
			}
		}
		clear(old[len(rest):])
		old = rest
		n.snapshots.expire(n)
		for _, m := range n.snapshots.wanted.take(nil) {
			n.sendSnapshot(m)
		}
		select {
		case <-n.stop:
			return
		case <-n.failed:
			return
		case <-ticker.C():
		case <-n.stores.closing.wake:
		case <-n.snapshots.wanted.wake:
		}
	}
}

// endStores closes the old stores that are left when every goroutine has ended. Their directories go at the next start.
func (n *Node) endStores() {
	for _, r := range n.stores.closing.take(nil) {
		r.close()
	}
}

// errNoStores refuses snapshots on a node that was given nothing to keep them in.
var errNoStores = errors.New("this member was started without a place for snapshots")

// openStore opens a finished store that was built beside the current one.
func (n *Node) openStore(path string) (*machine.Machine, error) {
	m, err := n.Stores.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the store of a snapshot: %w", err)
	}
	if m.DB().Identity != n.Identity {
		return nil, errors.Join(fmt.Errorf("%w: %s", store.ErrIdentity, path), closeStore(m))
	}
	return m, nil
}
