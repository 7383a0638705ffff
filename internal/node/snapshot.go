package node

import (
	"fmt"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
	"holdfast/internal/snapshot"
)

// The sending side. raft says that a member needs a snapshot; what it gets is a view of the store that is taken then.

// snapshots is what is under way.
type snapshots struct {
	wanted mailbox[*raftpb.Message] // MsgSnap of raft's

	mu struct {
		sync.Mutex
		count    uint64                      // of those sent so far; part of their ids
		sending  map[kind.MemberID]*outgoing // at most one to a member
		arriving *incoming                   // that is being built
		complete map[kind.Position]*incoming // that have arrived and wait for raft, or for the writer to adopt them
		refetch  *refetch                    // that this member has asked for
		shut     bool
	}
}

func (s *snapshots) init() {
	s.wanted = newMailbox[*raftpb.Message]()
	s.mu.sending = make(map[kind.MemberID]*outgoing)
	s.mu.complete = make(map[kind.Position]*incoming)
}

// outgoing is a snapshot that is being sent: a transport.Source.
type outgoing struct {
	*snapshot.Source
	node    *Node
	message *raftpb.Message
	since   time.Duration
}

// Message is the MsgSnap that announces the snapshot: raft's, but for where the snapshot stands.
func (o *outgoing) Message() *raftpb.Message { return o.message }

// Close ends the sending.
func (o *outgoing) Close() error {
	s := &o.node.snapshots
	to := kind.MemberID(o.message.GetTo())
	s.mu.Lock()
	if s.mu.sending[to] == o {
		delete(s.mu.sending, to)
	}
	s.mu.Unlock()
	return o.Source.Close()
}

// sendSnapshot sends one that raft wants sent. If that is not possible now, raft is told, and wants it again later.
func (n *Node) sendSnapshot(m *raftpb.Message) {
	to := kind.MemberID(m.GetTo())
	if err := n.startSnapshot(m, 0); err != nil {
		n.Logger.Debug("a snapshot is not sent now", zap.Stringer("member", to), zap.Error(err))
		n.order(func(l *loopState) error {
			l.Replica.SnapshotSent(to, false)
			return nil
		})
	}
}

// startSnapshot takes a view of the store and hands it to the transport, as the snapshot that m announces. An id of 0 is
// replaced by one of this member's.
func (n *Node) startSnapshot(m *raftpb.Message, id uint64) error {
	o, err := n.takeView(m, id)
	if err == nil {
		n.Transport.SendSnapshot(o)
	}
	return err
}

func (n *Node) takeView(m *raftpb.Message, id uint64) (*outgoing, error) {
	to := kind.MemberID(m.GetTo())
	s := &n.snapshots
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.shut:
		return nil, ErrStopped
	case s.mu.sending[to] != nil:
		return nil, fmt.Errorf("%w: one is on its way to that member", ErrTooManyRequests)
	case len(s.mu.sending) >= n.MaxSnapshots:
		return nil, fmt.Errorf("%w: as many as may be are on their way already", ErrTooManyRequests)
	}
	if id == 0 {
		s.mu.count++
		id = n.Boot + s.mu.count
	}
	source, err := snapshot.Open(n.DB(), id)
	if err != nil {
		return nil, err
	}
	at := source.Header().Position
	m = proto.Clone(m).(*raftpb.Message)
	m.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		ConfState: source.ConfState(), Index: new(uint64(at.Index)), Term: new(uint64(at.Term))}}
	// raft takes a change of the configuration over before the store does; until then its new member would not find
	// itself in the snapshot, and throw it away.
	if !configured(source.ConfState(), to) {
		_ = source.Close()
		return nil, fmt.Errorf("the store does not know yet that %v is a member", to)
	}
	o := &outgoing{Source: source, node: n, message: m, since: n.now()}
	s.mu.sending[to] = o
	n.Logger.Info("sending a snapshot", zap.Stringer("member", to), zap.Uint64("index", uint64(at.Index)),
		zap.Uint64("term", uint64(at.Term)), zap.Int64("bytes", source.Size()))
	return o, nil
}

// configured reports whether a member belongs to a configuration.
func configured(cs *raftpb.ConfState, id kind.MemberID) bool {
	for _, list := range [][]uint64{cs.GetVoters(), cs.GetLearners(), cs.GetVotersOutgoing()} {
		for _, have := range list {
			if have == uint64(id) {
				return true
			}
		}
	}
	return false
}

// claim takes out a complete snapshot that is about to be adopted. After close there is none.
func (s *snapshots) claim(at kind.Position) (*incoming, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.mu.complete[at]
	delete(s.mu.complete, at)
	if in == nil && s.mu.shut {
		return nil, errStopping
	}
	invariant.Check(in != nil, "the snapshot at %v that is to be adopted has not arrived", at)
	return in, nil
}

// expire closes the views that have lived too long: the transport finds them closed, and raft starts anew.
func (s *snapshots) expire(n *Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for to, o := range s.mu.sending {
		if n.SnapshotMaxAge > 0 && n.now()-o.since > n.SnapshotMaxAge {
			n.Logger.Warn("a snapshot takes longer to send than its view of the store may live; it begins anew",
				zap.Stringer("member", to), zap.Duration("limit", n.SnapshotMaxAge))
			_ = o.Source.Close()
		}
	}
}

// Sending returns to how many members snapshots are on their way.
func (n *Node) Sending() int {
	n.snapshots.mu.Lock()
	defer n.snapshots.mu.Unlock()
	return len(n.snapshots.mu.sending)
}

// close ends everything that is under way; nothing new begins.
func (s *snapshots) close() {
	s.mu.Lock()
	in := s.mu.arriving
	s.mu.shut, s.mu.arriving = true, nil
	s.mu.Unlock()
	if in != nil {
		in.end(ErrStopped)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.mu.sending {
		_ = o.Source.Close()
	}
	for _, in := range s.mu.complete {
		_ = closeStore(in.machine) // the next start removes it
	}
	clear(s.mu.complete)
}
