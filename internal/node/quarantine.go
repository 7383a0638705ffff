package node

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3"
	"go.uber.org/zap"

	"holdfast/internal/command"
	"holdfast/internal/digest"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/store"
)

// A member whose state is known to be wrong is in quarantine: it refuses reads and writes (ErrCorrupt), hands leadership
// over and does not stand for election, but goes on storing the log, voting and applying, so that the others have their
// majority. It gets there by the verdict of the majority about its digest, by damage of its store, or because the alarm
// CORRUPT stands against it. The first two outlive a restart and end with Repair alone; the alarm by itself ends when
// somebody clears it.
//
// Where no majority agrees, every member refuses for as long as that is so, and is not in quarantine.

// Hold keeps what outlives a restart. The zero value forgets; otherwise all functions are there.
type Hold struct {
	Cause   string                                 // why an earlier life was put into quarantine; empty if it was not
	Damaged bool                                   // because the store itself is damaged: nothing is applied to it
	Keep    func(cause string, damaged bool) error // durably
	Release func() error                           // durably
}

type quarantine struct {
	refusing atomic.Bool
	held     atomic.Bool
	isolated atomic.Bool // held, or alarmed for this member
	mu       struct {
		sync.Mutex
		cause    string
		doubtful bool
		alarmed  bool          // CORRUPT stands against this member
		everyone bool          // or against all, as member 0
		cleared  bool          // by a repair: the alarm is to go
		since    chan struct{} // closed while the member refuses
		alarms   []machine.Alarm
	}
}

func (n *Node) initQuarantine() {
	n.quarantine.mu.since = make(chan struct{})
	if n.Hold.Cause != "" {
		n.quarantine.mu.cause = n.Hold.Cause
		n.quarantine.held.Store(true)
		n.SetDiscarding(n.Hold.Damaged)
		n.Logger.Error("this member is in quarantine: it refuses reads and writes until \"holdfast member repair\" has fetched its state anew",
			zap.String("cause", n.Hold.Cause))
	}
	n.quarantine.mu.alarms = n.Replica.Machine().Alarms()
	n.readAlarms(n.quarantine.mu.alarms)
	n.weigh()
}

// Corrupt reports whether the member refuses reads and writes because of its state.
func (n *Node) Corrupt() bool { return n.quarantine.refusing.Load() }

// Refusing returns a channel that is closed when the member begins to refuse reads and writes because of its state; it is
// closed already while it does.
func (n *Node) Refusing() <-chan struct{} {
	n.quarantine.mu.Lock()
	defer n.quarantine.mu.Unlock()
	return n.quarantine.mu.since
}

// Quarantine returns why the member is in quarantine, or refuses without being in it, and empty if neither.
func (n *Node) Quarantine() string {
	q := &n.quarantine
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.mu.cause != "":
		return q.mu.cause
	case q.mu.alarmed:
		return "the alarm CORRUPT stands against this member"
	case q.mu.everyone:
		return "the alarm CORRUPT stands against all members"
	case q.mu.doubtful:
		return "the members' states differ, and no majority agrees"
	}
	return ""
}

// watching reports whether the member has to look at its standing again although nothing new was heard.
func (q *quarantine) watching() bool { return q.refusing.Load() }

// weigh brings what follows from the causes up to date.
func (n *Node) weigh() {
	q := &n.quarantine
	q.mu.Lock()
	held := q.mu.cause != ""
	isolated := held || q.mu.alarmed
	refuses := isolated || q.mu.doubtful || q.mu.everyone
	was, wasIsolated := q.refusing.Swap(refuses), q.isolated.Swap(isolated)
	q.held.Store(held)
	switch {
	case refuses && !was:
		close(q.mu.since)
	case !refuses && was:
		q.mu.since = make(chan struct{})
	}
	q.mu.Unlock()
	n.Metrics.quarantined.Set(oneIf(refuses))
	if refuses && !was {
		n.queue.refuse(ErrCorrupt)
	}
	if isolated != wasIsolated {
		n.order(func(l *loopState) error {
			l.Replica.Abstain(n.quarantine.isolated.Load())
			return nil
		})
	}
}

// refuse answers all that clients have proposed and that is undecided with err: what would be answered comes out of a state
// that is wrong.
func (q *queue) refuse(err error) {
	var list []*proposal
	q.mu.Lock()
	for sequence, p := range q.mu.pending {
		if !isDuty(&p.command) {
			p.gone = true
			list = append(list, q.remove(sequence))
		}
	}
	q.mu.Unlock()
	for _, p := range list {
		p.err = err
		p.done <- struct{}{}
	}
}

// hold puts the member into quarantine for a cause that outlives a restart.
func (n *Node) hold(cause string) {
	q := &n.quarantine
	q.mu.Lock()
	first := q.mu.cause == ""
	if first {
		q.mu.cause, q.mu.cleared = cause, false
	}
	q.mu.Unlock()
	if !first {
		return
	}
	n.weigh() // at once; the disk comes afterwards
	n.Logger.Error("this member's state is wrong: it refuses reads and writes until \"holdfast member repair\" has fetched its state anew",
		zap.String("cause", cause))
	if err := n.keepHold(cause, false); err != nil {
		n.Logger.Error("the quarantine could not be noted; a restart forgets it until the members compare again", zap.Error(err))
	}
}

