package node

import (
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"holdfast/internal/kind"
	"holdfast/internal/member"
	"holdfast/internal/transport"
)

// peers is whom this member talks to, as of the last applied change of the membership.
type peers struct {
	removed atomic.Pointer[map[kind.MemberID]bool]
	told    struct {
		sync.Mutex
		everyone []member.Member // what the transport was told of last
	}
}

// tellPeers tells the transport whom to talk to and whom to turn away.
func (n *Node) tellPeers() {
	n.peers.told.Lock()
	defer n.peers.told.Unlock()
	everyone := n.Replica.Machine().Everyone()
	n.peers.told.everyone = everyone
	var list []transport.Peer
	var gone []kind.MemberID
	removed := make(map[kind.MemberID]bool)
	for _, m := range everyone {
		switch {
		case m.Removed:
			gone = append(gone, m.ID)
			removed[m.ID] = true
		default:
			list = append(list, transport.Peer{ID: m.ID, URLs: slices.Clone(m.PeerURLs)})
		}
	}
	n.peers.removed.Store(&removed)
	n.Transport.SetPeers(list, gone)
}

// membersApplied is called with every batch, so it looks before it does anything. It comes before the callers of the
// batch are answered: who has been told that a member was added finds it spoken to.
func (n *Node) membersApplied() {
	everyone := n.Replica.Machine().Everyone()
	n.peers.told.Lock()
	told := n.peers.told.everyone
	n.peers.told.Unlock()
	if len(everyone) == len(told) && (len(told) == 0 || &everyone[0] == &told[0]) {
		return
	}
	n.tellPeers()
	for _, m := range everyone {
		if m.ID == n.Identity.Member && m.Removed {
			n.removed(ErrRemoved)
		}
	}
}

// isRemoved reports whether a member is known to have been removed.
func (n *Node) isRemoved(id kind.MemberID) bool {
	removed := n.peers.removed.Load()
	return removed != nil && (*removed)[id]
}

// removed stops the member because the cluster has removed it. It lingers for an election timeout: what it has still to
// send may be what the others wait for.
func (n *Node) removed(why error) {
	n.order(func(l *loopState) error {
		if l.leave == 0 {
			l.Logger.Info("the cluster has removed this member; it stops", zap.Error(why))
			l.leave, l.leaving = l.now()+l.ElectionTimeout, why
		}
		return nil
	})
}

// order has the loop do something.
func (n *Node) order(do func(*loopState) error) {
	n.ordered.put(do)
	n.loop.ring()
}
