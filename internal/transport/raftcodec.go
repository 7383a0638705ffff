package transport

import (
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/invariant"
	"holdfast/internal/kind"
)

// The fields of a raft message that are present, as bits. Each has its value after the bits, in this order, except the
// two of reject. From stands there only where it is not the member that sends the message; To is the one that gets it.
const (
	hasFrom = 1 << iota
	hasTerm
	hasLogTerm
	hasIndex
	hasCommit
	hasVote
	hasReject
	isReject // the value of reject
	hasRejectHint
	hasContext
	hasEntries

	knownFields = 1<<iota - 1
)

// The flags of an entry. The type is in the lowest two bits.
const (
	entryType     = 3
	entryHasTerm  = 1 << 2
	entryHasIndex = 1 << 3
	entryHasData  = 1 << 4
	entryHasType  = 1 << 5

	knownEntryFlags = 1<<6 - 1
)

// What one frame may hold. The figures bound what a frame costs in memory once it is decoded (P6); they belong to the
// format.
const (
	maxFrameMessages = 1 << 16
	maxFrameEntries  = 1 << 20
)

// travels are the types of raft messages that go from member to member in frames of messages.
var travels = func() (t [32]bool) {
	for _, mt := range []raftpb.MessageType{raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgHeartbeat,
		raftpb.MsgHeartbeatResp, raftpb.MsgTransferLeader, raftpb.MsgTimeoutNow, raftpb.MsgReadIndex, raftpb.MsgReadIndexResp,
		raftpb.MsgPreVote, raftpb.MsgPreVoteResp} {
		t[mt] = true
	}
	return t
}()

func mayTravel(t raftpb.MessageType) bool { return t >= 0 && int(t) < len(travels) && travels[t] }

// appendMessage appends the encoding of m, which self sends.
func appendMessage(b []byte, m *Message, self kind.MemberID) []byte {
	b = append(b, byte(m.Kind))
	if m.Kind != KindRaft {
		b = binary.AppendUvarint(b, uint64(len(m.Payload)))
		return append(b, m.Payload...)
	}
	return appendRaft(b, m.Raft, self)
}

func appendRaft(b []byte, m *raftpb.Message, self kind.MemberID) []byte {
	t := m.GetType()
	if !mayTravel(t) {
		invariant.Check(false, "a raft message of the type %v does not go to another member this way", t)
	}
	var fields uint64
	set := func(bit uint64, present bool) {
		if present {
			fields |= bit
		}
	}
	set(hasFrom, m.From != nil && *m.From != uint64(self))
	set(hasTerm, m.Term != nil)
	set(hasLogTerm, m.LogTerm != nil)
	set(hasIndex, m.Index != nil)
	set(hasCommit, m.Commit != nil)
	set(hasVote, m.Vote != nil)
	set(hasReject, m.Reject != nil)
	set(isReject, m.GetReject())
	set(hasRejectHint, m.RejectHint != nil)
	set(hasContext, m.Context != nil)
	set(hasEntries, len(m.Entries) > 0)
	b = append(b, byte(t))
	b = binary.AppendUvarint(b, fields)
	for _, f := range [...]struct {
		bit   uint64
		value *uint64
	}{{hasFrom, m.From}, {hasTerm, m.Term}, {hasLogTerm, m.LogTerm}, {hasIndex, m.Index}, {hasCommit, m.Commit}, {hasVote, m.Vote}, {hasRejectHint, m.RejectHint}} {
		if fields&f.bit != 0 {
			b = binary.AppendUvarint(b, *f.value)
		}
	}
	if fields&hasContext != 0 {
		b = binary.AppendUvarint(b, uint64(len(m.Context)))
		b = append(b, m.Context...)
	}
	if fields&hasEntries != 0 {
		b = binary.AppendUvarint(b, uint64(len(m.Entries)))
		for _, e := range m.Entries {
			b = appendEntry(b, e)
		}
	}
	return b
}

func appendEntry(b []byte, e *raftpb.Entry) []byte {
	at := len(b)
	b = append(b, 0)
	var flags byte
	if e.Type != nil {
		flags |= entryHasType | byte(*e.Type)&entryType
	}
	if e.Term != nil {
		flags |= entryHasTerm
		b = binary.AppendUvarint(b, *e.Term)
	}
	if e.Index != nil {
		flags |= entryHasIndex
		b = binary.AppendUvarint(b, *e.Index)
	}
	if e.Data != nil {
		flags |= entryHasData
		b = binary.AppendUvarint(b, uint64(len(e.Data)))
		b = append(b, e.Data...)
	}
	b[at] = flags
	return b
}

