package command

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"holdfast/internal/kind"
)

// MemberPublish says what a member that has started calls itself, and where clients reach it. The member proposes
// it of itself.
type MemberPublish struct {
	ID         kind.MemberID
	Name       string
	ClientURLs []string
}

// MemberUpdate gives a member other peer URLs. It does not touch Raft's configuration.
type MemberUpdate struct {
	ID       kind.MemberID
	PeerURLs []string
}

// MemberOp is one thing that a MemberChange does to one member. The numbers are part of the format of an entry.
type MemberOp uint8

const (
	AddVoter      MemberOp = 1 // a new member that votes at once
	AddLearner    MemberOp = 2 // a new member that receives the log and does not vote
	PromoteMember MemberOp = 3 // a learner becomes a voter
	RemoveMember  MemberOp = 4
)

// MemberStep is one step of a MemberChange.
type MemberStep struct {
	Op       MemberOp
	ID       kind.MemberID
	PeerURLs []string // of a member that is added, nil otherwise
}

// MemberChange changes who belongs to the cluster. Several steps are one change: all of them happen, or none. It
// travels as the context of a change of Raft's configuration, never in an entry beside other commands.
type MemberChange struct{ Steps []MemberStep }

// ErrMemberChange refuses a change of the membership that no version would execute.
var ErrMemberChange = errors.New("a change of the membership has no step, an unknown one, or two for one member")

// Check refuses a change without steps, with an unknown one, one without an id, or with two for one member
// (ErrMemberChange).
func (c *MemberChange) Check() error {
	if len(c.Steps) == 0 {
		return ErrMemberChange
	}
	for i, s := range c.Steps {
		if s.Op < AddVoter || s.Op > RemoveMember || s.ID == 0 {
			return ErrMemberChange
		}
		for _, before := range c.Steps[:i] {
			if before.ID == s.ID {
				return ErrMemberChange
			}
		}
	}
	return nil
}

// AlarmAction has the numbers of the wire. A get is never proposed.
type AlarmAction int32

const (
	AlarmGet   AlarmAction = 0
	AlarmRaise AlarmAction = 1
	AlarmClear AlarmAction = 2
)

// AlarmType has the numbers of the wire.
type AlarmType int32

const (
	AlarmNone    AlarmType = 0
	AlarmNoSpace AlarmType = 1 // no command that grows the store is taken
	AlarmCorrupt AlarmType = 2 // the state of the member differs from the majority's

	// AlarmDowngrade is no alarm, and has no number on the wire, but is kept as one, of the member 0: the cluster is to
	// go to the minor version before, as Maintenance.Downgrade has asked.
	AlarmDowngrade AlarmType = 100
)

// Alarm raises or clears an alarm of one member.
type Alarm struct {
	Action AlarmAction
	Member kind.MemberID
	Type   AlarmType
}

// VersionRaise moves the cluster to a later version of the machine, beginning with the entry after the one that
// carries it. A version that is not later changes nothing.
type VersionRaise struct{ Version uint32 }

// AppendMemberPublish appends p: id 1, name 2, a field 3 for each client URL.
func AppendMemberPublish(dst []byte, p *MemberPublish) []byte {
	dst = appendNumber(dst, 1, int64(p.ID))
	dst = appendBytes(dst, 2, []byte(p.Name))
	return appendStrings(dst, 3, p.ClientURLs)
}

// AppendMemberUpdate appends u as an etcdserverpb.MemberUpdateRequest.
func AppendMemberUpdate(dst []byte, u *MemberUpdate) []byte {
	return appendStrings(appendNumber(dst, 1, int64(u.ID)), 2, u.PeerURLs)
}

// AppendAlarm appends a as an etcdserverpb.AlarmRequest.
func AppendAlarm(dst []byte, a *Alarm) []byte {
	dst = appendNumber(dst, 1, int64(a.Action))
	dst = appendNumber(dst, 2, int64(a.Member))
	return appendNumber(dst, 3, int64(a.Type))
}

// AppendVersionRaise appends r: version 1.
func AppendVersionRaise(dst []byte, r *VersionRaise) []byte {
	return appendNumber(dst, 1, int64(r.Version))
}

