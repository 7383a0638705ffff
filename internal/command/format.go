package command

import (
	"encoding/binary"
	"fmt"

	"holdfast/internal/kind"
)

// EntryVersion is the version of the entry encoding that this program writes, and the only one it reads.
const EntryVersion = 1

// payloadEncoding is the version of a command's payload: the protobuf messages of the etcd v3 API.
const payloadEncoding = 1

// minCommandBytes is the length of the shortest command: kind, encoding, member and five numbers and lengths.
const minCommandBytes = 2 + 8 + 5

// AppendEntryHeader appends what stands before the commands of an entry that will hold n of them. Exactly n calls
// of AppendCommand must follow.
func AppendEntryHeader(dst []byte, elapsed uint64, wall int64, n int) []byte {
	dst = append(dst, EntryVersion)
	dst = binary.AppendUvarint(dst, elapsed)
	dst = binary.AppendVarint(dst, wall)
	return binary.AppendUvarint(dst, uint64(n))
}

// AppendCommand appends one command of an entry.
func AppendCommand(dst []byte, c *Command) []byte {
	dst = append(dst, byte(c.Kind), payloadEncoding)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.Origin.Member))
	dst = binary.AppendUvarint(dst, c.Origin.Boot)
	dst = binary.AppendUvarint(dst, c.Origin.Sequence)
	dst = binary.AppendUvarint(dst, uint64(len(c.User)))
	dst = append(dst, c.User...)
	dst = binary.AppendUvarint(dst, c.AuthRevision)
	dst = binary.AppendUvarint(dst, uint64(len(c.Payload)))
	return append(dst, c.Payload...)
}

// CommandBytes returns the number of bytes that AppendCommand adds for c, at most; a proposer packs by it.
func CommandBytes(c *Command) int {
	return 2 + 8 + 5*binary.MaxVarintLen64 + len(c.User) + len(c.Payload)
}

// EntryHeaderBytes is the number of bytes that AppendEntryHeader adds at most.
const EntryHeaderBytes = 1 + 3*binary.MaxVarintLen64

// AppendEntry appends a whole entry.
func AppendEntry(dst []byte, e *Entry) []byte {
	dst = AppendEntryHeader(dst, e.Elapsed, e.Wall, len(e.Commands))
	for i := range e.Commands {
		dst = AppendCommand(dst, &e.Commands[i])
	}
	return dst
}

// DecodeEntry reads an entry; see Entry.Decode.
func DecodeEntry(b []byte) (Entry, error) {
	var e Entry
	err := e.Decode(b)
	return e, err
}

// Decode reads b into e and reuses e's list of commands. Payloads alias b. It accepts what AppendEntry writes and
// nothing else: a version, kind or encoding it does not know, a number written longer than needed, a byte too
// many or too few give an error that is ErrEntry and says what was found where. The contents of payloads are not
// looked at.
func (e *Entry) Decode(b []byte) error {
	e.Elapsed, e.Wall, e.Commands = 0, 0, e.Commands[:0]
	r := reader{b: b}
	if version := r.byte(); !r.failed && version != EntryVersion {
		return fmt.Errorf("%w: version %d, known is %d", ErrEntry, version, EntryVersion)
	}
	e.Elapsed = r.uvarint()
	wall := r.uvarint()
	e.Wall = int64(wall>>1) ^ -int64(wall&1)
	n := r.uvarint()
	if r.failed || n > uint64(len(b)-r.at)/minCommandBytes {
		return fmt.Errorf("%w: broken header", ErrEntry)
	}
	if uint64(cap(e.Commands)) < n {
		e.Commands = make([]Command, 0, n)
	}
	var user string
	for i := range n {
		start := r.at
		e.Commands = append(e.Commands, Command{})
		c := &e.Commands[i]
		c.Kind = Kind(r.byte())
		encoding := r.byte()
		c.Origin = Origin{Member: kind.MemberID(r.fixed64()), Boot: r.uvarint(), Sequence: r.uvarint()}
		// Neighbours often come from one user; the string is made once for all of them.
		if name := r.span(); string(name) != user {
			user = string(name)
		}
		c.User = user
		c.AuthRevision = r.uvarint()
		c.Payload = r.span()
		switch {
		case r.failed:
			return fmt.Errorf("%w: command %d at byte %d is broken", ErrEntry, i, start)
		case c.Kind < KindPut || c.Kind > lastKind:
			return fmt.Errorf("%w: command %d at byte %d is of kind %d", ErrEntry, i, start, c.Kind)
		case encoding != payloadEncoding:
			return fmt.Errorf("%w: command %d at byte %d has a payload of encoding %d", ErrEntry, i, start, encoding)
		}
	}
	if r.at != len(b) {
		return fmt.Errorf("%w: %d bytes after the last command", ErrEntry, len(b)-r.at)
	}
	return nil
}

// reader reads the parts of an entry one by one; after the first that is not there, it has failed.
type reader struct {
	b      []byte
	at     int
	failed bool
}

func (r *reader) byte() byte {
	if r.at >= len(r.b) {
		r.failed = true
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

func (r *reader) fixed64() uint64 {
	if len(r.b)-r.at < 8 {
		r.failed = true
		return 0
	}
	r.at += 8
	return binary.LittleEndian.Uint64(r.b[r.at-8:])
}

// uvarint accepts only the shortest form of a number, so that an entry has one encoding.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 || n > 1 && r.b[r.at+n-1] == 0 {
		r.failed = true
		return 0
	}
	r.at += n
	return v
}

func (r *reader) span() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)-r.at) {
		r.failed = true
		return nil
	}
	r.at += int(n)
	return r.b[r.at-int(n) : r.at : r.at]
}
