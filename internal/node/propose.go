package node

import (
	"context"
	"time"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
)

// requestTimeout is how long a command may take: etcd's five seconds for the queue and the disk, and two elections.
func (n *Node) requestTimeout() time.Duration { return 5*time.Second + 2*n.ElectionTimeout }

// timeoutError is what a command is told whose time has passed, in etcd's words: it says what is the most likely cause.
func (l *loopState) timeoutError(started time.Duration) error {
	if l.elected > 0 && started > l.elected-2*l.ElectionTimeout && started < l.elected {
		return ErrTimeoutLeaderLoss
	}
	switch l.state.Leader {
	case 0:
	case l.Identity.Member:
		if !l.connectedSince(started) {
			return ErrTimeoutConnLost
		}
	default:
		if !l.connectedWith(l.state.Leader, started) {
			return ErrTimeoutConnLost
		}
	}
	return ErrTimeout
}

// connectedWith reports whether a member has been connected since a moment of the node's time.
func (l *loopState) connectedWith(id kind.MemberID, since time.Duration) bool {
	began, ok := l.Transport.Active(id)
	return ok && l.Clock.Wall().Sub(began) >= l.now()-since
}

// connectedSince reports whether a majority has been connected since a moment of the node's time.
func (l *loopState) connectedSince(since time.Duration) bool {
	connected, voters := 0, l.Replica.Machine().ConfState().GetVoters()
	for _, id := range voters {
		if kind.MemberID(id) == l.Identity.Member || l.connectedWith(kind.MemberID(id), since) {
			connected++
		}
	}
	return connected > len(voters)/2
}

// Propose puts a command into the log and returns the machine's reply to it. The origin is filled in here. A
// refusal of the machine is in the reply; an error means that there is none: ErrTooManyRequests, ErrRequestTooLarge
// and ErrLeaderChanged when the command was certainly not appended, otherwise its fate is unknown (the timeouts,
// ErrCorrupt, since the member may find out that its state is wrong while it waits, ErrStopped, and ctx's own error). The command's payload must not change afterwards.
func (n *Node) Propose(ctx context.Context, c command.Command) (machine.Reply, error) {
	if n.Corrupt() && !isDuty(&c) {
		return machine.Reply{}, ErrCorrupt
	}
	if len(c.Payload) > n.MaxRequestBytes {
		return machine.Reply{}, ErrRequestTooLarge
	}
	c.Origin = command.Origin{Member: n.Identity.Member, Boot: n.Boot}
	p := n.queue.used.Get().(*proposal)
	p.command = c
	p.started = n.now()
	p.deadline = p.started + n.requestTimeout()
	first, err := n.queue.add(p)
	if err != nil {
		n.queue.used.Put(p)
		return machine.Reply{}, err
	}
	if first {
		n.loop.ring()
	}
	duty := isDuty(&c)
	reply, err := n.queue.wait(ctx, p)
	if err == nil && n.Corrupt() && !duty {
		return machine.Reply{}, ErrCorrupt // found meanwhile: the reply comes out of a state that is wrong
	}
	return reply, err
}
