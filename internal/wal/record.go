package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	pb "go.etcd.io/raft/v3/raftpb"
)

const (
	recordHead  = 24 // bytes before the payload
	recordAlign = 8  // records begin at multiples of this
	entryHead   = 17 // payload bytes of an entry before its data
	stateBytes  = 24 // payload bytes of a hard state

	kindEntry = 1
	kindState = 2
	kindMark  = 3

	// maxPayload is the bound on a payload in bytes, a constant of the format: one entry may carry one request,
	// and operators may allow requests of many MiB.
	maxPayload = 1 << 30

	// MaxEntryBytes is the bound on the data of one entry.
	MaxEntryBytes = maxPayload - entryHead
)

var noPadding [recordAlign]byte

// padding is the number of zeros behind a payload of n bytes.
func padding(n int) int { return -n & (recordAlign - 1) }

// recordSize is the number of bytes that a record with a payload of n bytes takes in the file.
func recordSize(n int) int64 { return int64(recordHead + n + padding(n)) }

// frame is what the head of a record says.
type frame struct {
	body   uint32
	length int
	kind   byte
	synced int64
}

// placeSeed is the checksum of what every record of a segment is bound to, before its offset.
func placeSeed(incarnation, sequence uint64) uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], incarnation)
	binary.LittleEndian.PutUint64(b[8:], sequence)
	return crc32.Checksum(b[:], castagnoli)
}

func headSum(seed uint32, offset int64, head []byte) uint32 {
	var b [8 + recordHead - 4]byte
	binary.LittleEndian.PutUint64(b[:], uint64(offset))
	copy(b[8:], head[4:recordHead])
	return crc32.Update(seed, castagnoli, b[:])
}

// encode writes the frame of a record at offset into b, which has recordHead bytes.
func (f frame) encode(b []byte, seed uint32, offset int64) {
	le := binary.LittleEndian
	le.PutUint32(b[4:], f.body)
	le.PutUint32(b[8:], uint32(f.length))
	le.PutUint32(b[12:], uint32(f.kind))
	le.PutUint64(b[16:], uint64(f.synced))
	le.PutUint32(b, headSum(seed, offset, b))
}

// decodeFrame reads the head of a record at offset in a segment whose records end before limit. On failure reason says
// what is wrong in words.
func decodeFrame(b []byte, seed uint32, offset, limit int64) (f frame, reason string) {
	le := binary.LittleEndian
	length, kindWord, synced := le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint64(b[16:])
	// The cheap tests come first, since the search behind the end makes them at every eighth byte.
	switch {
	case kindWord == 0 || kindWord > 255:
		return f, "there is no record"
	case length > maxPayload:
		return f, fmt.Sprintf("a record claims %d bytes, more than any may have", length)
	case synced < headerSize || synced > uint64(offset):
		return f, "a record claims a sync that cannot have been"
	case recordSize(int(length)) > limit-offset:
		return f, fmt.Sprintf("a record claims %d bytes, more than are left", length)
	case headSum(seed, offset, b) != le.Uint32(b):
		return f, "the checksum of a record's head does not match"
	}
	return frame{body: le.Uint32(b[4:]), length: int(length), kind: byte(kindWord), synced: int64(synced)}, ""
}

func putEntryHead(b *[entryHead]byte, e *pb.Entry) {
	binary.LittleEndian.PutUint64(b[:], e.GetTerm())
	binary.LittleEndian.PutUint64(b[8:], e.GetIndex())
	b[16] = byte(e.GetType())
}

// newEntry makes an entry with its numbers in one allocation. It takes data as it is.
func newEntry(head, data []byte) *pb.Entry {
	e := &struct {
		pb.Entry
		term, index uint64
		kind        pb.EntryType
	}{}
	e.term, e.index = binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint64(head[8:])
	e.kind = pb.EntryType(head[16])
	e.Term, e.Index, e.Type = &e.term, &e.index, &e.kind
	if len(data) > 0 {
		e.Data = data
	}
	return &e.Entry
}

func putState(b []byte, s state) {
	binary.LittleEndian.PutUint64(b, s.term)
	binary.LittleEndian.PutUint64(b[8:], s.vote)
	binary.LittleEndian.PutUint64(b[16:], s.commit)
}

func decodeState(b []byte) state {
	le := binary.LittleEndian
	return state{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:]), true}
}

func stateOf(hs *pb.HardState) state {
	if hs.GetTerm() == 0 && hs.GetVote() == 0 && hs.GetCommit() == 0 {
		return state{}
	}
	return state{hs.GetTerm(), hs.GetVote(), hs.GetCommit(), true}
}

func (s state) hardState() *pb.HardState {
	if !s.set {
		return nil
	}
	return &pb.HardState{Term: &s.term, Vote: &s.vote, Commit: &s.commit}
}

// entryBytes is the size of an entry in protobuf, by which raft counts, for n bytes of data.
func entryBytes(term, index uint64, n int) uint64 {
	size := uint64(2 + 1 + varintLen(term) + 1 + varintLen(index))
	if n > 0 {
		size += uint64(1 + varintLen(uint64(n)) + n)
	}
	return size
}

func varintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