// decoder takes a body apart. After the first thing that is wrong it returns zeros only; bad says that there was one.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) octet() byte {
	if len(d.rest) == 0 {
		d.bad = true
		return 0
	}
	c := d.rest[0]
	d.rest = d.rest[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// bytes returns n of the bytes, not copied and with no room behind them.
func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

// messagesDecoder decodes the bodies of frames of messages that one member sends to another.
type messagesDecoder struct {
	from, to kind.MemberID
	// steady says that bodies may be kept: what is decoded refers to their bytes instead of copying them.
	steady bool
}

// decode returns the messages of a body, or errFrame.
func (md messagesDecoder) decode(body []byte) ([]Message, error) {
	d := &decoder{rest: body}
	var ms []Message
	entries := 0
	for len(d.rest) > 0 {
		if len(ms) == maxFrameMessages {
			return nil, fmt.Errorf("%w: more than %d messages in a frame", errFrame, maxFrameMessages)
		}
		m := Message{From: md.from, To: md.to, Kind: Kind(d.octet())}
		var err error
		switch m.Kind {
		case KindRaft:
			if m.Raft, err = md.raft(d, &entries); err != nil {
				return nil, err
			}
		case KindForward, KindRefused, KindDigest:
			m.Payload = md.keep(d.bytes(d.uvarint()))
		default:
			return nil, fmt.Errorf("%w: a message of the unknown kind %d", errFrame, m.Kind)
		}
		if d.bad {
			return nil, fmt.Errorf("%w: message %d of a frame of %d bytes ends too early", errFrame, len(ms), len(body))
		}
		ms = append(ms, m)
	}
	return ms, nil
}

func (md messagesDecoder) keep(b []byte) []byte {
	if md.steady {
		return b
	}
	return slices.Clone(b)
}

// raftMessage is a raft message with its fields beside it, so that it is one allocation.
type raftMessage struct {
	m                                                    raftpb.Message
	t                                                    raftpb.MessageType
	to, from, term, logTerm, index, commit, vote, hinted uint64
	reject                                               bool
}

type raftEntry struct {
	e           raftpb.Entry
	t           raftpb.EntryType
	term, index uint64
}

func (md messagesDecoder) raft(d *decoder, entries *int) (*raftpb.Message, error) {
	r := &raftMessage{to: uint64(md.to), from: uint64(md.from)}
	m := &r.m
	r.t = raftpb.MessageType(d.octet())
	if !mayTravel(r.t) && !d.bad {
		return nil, fmt.Errorf("%w: a raft message of the type %v", errFrame, r.t)
	}
	m.Type, m.To, m.From = &r.t, &r.to, &r.from
	fields := d.uvarint()
	if fields&^knownFields != 0 || fields&isReject != 0 && fields&hasReject == 0 {
		return nil, fmt.Errorf("%w: a raft message with the fields %#x", errFrame, fields)
	}
	if fields&hasFrom != 0 {
		// A follower passes on the wish to hand over leadership, in which From is the member that is to lead. Nobody
		// speaks for another otherwise (P5).
		if r.from = d.uvarint(); r.t != raftpb.MsgTransferLeader {
			return nil, fmt.Errorf("%w: a raft message (%v) in the name of member %x", errFrame, r.t, r.from)
		}
	}
	for _, f := range [...]struct {
		bit   uint64
		value *uint64
		field **uint64
	}{{hasTerm, &r.term, &m.Term}, {hasLogTerm, &r.logTerm, &m.LogTerm}, {hasIndex, &r.index, &m.Index},
		{hasCommit, &r.commit, &m.Commit}, {hasVote, &r.vote, &m.Vote}, {hasRejectHint, &r.hinted, &m.RejectHint}} {
		if fields&f.bit != 0 {
			*f.value = d.uvarint()
			*f.field = f.value
		}
	}
	if fields&hasReject != 0 {
		r.reject = fields&isReject != 0
		m.Reject = &r.reject
	}
	if fields&hasContext != 0 {
		m.Context = md.keep(d.bytes(d.uvarint()))
	}
	if fields&hasEntries != 0 {
		var err error
		if m.Entries, err = md.entries(d, entries); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// entriesBlock is how many entries are allocated at once, so that a count alone costs little (P6).
const entriesBlock = 256

func (md messagesDecoder) entries(d *decoder, entries *int) ([]*raftpb.Entry, error) {
	count := d.uvarint()
	if count > uint64(maxFrameEntries-*entries) || count > uint64(len(d.rest)) {
		return nil, fmt.Errorf("%w: %d entries, which is more than fit", errFrame, count)
	}
	*entries += int(count)
	list := make([]*raftpb.Entry, 0, min(count, entriesBlock))
	var block []raftEntry
	for left := int(count); left > 0 && !d.bad; left-- {
		if len(block) == 0 {
			block = make([]raftEntry, min(left, entriesBlock))
		}
		r := &block[0]
		block = block[1:]
		if err := md.entry(d, r); err != nil {
			return nil, err
		}
		list = append(list, &r.e)
	}
	return list, nil
}

func (md messagesDecoder) entry(d *decoder, r *raftEntry) error {
	flags := d.octet()
	if flags&^knownEntryFlags != 0 || flags&entryHasType == 0 && flags&entryType != 0 || flags&entryType == entryType {
		return fmt.Errorf("%w: an entry with the flags %#x", errFrame, flags)
	}
	e := &r.e
	if flags&entryHasType != 0 {
		r.t = raftpb.EntryType(flags & entryType)
		e.Type = &r.t
	}
	if flags&entryHasTerm != 0 {
		r.term = d.uvarint()
		e.Term = &r.term
	}
	if flags&entryHasIndex != 0 {
		r.index = d.uvarint()
		e.Index = &r.index
	}
	if flags&entryHasData != 0 {
		e.Data = md.keep(d.bytes(d.uvarint()))
	}
	return nil
}