// AppendMemberChange appends c: for each step a field 1, a message of operation 1, id 2 and a field 3 for each peer
// URL.
func AppendMemberChange(dst []byte, c *MemberChange) []byte {
	for i := range c.Steps {
		s := &c.Steps[i]
		dst = appendMessage(dst, 1, func(dst []byte) []byte {
			dst = appendNumber(dst, 1, int64(s.Op))
			dst = appendNumber(dst, 2, int64(s.ID))
			return appendStrings(dst, 3, s.PeerURLs)
		})
	}
	return dst
}

// DecodeMemberPublish reads what AppendMemberPublish writes. The strings are copies.
func DecodeMemberPublish(b []byte) (p MemberPublish, known bool, err error) {
	known, err = fields(b, func(number, v uint64) bool {
		p.ID = kind.MemberID(v)
		return number == 1
	}, func(number uint64, v []byte) bool {
		switch number {
		case 2:
			p.Name = string(v)
		case 3:
			p.ClientURLs = append(p.ClientURLs, string(v))
		default:
			return false
		}
		return true
	})
	return p, known, err
}

// DecodeMemberUpdate reads what AppendMemberUpdate writes. The strings are copies.
func DecodeMemberUpdate(b []byte) (u MemberUpdate, known bool, err error) {
	known, err = fields(b, func(number, v uint64) bool {
		u.ID = kind.MemberID(v)
		return number == 1
	}, func(number uint64, v []byte) bool {
		u.PeerURLs = append(u.PeerURLs, string(v))
		return number == 2
	})
	return u, known, err
}

// DecodeAlarm reads an etcdserverpb.AlarmRequest.
func DecodeAlarm(b []byte) (a Alarm, known bool, err error) {
	known, err = numbers(b, func(number, v uint64) bool {
		switch number {
		case 1:
			a.Action = AlarmAction(v)
		case 2:
			a.Member = kind.MemberID(v)
		case 3:
			a.Type = AlarmType(v)
		default:
			return false
		}
		return true
	})
	return a, known, err
}

// DecodeVersionRaise reads what AppendVersionRaise writes.
func DecodeVersionRaise(b []byte) (r VersionRaise, known bool, err error) {
	known, err = numbers(b, func(number, v uint64) bool {
		r.Version = uint32(v)
		return number == 1 && v == uint64(r.Version)
	})
	return r, known, err
}

// DecodeMemberChange reads what AppendMemberChange writes. The strings are copies.
func DecodeMemberChange(b []byte) (c MemberChange, known bool, err error) {
	var broken error
	known, err = byteFields(b, func(number uint64, v []byte) bool {
		if number != 1 {
			return false
		}
		var s MemberStep
		known, err := fields(v, func(number, v uint64) bool {
			switch number {
			case 1:
				s.Op = MemberOp(v)
				return v == uint64(s.Op)
			case 2:
				s.ID = kind.MemberID(v)
				return true
			}
			return false
		}, func(number uint64, v []byte) bool {
			s.PeerURLs = append(s.PeerURLs, string(v))
			return number == 3
		})
		c.Steps = append(c.Steps, s)
		if err != nil {
			broken = err
		}
		return known
	})
	if err == nil {
		err = broken
	}
	return c, known, err
}

// appendStrings appends a field for each string, the empty ones too, for they have their places.
func appendStrings(dst []byte, number protowire.Number, list []string) []byte {
	for _, s := range list {
		dst = protowire.AppendTag(dst, number, protowire.BytesType)
		dst = protowire.AppendString(dst, s)
	}
	return dst
}

// fields reads a message whose fields are varints and byte strings. Each taker gets those of its type and says
// whether it understands the field.
func fields(b []byte, takeNumber func(number, v uint64) bool, takeBytes func(number uint64, v []byte) bool) (known bool, err error) {
	var d decoder
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 {
			return false, ErrWire
		}
		b = b[n:]
		switch tag & 7 {
		case wireVarint:
			var v uint64
			if v, n = varint(b); n > 0 && !takeNumber(tag>>3, v) {
				d.lossy = true
			}
		case wireBytes:
			var v []byte
			if v, n = span(b); n > 0 && !takeBytes(tag>>3, v) {
				d.lossy = true
			}
		default:
			n = d.skip(tag, b)
		}
		if n == 0 {
			return false, ErrWire
		}
		b = b[n:]
	}
	return !d.lossy, nil
}
