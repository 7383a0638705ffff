package node

import (
	"slices"
	"time"

	"holdfast/internal/command"
	"holdfast/internal/machine"
)

// roomFor is how long a member must have been under its quota, with something to spare, before it clears its alarm about
// room. Who clears it by hand meanwhile finds what etcd's manual says. When room is back on the disk there is nothing to
// wait for.
const roomFor = time.Minute

// ownAlarm is what AlarmDue remembers from one call to the next. It belongs to its caller.
type ownAlarm struct {
	disk  bool          // it was raised for the disk alone
	roomy bool          // there is room
	since time.Duration // when there began to be, in the node's time
}

// Alarms lists the alarms that are raised in the cluster. This member's own is among them from the moment at which it
// refuses commands, the cluster's record of it follows.
func (n *Node) Alarms() []machine.Alarm {
	alarms := n.Replica.Machine().Alarms()
	if i := slices.Index(alarms, machine.Alarm{Type: command.AlarmDowngrade}); i >= 0 {
		alarms = slices.Delete(slices.Clone(alarms), i, i+1)
	}
	add := func(of command.AlarmType, raised bool) {
		if own := (machine.Alarm{Member: n.Identity.Member, Type: of}); raised && !slices.Contains(alarms, own) {
			alarms = append(slices.Clone(alarms), own)
		}
	}
	add(command.AlarmNoSpace, n.noRoom())
	// Where it stands against all members, this one refuses without being suspected more than they are.
	add(command.AlarmCorrupt, n.Corrupt() && !slices.Contains(alarms, machine.Alarm{Type: command.AlarmCorrupt}))
	return alarms
}

// Downgrading reports whether the cluster is to go to the minor version before.
func (n *Node) Downgrading() bool {
	return slices.Contains(n.Replica.Machine().Alarms(), machine.Alarm{Type: command.AlarmDowngrade})
}

// alarmed reports whether an alarm of this type is raised for any member.
func (n *Node) alarmed(of command.AlarmType) bool {
	for _, a := range n.Replica.Machine().Alarms() {
		if a.Type == of {
			return true
		}
	}
	return false
}

// AlarmDue returns the command by which this member raises its alarm about room, or clears it, if it is time for that.
// It is for one caller, who asks a few times a second and proposes what it gets.
func (n *Node) AlarmDue() (command.Command, bool) {
	if c, due := n.corruptDue(); due {
		return c, true
	}
	change := command.Alarm{Member: n.Identity.Member, Type: command.AlarmNoSpace}
	raised := slices.Contains(n.Replica.Machine().Alarms(), machine.Alarm{Member: change.Member, Type: change.Type})
	own := &n.space.alarm
	switch roomy := n.QuotaBytes == 0 || n.applied.Load().LiveBytes <= n.QuotaBytes/8*7; {
	case n.noRoom():
		own.roomy = false
		if raised {
			own.disk = own.disk && !n.overQuota()
			return command.Command{}, false
		}
		own.disk = !n.overQuota()
		change.Action = command.AlarmRaise
	case !raised:
		return command.Command{}, false
	case own.disk:
		change.Action = command.AlarmClear
	case !roomy:
		own.roomy = false
		return command.Command{}, false
	case !own.roomy:
		own.roomy, own.since = true, n.now()
		return command.Command{}, false
	case n.now()-own.since < roomFor:
		return command.Command{}, false
	default:
		change.Action = command.AlarmClear
	}
	return command.Command{Kind: command.KindAlarm, AuthRevision: command.ByMember, Payload: command.AppendAlarm(nil, &change)}, true
}