func (n *Node) keepHold(cause string, damaged bool) error {
	if n.Hold.Keep == nil {
		return nil
	}
	n.stores.dir.Lock()
	defer n.stores.dir.Unlock()
	return n.Hold.Keep(cause, damaged)
}

// differsCause says why the digest has put this member into quarantine.
func differsCause(v digest.Verdict) string {
	return fmt.Sprintf("after entry %d the digest of its state is %016x, that of the majority %016x", v.At.Index, v.At.Digest, v.Majority)
}

// doubt refuses while no majority agrees.
func (n *Node) doubt(v digest.Verdict) {
	q := &n.quarantine
	doubtful := v.Standing == digest.Doubtful
	q.mu.Lock()
	was := q.mu.doubtful
	q.mu.doubtful = doubtful
	q.mu.Unlock()
	if doubtful == was {
		return
	}
	if doubtful {
		n.Logger.Error("the members' states differ, and no majority agrees: reads and writes are refused until one does",
			zap.Uint64("index", uint64(v.At.Index)), zap.Uint64("digest", v.At.Digest))
	} else {
		n.Logger.Info("the members' states are decided upon again", zap.Stringer("standing", v.Standing))
	}
	n.weigh()
}

// alarmsApplied is called with every batch, so it looks before it does anything.
func (n *Node) alarmsApplied() {
	alarms := n.Replica.Machine().Alarms()
	q := &n.quarantine
	q.mu.Lock()
	same := len(alarms) == len(q.mu.alarms) && (len(alarms) == 0 || &alarms[0] == &q.mu.alarms[0])
	q.mu.alarms = alarms
	q.mu.Unlock()
	if same {
		return
	}
	n.readAlarms(alarms)
	n.weigh()
}

func (n *Node) readAlarms(alarms []machine.Alarm) {
	q := &n.quarantine
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.alarmed = slices.Contains(alarms, machine.Alarm{Member: n.Identity.Member, Type: command.AlarmCorrupt})
	q.mu.everyone = slices.Contains(alarms, machine.Alarm{Type: command.AlarmCorrupt})
	if !q.mu.alarmed {
		q.mu.cleared = false
	}
}

// corruptDue returns the command by which a member in quarantine raises its alarm, or clears it after a repair.
func (n *Node) corruptDue() (command.Command, bool) {
	q := &n.quarantine
	q.mu.Lock()
	held, alarmed, cleared := q.mu.cause != "", q.mu.alarmed, q.mu.cleared
	q.mu.Unlock()
	switch {
	case held && !alarmed:
		return corruptAlarm(command.AlarmRaise, n.Identity.Member), true
	case cleared && alarmed:
		return corruptAlarm(command.AlarmClear, n.Identity.Member), true
	}
	return command.Command{}, false
}

func corruptAlarm(action command.AlarmAction, id kind.MemberID) command.Command {
	a := command.Alarm{Action: action, Member: id, Type: command.AlarmCorrupt}
	return command.Command{Kind: command.KindAlarm, AuthRevision: command.ByMember, Payload: command.AppendAlarm(nil, &a)}
}

// isCorrupt reports whether the alarm CORRUPT stands against a member: it would not take leadership over.
func (n *Node) isCorrupt(id kind.MemberID) bool {
	return slices.Contains(n.Replica.Machine().Alarms(), machine.Alarm{Member: id, Type: command.AlarmCorrupt})
}

// resign is called with every tick: a leader in quarantine hands over, and tries again until somebody takes over.
func (l *loopState) resign() {
	if !l.quarantine.isolated.Load() || l.state.Role != raft.StateLeader || l.state.Transferee != 0 {
		return
	}
	if to, found := l.successor(nil, 0); found {
		l.Logger.Info("handing over because this member is in quarantine", zap.Stringer("to", to))
		l.Replica.Transfer(to)
	}
}

// alone reports whether there is no other voter, from whom the state could be fetched.
func (n *Node) alone() bool {
	for _, id := range n.Replica.Machine().ConfState().GetVoters() {
		if kind.MemberID(id) != n.Identity.Member {
			return false
		}
	}
	return true
}

// advised says what can be done about a damaged store, after an error that is one.
func (n *Node) advised(err error) error {
	var damage *store.Corruption
	if !errors.As(err, &damage) {
		return err
	}
	return fmt.Errorf("%w; %s", err, n.remedy())
}

func (n *Node) remedy() string {
	if n.alone() {
		return "restore the data directory from a backup; \"holdfast inspect store --check\" lists all that is damaged"
	}
	return "start the member again: it then serves nothing, and \"holdfast member repair\" at its endpoint fetches its state anew from the other members"
}

// holdDamaged lets the next life begin in quarantine, if it is damage that has ended this one and there is somebody to
// fetch the state from.
func (n *Node) holdDamaged(failure error) {
	var damage *store.Corruption
	if !errors.As(failure, &damage) || n.alone() {
		return
	}
	if err := n.keepHold(damage.Error(), true); err != nil {
		n.Logger.Error("the quarantine could not be noted", zap.Error(err))
	}
}
