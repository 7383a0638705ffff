package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cespare/xxhash/v2"

	"holdfast/internal/kind"
)

const (
	magic   = "HSNP"
	version = 1
	headLen = 4 + 1 + 1 + 2 + 8 + 4 + 4

	kindHead    = 1
	kindRecords = 2
	kindEnd     = 3

	headerLen = 6*8 + 2*4
	endLen    = 3 * 8
)

// The refusals of a chunk.
var (
	// ErrChunk means that bytes are not the chunk that they should be.
	ErrChunk = errors.New("a chunk of a snapshot is not what it should be")
	// ErrNewer means that the sender's format of snapshots, or of stores, is newer than this program's.
	ErrNewer = errors.New("the snapshot was made by a newer version of Holdfast; start this member with that version or a later one")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is what a snapshot says of itself first.
type Header struct {
	ID             uint64 // of the snapshot
	Cluster        kind.ClusterID
	Position       kind.Position // the last entry that is whole in it
	Revision       kind.Revision
	Bytes          uint64 // that it will take on disk, about
	StoreFormat    uint32
	MachineVersion uint32
}

func appendHeader(dst []byte, h Header) []byte {
	for _, v := range []uint64{h.ID, uint64(h.Cluster), uint64(h.Position.Index), uint64(h.Position.Term), uint64(h.Revision), h.Bytes} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	dst = binary.BigEndian.AppendUint32(dst, h.StoreFormat)
	return binary.BigEndian.AppendUint32(dst, h.MachineVersion)
}

func decodeHeader(b []byte) (Header, error) {
	if len(b) != headerLen {
		return Header{}, fmt.Errorf("%w: its head has %d bytes instead of %d", ErrChunk, len(b), headerLen)
	}
	u64 := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	return Header{
		ID:             u64(0),
		Cluster:        kind.ClusterID(u64(1)),
		Position:       kind.Position{Index: kind.Index(u64(2)), Term: kind.Term(u64(3))},
		Revision:       kind.Revision(u64(4)),
		Bytes:          u64(5),
		StoreFormat:    binary.BigEndian.Uint32(b[48:]),
		MachineVersion: binary.BigEndian.Uint32(b[52:]),
	}, nil
}

// totals are what is counted on the way through a snapshot, and what its end holds.
type totals struct {
	records uint64
	bytes   uint64
	sum     uint64
}

// chain takes the payload of a chunk into the checksum of the whole.
func (t *totals) chain(payload []byte) {
	var before [8]byte
	binary.BigEndian.PutUint64(before[:], t.sum)
	var d xxhash.Digest
	d.Reset()
	d.Write(before[:])
	d.Write(payload)
	t.sum = d.Sum64()
}

func appendEnd(dst []byte, t totals) []byte {
	dst = binary.BigEndian.AppendUint64(dst, t.records)
	dst = binary.BigEndian.AppendUint64(dst, t.bytes)
	return binary.BigEndian.AppendUint64(dst, t.sum)
}

func decodeEnd(b []byte) (totals, error) {
	if len(b) != endLen {
		return totals{}, fmt.Errorf("%w: its end has %d bytes instead of %d", ErrChunk, len(b), endLen)
	}
	return totals{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}, nil
}

// beginChunk reserves the room for what stands before a payload.
func beginChunk(dst []byte) []byte { return append(dst[:0], make([]byte, headLen)...) }

// sealChunk fills in what stands before the payload of a chunk that beginChunk has begun.
func sealChunk(b []byte, what byte, number uint64) []byte {
	copy(b, magic)
	b[4], b[5] = version, what
	binary.BigEndian.PutUint64(b[8:], number)
	binary.BigEndian.PutUint32(b[16:], uint32(len(b)-headLen))
	binary.BigEndian.PutUint32(b[20:], checksum(b))
	return b
}

func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:20], castagnoli), castagnoli, b[headLen:])
}

// openChunk checks what stands before the payload of a chunk and returns its kind and payload. The version is looked at
// before the rest, since a later one may differ there.
func openChunk(b []byte, number uint64) (what byte, payload []byte, err error) {
	if len(b) < headLen || string(b[:4]) != magic {
		return 0, nil, fmt.Errorf("%w: it does not begin with %s", ErrChunk, magic)
	}
	if b[4] > version {
		return 0, nil, fmt.Errorf("%w: its format is %d, this program reads %d", ErrNewer, b[4], version)
	}
	switch {
	case uint64(binary.BigEndian.Uint32(b[16:])) != uint64(len(b)-headLen):
		return 0, nil, fmt.Errorf("%w: it has %d bytes, and says %d", ErrChunk, len(b)-headLen, binary.BigEndian.Uint32(b[16:]))
	case binary.BigEndian.Uint32(b[20:]) != checksum(b):
		return 0, nil, fmt.Errorf("%w: its checksum does not match", ErrChunk)
	case b[4] != version || b[6] != 0 || b[7] != 0:
		return 0, nil, fmt.Errorf("%w: it has no version", ErrChunk)
	case binary.BigEndian.Uint64(b[8:]) != number:
		return 0, nil, fmt.Errorf("%w: it is number %d where number %d is wanted", ErrChunk, binary.BigEndian.Uint64(b[8:]), number)
	}
	return b[5], b[headLen:], nil
}

// appendRecord appends a record whose key comes after last, which is empty for the first of a chunk.
func appendRecord(dst, last, key, value []byte) []byte {
	shared := 0
	for shared < len(last) && shared < len(key) && last[shared] == key[shared] {
		shared++
	}
	dst = binary.AppendUvarint(dst, uint64(shared))
	dst = binary.AppendUvarint(dst, uint64(len(key)-shared))
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(append(dst, key[shared:]...), value...)
}

// eachRecord calls visit with the records of a payload; the key is valid during the call. An error of visit ends the walk
// and is returned.
func eachRecord(payload []byte, visit func(key, value []byte) error) error {
	var key []byte
	for len(payload) > 0 {
		var n [3]uint64
		for i := range n {
			v, size := binary.Uvarint(payload)
			if size <= 0 {
				return fmt.Errorf("%w: a record is cut off", ErrChunk)
			}
			n[i], payload = v, payload[size:]
		}
		if n[0] > uint64(len(key)) || n[1] > uint64(len(payload)) || n[2] > uint64(len(payload))-n[1] {
			return fmt.Errorf("%w: a record is longer than the chunk", ErrChunk)
		}
		key = append(key[:n[0]], payload[:n[1]]...)
		value := payload[n[1] : n[1]+n[2]]
		payload = payload[n[1]+n[2]:]
		if err := visit(key, value); err != nil {
			return err
		}
	}
	return nil
}
