package node

import (
	"holdfast/internal/command"
	"holdfast/internal/machine"
)

// VersionDue returns the command that raises the cluster to the latest version of the machine that every member can act
// like, if this member leads and there is a later one than that in force. All members must be connected: what one that is
// away could do when it was last seen says nothing about what it is started with next.
func (n *Node) VersionDue() (command.Command, bool) {
	now := n.applied.Load().MachineVersion
	if machine.Latest() <= now {
		return command.Command{}, false
	}
	if _, leading := n.ClusterTime(); !leading {
		return command.Command{}, false
	}
	can := machine.Latest()
	for _, m := range n.Replica.Machine().Members() {
		if m.ID == n.Identity.Member {
			continue
		}
		if _, connected := n.Transport.Active(m.ID); !connected {
			return command.Command{}, false
		}
		hello, known := n.Transport.Hello(m.ID)
		if !known {
			return command.Command{}, false
		}
		can = min(can, hello.MachineMax)
	}
	if can <= now {
		return command.Command{}, false
	}
	raise := command.VersionRaise{Version: can}
	return command.Command{Kind: command.KindVersionRaise, AuthRevision: command.ByMember, Payload: command.AppendVersionRaise(nil, &raise)}, true
}
