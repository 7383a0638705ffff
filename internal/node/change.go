package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.uber.org/zap"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/member"
)

// ChangeMembers changes who belongs to the cluster, all steps together or none, and returns the machine's reply, whose
// body is the members after it. It may be called on any member. The leader decides, by member.Check, when every earlier
// change is applied; its refusals are those of member and command.ErrMemberChange. Otherwise the errors are those of
// Propose.
func (n *Node) ChangeMembers(ctx context.Context, change command.MemberChange) (machine.Reply, error) {
	if err := change.Check(); err != nil {
		return machine.Reply{}, err
	}
	return n.Propose(ctx, command.Command{
		Kind: command.KindMemberChange, AuthRevision: command.ByMember, Payload: command.AppendMemberChange(nil, &change)})
}

// changes are the changes of the membership that wait with the leader. It proposes one at a time: only when the first
// entry of its term and every change before are applied, so that what it checks is what the change will meet (Raft
// thesis, section 4.1, and the correction of 2015: a leader has to commit an entry of its term first).
type changes struct {
	waiting     []waitingChange
	configuring int        // changes that the applier has not finished
	applied     kind.Index // of the last that it has
	proposed    kind.Term  // a change was proposed in this term and has not come back; 0 if none
	handedOver  kind.Term  // in this term the leader has tried to hand over because a change removes it
}

type waitingChange struct {
	term    kind.Term
	command command.Command
}

func (c *changes) add(term kind.Term, cmd command.Command) {
	c.waiting = append(c.waiting, waitingChange{term, cmd})
}

// divert moves the changes of the membership out of a batch: they never are in an entry beside other commands.
func (l *loopState) divert(batch []*proposal, term kind.Term) []*proposal {
	rest := batch[:0]
	for _, p := range batch {
		if p.command.Kind == command.KindMemberChange {
			l.changes.add(term, p.command)
			l.loop.ring()
			continue
		}
		rest = append(rest, p)
	}
	return rest
}

// change proposes the next change of the membership, if it is time for it.
func (l *loopState) change() error {
	c := &l.changes
	if c.proposed != 0 && c.proposed != l.state.Term {
		c.proposed = 0
	}
	for len(c.waiting) > 0 {
		next := c.waiting[0]
		switch {
		case l.state.Role != raft.StateLeader || next.term != l.state.Term:
			l.answerChange(reasonAgain, "")
			continue
		case !l.changeable():
			return nil
		}
		if done, err := l.proposeChange(next); err != nil || !done {
			return err
		}
	}
	return nil
}

// changeable reports whether everything that a change has to wait for is applied.
func (l *loopState) changeable() bool {
	lead, c := l.leading.Load(), &l.changes
	return lead != nil && lead.term == l.state.Term && lead.began && l.state.Applied >= lead.at &&
		c.proposed == 0 && c.configuring == 0 && l.state.Applied >= c.applied && !l.state.Joint
}

// answerChange refuses the change that waits longest.
func (l *loopState) answerChange(why reason, text string) {
	next := l.changes.waiting[0]
	l.changes.waiting = l.changes.waiting[1:]
	l.refuse(next.command.Origin.Member, why, next.term, text, []uint64{next.command.Origin.Sequence})
}

// proposeChange decides about the change that waits longest. done says that it waits no more.
func (l *loopState) proposeChange(next waitingChange) (done bool, err error) {
	change, known, err := command.DecodeMemberChange(next.command.Payload)
	if err != nil || !known {
		l.answerChange(reasonText, command.ErrMemberChange.Error())
		return true, nil
	}
	m := l.Replica.Machine()
	switch err := member.Check(change, m.Everyone(), m.ConfState(), l.activity()); {
	case errors.Is(err, member.ErrUnderWay):
		return false, nil
	case err != nil:
		l.Logger.Warn("a change of the membership is refused", zap.Error(err))
		l.answerChange(reasonText, err.Error())
		return true, nil
	}
	if removes(change, l.Identity.Member) && l.changes.handedOver != l.state.Term {
		// Who leads without being a member would stop in the middle: another does it. Should nobody take over, the change
		// comes again, and is made all the same.
		l.changes.handedOver = l.state.Term
		if to, found := l.successor(func(id kind.MemberID) bool { return removes(change, id) }, 0); found {
			l.Logger.Info("handing over before this member is removed", zap.Stringer("to", to))
			l.Replica.Transfer(to)
			l.answerChange(reasonAgain, "")
			return true, l.dispatch()
		}
	}
	entry := command.AppendEntryHeader(nil, l.elapsed(), l.Clock.Wall().UnixNano(), 1)
	entry = command.AppendCommand(entry, &next.command)
	switch err := l.Replica.ProposeChange(member.Proposal(change, entry)); {
	case errors.Is(err, raft.ErrProposalDropped):
		// As long as this member leads, asking again at once would only be dropped again.
		l.answerChange(l.whyDropped(), "")
		return true, nil
	case err != nil:
		return false, fmt.Errorf("propose a change of the membership: %w", err)
	}
	l.changes.proposed = l.state.Term
	l.changes.waiting = l.changes.waiting[1:]
	return true, l.dispatch()
}

func removes(change command.MemberChange, id kind.MemberID) bool {
	for _, s := range change.Steps {
		if s.Op == command.RemoveMember && s.ID == id {
			return true
		}
	}
	return false
}

// activity is what the leader knows about how the cluster does.
func (l *loopState) activity() member.Activity {
	a := member.Activity{Leader: l.Identity.Member, Peers: make(map[kind.MemberID]member.Peer),
		Strict: l.StrictReconfiguration, MaxLearners: l.MaxLearners}
	a.Peers[a.Leader] = member.Peer{Connected: true, Settled: true, Match: l.state.Last}
	l.progress = l.Replica.Followers(l.progress[:0])
	for _, f := range l.progress {
		since, ok := l.Transport.Active(f.ID)
		a.Peers[f.ID] = member.Peer{Connected: ok, Match: f.Match,
			Settled: ok && l.Clock.Wall().Sub(since) >= time.Duration(member.HealthInterval)}
	}
	return a
}

// memberRefusals are the refusals that travel as their texts.
var memberRefusals = []error{
	member.ErrIDNotFound, member.ErrIDRemoved, member.ErrIDExists, member.ErrPeerURLExists, member.ErrNotLearner,
	member.ErrLearnerNotReady, member.ErrTooManyLearners, member.ErrNotEnoughStarted, member.ErrUnhealthy,
	command.ErrMemberChange, ErrRequestTooLarge,
}

// refusalOf returns the refusal that has this text.
func refusalOf(text string) error {
	for _, err := range memberRefusals {
		if err.Error() == text {
			return err
		}
	}
	return errors.New(text)
}
