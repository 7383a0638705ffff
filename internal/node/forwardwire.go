package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// The payloads between the nodes of two members. Their frames carry checksums; numbers are unsigned varints in their
// shortest form.
//
//	forward   'F' | version (1 byte: 1) | term | number | an entry (internal/command) with the commands
//	refused   'R' | version (1 byte: 1) | reason (1 byte) | term | length of text | text | count | sequences, each but
//	          the first as its distance from the one before
//
// A forward is for the leader of its term only. Its number grows by one with each forward of a member's life, so that
// one which the network delivers twice is told from two.

const (
	forwardMagic    = 'F'
	refusedMagic    = 'R'
	payloadVersion  = 1
	maxRefusalBytes = 1024 // of a refusal's text
)

// errPayload means that a payload of another member cannot be read.
var errPayload = errors.New("a message of another member cannot be read")

// forward is commands on their way to the leader of a term.
type forward struct {
	term     kind.Term
	number   uint64
	boot     uint64 // of the commands' origin
	commands []command.Command
}

func (f *forward) sequences() []uint64 { return sequencesOf(f.commands) }

func sequencesOf(commands []command.Command) []uint64 {
	list := make([]uint64, 0, len(commands))
	for i := range commands {
		list = append(list, commands[i].Origin.Sequence)
	}
	return list
}

func appendForwardHeader(dst []byte, term kind.Term, number uint64, commands int) []byte {
	dst = append(dst, forwardMagic, payloadVersion)
	dst = binary.AppendUvarint(dst, uint64(term))
	dst = binary.AppendUvarint(dst, number)
	return command.AppendEntryHeader(dst, 0, 0, commands)
}

// decodeForward reads a forward. The payloads of its commands alias b. A forward has at least one command, and all of
// them come from one life of one member.
func decodeForward(b []byte) (forward, error) {
	r := payload{b: b}
	r.header(forwardMagic, "forward")
	f := forward{term: kind.Term(r.number()), number: r.number()}
	if r.err != nil {
		return forward{}, r.err
	}
	e, err := command.DecodeEntry(r.b[r.at:])
	switch {
	case err != nil:
		return forward{}, fmt.Errorf("%w: a forward: %w", errPayload, err)
	case e.Elapsed != 0 || e.Wall != 0 || len(e.Commands) == 0:
		return forward{}, fmt.Errorf("%w: a forward without commands, or with a time", errPayload)
	}
	for i := range e.Commands[1:] {
		if a, b := e.Commands[i].Origin, e.Commands[i+1].Origin; a.Member != b.Member || a.Boot != b.Boot {
			return forward{}, fmt.Errorf("%w: a forward with commands of several members", errPayload)
		}
	}
	f.commands, f.boot = e.Commands, e.Commands[0].Origin.Boot
	return f, nil
}

// reason says why a leader did not take commands.
type reason uint8

const (
	// reasonAgain: not the leader in that term, or about to hand over. The commands may be sent to whoever leads.
	reasonAgain reason = 1
	// reasonBusy: no room. The callers are told so.
	reasonBusy reason = 2
	// reasonText: the text says why; it is that of a refusal of a change of the membership.
	reasonText reason = 3
)

// refusal names commands of a term that a leader has certainly not appended.
type refusal struct {
	reason    reason
	term      kind.Term
	text      string
	sequences []uint64 // ascending
}

func appendRefusal(dst []byte, f *refusal) []byte {
	dst = append(dst, refusedMagic, payloadVersion, byte(f.reason))
	dst = binary.AppendUvarint(dst, uint64(f.term))
	text := f.text[:min(len(f.text), maxRefusalBytes)]
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	dst = append(dst, text...)
	dst = binary.AppendUvarint(dst, uint64(len(f.sequences)))
	before := uint64(0)
	for _, s := range f.sequences {
		dst = binary.AppendUvarint(dst, s-before)
		before = s
	}
	return dst
}

func decodeRefusal(b []byte) (refusal, error) {
	r := payload{b: b}
	r.header(refusedMagic, "refusal")
	f := refusal{reason: reason(r.byte())}
	f.term = kind.Term(r.number())
	length := r.number()
	if length > maxRefusalBytes || length > uint64(len(b)-r.at) {
		r.fail("a text of %d bytes", length)
	} else {
		f.text = string(b[r.at : r.at+int(length)])
		r.at += int(length)
	}
	count := r.number()
	if count == 0 || count > uint64(len(b)-r.at) {
		r.fail("%d sequences", count)
	}
	if r.err != nil {
		return refusal{}, r.err
	}
	f.sequences = make([]uint64, 0, count)
	before := uint64(0)
	for range count {
		step := r.number()
		if step == 0 || before+step < before {
			r.fail("a sequence that does not ascend")
			break
		}
		before += step
		f.sequences = append(f.sequences, before)
	}
	switch {
	case r.err != nil:
		return refusal{}, r.err
	case f.reason < reasonAgain || f.reason > reasonText:
		return refusal{}, fmt.Errorf("%w: a refusal for reason %d", errPayload, f.reason)
	case r.at != len(b):
		return refusal{}, fmt.Errorf("%w: %d bytes after a refusal", errPayload, len(b)-r.at)
	}
	return f, nil
}

// payload reads the parts of a payload one by one; after the first that is not there, err stays.
type payload struct {
	b   []byte
	at  int
	err error
}

func (r *payload) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: at byte %d: %s", errPayload, r.at, fmt.Sprintf(format, args...))
	}
}

func (r *payload) header(magic byte, what string) {
	if got := r.byte(); got != magic {
		r.fail("%q is no %s", got, what)
	}
	if version := r.byte(); version != payloadVersion {
		r.fail("a %s of version %d, known is %d", what, version, payloadVersion)
	}
}

func (r *payload) byte() byte {
	if r.err != nil || r.at >= len(r.b) {
		r.fail("it ends early")
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

func (r *payload) number() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 || n > 1 && r.b[r.at+n-1] == 0 {
		r.fail("a number is cut, too large or too long")
		return 0
	}
	r.at += n
	return v
}
