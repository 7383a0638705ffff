package transport

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// offer announces a snapshot.
type offer struct {
	id      uint64
	size    uint64 // about, in bytes; 0: unknown
	message *raftpb.Message
}

func (o offer) encode() ([]byte, error) {
	b, start := appendFrame(nil, frameOffer)
	b = binary.BigEndian.AppendUint64(b, o.id)
	b = binary.BigEndian.AppendUint64(b, o.size)
	b, err := proto.MarshalOptions{}.MarshalAppend(b, o.message)
	if err != nil {
		return nil, fmt.Errorf("encode a MsgSnap: %w", err)
	}
	if len(b) > maxOfferBytes {
		return nil, fmt.Errorf("a MsgSnap of %d bytes is %w; its data should travel in chunks", len(b), ErrTooLarge)
	}
	endFrame(b, start)
	return b, nil
}

// maxOfferBytes bounds a MsgSnap without data: an index, a term, and the ids of the members.
const maxOfferBytes = 64 * kib

func decodeOffer(body []byte) (o offer, err error) {
	d := &decoder{rest: body}
	o.id, o.size = d.fixed(8), d.fixed(8)
	o.message = &raftpb.Message{}
	if d.bad || proto.Unmarshal(d.rest, o.message) != nil || o.message.GetType() != raftpb.MsgSnap ||
		o.message.GetSnapshot().GetMetadata() == nil || len(o.message.GetSnapshot().GetData()) > 0 ||
		len(o.message.GetEntries()) > 0 || len(o.message.GetResponses()) > 0 {
		return offer{}, fmt.Errorf("%w: an offer of a snapshot that is not understood", errFrame)
	}
	return o, nil
}

// numbersFrame returns a frame that holds numbers of 64 bits: what frameNext, frameEnd are made of.
func numbersFrame(frameKind byte, numbers ...uint64) []byte {
	b, start := appendFrame(make([]byte, 0, frameHeaderBytes+8*len(numbers)), frameKind)
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	endFrame(b, start)
	return b
}

// decodeNumbers fills numbers from a body that holds just as many.
func decodeNumbers(body []byte, numbers ...*uint64) error {
	if len(body) != 8*len(numbers) {
		return fmt.Errorf("%w: %d bytes where %d numbers should be", errFrame, len(body), len(numbers))
	}
	for i, n := range numbers {
		*n = binary.BigEndian.Uint64(body[8*i:])
	}
	return nil
}

// appendChunk appends the frame of a chunk: its number, its checksum, and its bytes.
func appendChunk(b []byte, n uint64, sum uint32, chunk []byte) []byte {
	b, start := appendFrame(b, frameChunk)
	b = binary.BigEndian.AppendUint64(b, n)
	b = binary.BigEndian.AppendUint32(b, sum)
	b = append(b, chunk...)
	endFrame(b, start)
	return b
}

const chunkHeaderBytes = 12

func decodeChunk(body []byte) (n uint64, sum uint32, chunk []byte, err error) {
	if len(body) < chunkHeaderBytes {
		return 0, 0, nil, fmt.Errorf("%w: a chunk of %d bytes", errFrame, len(body))
	}
	n, sum, chunk = binary.BigEndian.Uint64(body), binary.BigEndian.Uint32(body[8:]), body[chunkHeaderBytes:]
	if crc32.Checksum(chunk, castagnoli) != sum {
		return 0, 0, nil, fmt.Errorf("%w: chunk %d of a snapshot: %w", errFrame, n, ErrCorrupt)
	}
	return n, sum, chunk, nil
}

// total is the checksum of a whole transfer: over the checksum and the length of each chunk, from the first one that the
// receiver wanted. A chunk that is missing, doubled or out of its place changes it.
type total struct {
	sum           uint32
	chunks, bytes uint64
}

func (t *total) add(sum uint32, length int) {
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], sum)
	binary.BigEndian.PutUint32(b[4:], uint32(length))
	t.sum = crc32.Update(t.sum, castagnoli, b[:])
	t.chunks++
	t.bytes += uint64(length)
}

// sentChunk is what the sender remembers of a chunk.
type sentChunk struct {
	sum    uint32
	length uint32
}

func totalOf(chunks []sentChunk) (t total) {
	for _, c := range chunks {
		t.add(c.sum, int(c.length))
	}
	return t
}
