package machine

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/member"
)

// Configure applies the entry of a change of Raft's configuration, which is cs after it. context is what the change
// carries: an entry that holds one command of kind MemberChange, or nothing if the change ends a joint configuration or
// came to nothing. The records of the members follow the configuration; the body of the reply has the field members of
// a MemberListResponse. Raft has taken the change over already, so nothing can be refused here: its leader has checked
// it (member.Check) when everything before it was applied.
func (p *Pending) Configure(at kind.Position, cs *raftpb.ConfState, context []byte) error {
	return p.guard(at, func() error { return p.configure(at, cs, context) })
}

func (p *Pending) configure(at kind.Position, cs *raftpb.ConfState, context []byte) error {
	if p.machine.cursor != nil {
		return fmt.Errorf("%w: entry %d changes the configuration", ErrCursor, at.Index)
	}
	after := p.applied
	after.Position = at
	var change command.MemberChange
	var origin *command.Origin
	if len(context) > 0 {
		if err := p.entry.Decode(context); err != nil {
			return fmt.Errorf("%w: the change of the configuration: %w", ErrUnknownEntry, err)
		}
		version := known(after.MachineVersion)
		if len(p.entry.Commands) != 1 || p.entry.Commands[0].Kind != command.KindMemberChange || !version.executes(command.KindMemberChange) {
			return fmt.Errorf("%w: the change of the configuration does not carry one change of the membership", ErrUnknownEntry)
		}
		c := &p.entry.Commands[0]
		var whole bool
		var err error
		change, whole, err = command.DecodeMemberChange(c.Payload)
		if err := understood(whole && change.Check() == nil, err); err != nil {
			return err
		}
		origin = &c.Origin
		after.Elapsed = max(after.Elapsed, p.entry.Elapsed)
	}
	p.digest.seed = known(after.MachineVersion).seed
	p.digest.entry(at.Index, after.Elapsed)
	members := p.records()
	changed := member.Follow(members, change, cs)
	members = slices.Clone(members)
	p.confState = cs
	p.digest.member(0, member.EncodeConfState(cs))
	member.WriteConfState(p.machine.batch.Set, cs)
	for _, m := range changed {
		members = p.setMember(members, m)
		if m.Removed {
			p.clearAlarmsOf(m.ID)
		}
	}
	if err := CheckMembers(members, cs); err != nil {
		return err
	}
	p.members = members
	p.digest.end()
	p.writer.Fill(&after)
	p.digest.counted(&after)
	after.Digest = p.digest.value
	p.mark(&after)
	checkStep(&p.applied, &after, 0)
	p.applied = after
	if origin != nil && origin.Member == p.local.Member && origin.Boot == p.local.Boot {
		p.replies = append(p.replies, Reply{Origin: *origin, Revision: after.Revision, Body: appendMembers(nil, members, cs)})
	}
	return nil
}

// MembersChanged reports whether the batch changes who the members are or where they are reached; they are read from
// the machine after Commit.
func (p *Pending) MembersChanged() bool { return p.members != nil }

// memberCommand executes what changes members and not the configuration. It leaves a command of the keys open.
func (p *Pending) memberCommand(c *command.Command) (refused, err error) {
	p.writer.BeginCommand()
	var id kind.MemberID
	var set func(*member.Member)
	switch c.Kind {
	case command.KindMemberPublish:
		publish, whole, err := command.DecodeMemberPublish(c.Payload)
		if err := understood(whole, err); err != nil {
			return nil, err
		}
		id = publish.ID
		set = func(m *member.Member) { m.Name, m.ClientURLs = publish.Name, publish.ClientURLs }
	case command.KindMemberUpdate:
		update, whole, err := command.DecodeMemberUpdate(c.Payload)
		if err := understood(whole, err); err != nil {
			return nil, err
		}
		if refused := p.permitted(c, &update); refused != nil {
			return refused, nil
		}
		if refused := member.CheckUpdate(update, p.records()); refused != nil {
			return refused, nil
		}
		id = update.ID
		set = func(m *member.Member) { m.PeerURLs = update.PeerURLs }
	}
	members := slices.Clone(p.records())
	i, found := slices.BinarySearchFunc(members, id, byMemberID)
	switch {
	case !found:
		return member.ErrIDNotFound, nil
	case members[i].Removed:
		return member.ErrIDRemoved, nil
	}
	now := members[i]
	if set(&now); !now.Equal(members[i]) {
		p.members = p.setMember(members, now)
		members = p.members
	}
	if r := &p.run; r.want {
		cs := p.confState
		if cs == nil {
			cs = p.machine.confState.Load()
		}
		r.body = appendMembers(r.body, members, cs)
	}
	return nil, nil
}

// records returns all members as of the entry under way; the list must not be changed.
func (p *Pending) records() []member.Member {
	if p.members != nil {
		return p.members
	}
	return *p.machine.members.Load()
}

// setMember puts a record into the batch and into the list, which it returns.
func (p *Pending) setMember(members []member.Member, m member.Member) []member.Member {
	p.digest.member(m.ID, member.Encode(m))
	member.Write(p.machine.batch.Set, m)
	i, found := slices.BinarySearchFunc(members, m.ID, byMemberID)
	if !found {
		return slices.Insert(members, i, m)
	}
	members[i] = m
	return members
}

func byMemberID(m member.Member, id kind.MemberID) int {
	switch {
	case m.ID < id:
		return -1
	case m.ID > id:
		return 1
	}
	return 0
}

// present returns the members that were not removed.
func present(all []member.Member) []member.Member {
	if !slices.ContainsFunc(all, func(m member.Member) bool { return m.Removed }) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(m member.Member) bool { return m.Removed })
}

// appendMembers appends the field members of a MemberListResponse for each member that stays in the cluster.
func appendMembers(dst []byte, members []member.Member, cs *raftpb.ConfState) []byte {
	text := func(b []byte, tag byte, s string) []byte {
		return append(appendVarint(append(b, tag), uint64(len(s))), s...)
	}
	for _, m := range members {
		if m.Removed || member.Leaving(m.ID, cs) {
			continue
		}
		b := appendVarint([]byte{tagMemberID}, uint64(m.ID))
		if m.Name != "" {
			b = text(b, tagMemberName, m.Name)
		}
		for _, url := range m.PeerURLs {
			b = text(b, tagMemberPeerURL, url)
		}
		for _, url := range m.ClientURLs {
			b = text(b, tagMemberClientURL, url)
		}
		if m.Learner {
			b = append(b, tagMemberLearner, 1)
		}
		dst = appendMessage(dst, tagMembers, b)
	}
	return dst
}
