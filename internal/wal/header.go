package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"holdfast/internal/kind"
)

const (
	magic      = "HOLDFLOG"
	version    = 1
	headerSize = 4096

	flagBegins   = 1 // the log begins with this segment; older ones are left over
	flagRecycled = 2 // behind the records lie bytes of an earlier life
	flagState    = 4 // the hard state is set
	knownFlags   = flagBegins | flagRecycled | flagState
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// state is raft's hard state in the form in which the log keeps it.
type state struct {
	term, vote, commit uint64
	set                bool
}

// header is the first block of a segment.
type header struct {
	begins   bool
	recycled bool
	sequence uint64
	id       kind.Identity
	start    kind.Position // of the entry before the first that this segment may hold
	size     int64         // of the segment in bytes, header included
	previous int64         // where the records of the segment before end; 0 if begins
	state    state         // at the moment of writing
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	var flags uint32
	if h.begins {
		flags |= flagBegins
	}
	if h.recycled {
		flags |= flagRecycled
	}
	if h.state.set {
		flags |= flagState
	}
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint32(b[8:], version)
	le.PutUint32(b[12:], flags)
	for i, v := range []uint64{
		h.sequence, uint64(h.id.Cluster), uint64(h.id.Member), h.id.Incarnation, uint64(h.start.Index),
		uint64(h.start.Term), uint64(h.size), uint64(h.previous), h.state.term, h.state.vote, h.state.commit,
	} {
		le.PutUint64(b[16+8*i:], v)
	}
	le.PutUint32(b[headerSize-4:], crc32.Checksum(b[:headerSize-4], castagnoli))
	return b
}

// decodeHeader reads a header block. The error is ErrNewerFormat, or says in a few words what is wrong.
func decodeHeader(b []byte) (header, error) {
	le := binary.LittleEndian
	if len(b) != headerSize {
		return header{}, fmt.Errorf("the header is cut off")
	}
	if string(b[:8]) != magic {
		return header{}, fmt.Errorf("the header does not begin with the mark of a Holdfast log")
	}
	if crc32.Checksum(b[:headerSize-4], castagnoli) != le.Uint32(b[headerSize-4:]) {
		return header{}, fmt.Errorf("the checksum of the header does not match")
	}
	if v := le.Uint32(b[8:]); v > version {
		return header{}, fmt.Errorf("%w: version %d, and this program reads up to %d; start the newer program again",
			ErrNewerFormat, v, version)
	} else if v == 0 {
		return header{}, fmt.Errorf("the header has version 0, which never existed")
	}
	flags := le.Uint32(b[12:])
	var v [11]uint64
	for i := range v {
		v[i] = le.Uint64(b[16+8*i:])
	}
	h := header{
		begins:   flags&flagBegins != 0,
		recycled: flags&flagRecycled != 0,
		sequence: v[0],
		id:       kind.Identity{Cluster: kind.ClusterID(v[1]), Member: kind.MemberID(v[2]), Incarnation: v[3]},
		start:    kind.Position{Index: kind.Index(v[4]), Term: kind.Term(v[5])},
		size:     int64(v[6]),
		previous: int64(v[7]),
		state:    state{v[8], v[9], v[10], flags&flagState != 0},
	}
	switch {
	case flags&^knownFlags != 0:
		return header{}, fmt.Errorf("the header has the unknown flags %#x", flags&^knownFlags)
	case h.size < headerSize || h.previous < 0 || h.previous%recordAlign != 0:
		return header{}, fmt.Errorf("the header names impossible sizes")
	case h.begins != (h.previous == 0):
		return header{}, fmt.Errorf("the header contradicts itself about the segment before")
	}
	return h, nil
}
