package node

import (
	"context"
	"time"

	"holdfast/internal/command"
	"holdfast/internal/machine"
)

// requestTimeout is how long a command may take: etcd's five seconds for the queue and the disk, and two elections.
func (n *Node) requestTimeout() time.Duration { return 5*time.Second + 2*n.ElectionTimeout }

// timeoutError is what a command is told whose time has passed.
func (n *Node) timeoutError() error {
	if n.Status().Leader == 0 {
		return ErrTimeoutLeaderLoss
	}
	return ErrTimeout
}

// Propose puts a command into the log and returns the machine's reply to it. The origin is filled in here. A
// refusal of the machine is in the reply; an error means that there is none: ErrTooManyRequests, ErrRequestTooLarge
// and ErrLeaderChanged when the command was certainly not appended, otherwise its fate is unknown (the timeouts,
// ErrStopped, and ctx's own error). The command's payload must not change afterwards.
func (n *Node) Propose(ctx context.Context, c command.Command) (machine.Reply, error) {
	if len(c.Payload) > n.MaxRequestBytes {
		return machine.Reply{}, ErrRequestTooLarge
	}
	c.Origin = command.Origin{Member: n.Identity.Member, Boot: n.Boot}
	p := n.queue.used.Get().(*proposal)
	p.command = c
	p.deadline = n.now() + n.requestTimeout()
	first, err := n.queue.add(p)
	if err != nil {
		n.queue.used.Put(p)
		return machine.Reply{}, err
	}
	if first {
		n.loop.ring()
	}
	return n.queue.wait(ctx, p)
}
