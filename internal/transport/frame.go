package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"
)

// The kinds of frames. From the side that opened a connection come messages, probes, requests and offers.
const (
	frameMessages    = 0x01 // messages, one after another
	frameProbe       = 0x02 // a number that the answer repeats
	frameProbeAnswer = 0x03 // that number, and the wall clock of the one who answers
	frameRequest     = 0x04
	frameCancel      = 0x05
	frameAnswer      = 0x06
	frameOffer       = 0x07 // a snapshot
	frameNext        = 0x08 // the chunk that is wanted
	frameChunk       = 0x09
	frameEnd         = 0x0a // after the last chunk: how many there were, and the checksum of the whole
	frameDone        = 0x0b // the snapshot is complete and durable
	frameFail        = 0x0c // why the transfer will not go on, from either side
	frameBusy        = 0x0d // nothing, so that the other side hears something
	frameBye         = 0x0e // why the connection ends, as in the answer to a hello
)

const (
	frameHeaderBytes = 9
	// maxControlBytes bounds frames that hold a few numbers or a sentence.
	maxControlBytes = 4 * kib
	// MaxChunkBytes is the size of the largest chunk of a snapshot.
	MaxChunkBytes = 16 * mib
	// growBytes is how much is allocated for a frame before bytes of it have arrived.
	growBytes = mib
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame begins a frame at the end of b. Its body is to be appended next; then endFrame completes it.
func appendFrame(b []byte, frameKind byte) (out []byte, start int) {
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, frameKind), len(b)
}

// endFrame fills in the length and the checksum of the frame that begins at start and ends at the end of b.
func endFrame(b []byte, start int) {
	f := b[start:]
	binary.BigEndian.PutUint32(f, uint32(len(f)-8))
	sum := crc32.Update(crc32.Checksum(f[:4], castagnoli), castagnoli, f[8:])
	binary.BigEndian.PutUint32(f[4:], sum)
}

// frame returns a complete frame with the given body.
func frame(frameKind byte, body ...byte) []byte {
	b, start := appendFrame(make([]byte, 0, frameHeaderBytes+len(body)), frameKind)
	b = append(b, body...)
	endFrame(b, start)
	return b
}

// errFrame means that what arrived is no frame that may stand there.
var errFrame = errors.New("the peer protocol was violated")

// frameReader reads the frames of one side of a connection.
type frameReader struct {
	conn    net.Conn // for deadlines; nil sets none
	buffer  *bufio.Reader
	max     int           // of the bytes after a header
	silence time.Duration // how long nothing may come before the connection is given up; 0 is for ever

	received  func(n int) // told of bytes that have arrived; may be nil
	reuse     []byte      // the body of the last frame that was read with share
	deadline  time.Time
	tolerated time.Duration
}

const readBufferBytes = 32 * kib

func newFrameReader(conn net.Conn, limit int, silence time.Duration, received func(int)) *frameReader {
	return &frameReader{conn: conn, buffer: bufio.NewReaderSize(conn, readBufferBytes), max: limit, silence: silence, received: received}
}

// next returns the next frame. Its body stays valid until the next call if share is true, and for ever otherwise.
func (r *frameReader) next(share bool) (frameKind byte, body []byte, err error) {
	var header [frameHeaderBytes]byte
	if err := r.fill(header[:]); err != nil {
		return 0, nil, err
	}
	length := int(binary.BigEndian.Uint32(header[:]))
	if length < 1 || length-1 > r.max {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes, where at most %d are allowed", errFrame, length, r.max)
	}
	if body, err = r.body(length-1, share); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	sum := crc32.Update(crc32.Checksum(header[:4], castagnoli), castagnoli, header[8:])
	if sum = crc32.Update(sum, castagnoli, body); sum != binary.BigEndian.Uint32(header[4:]) {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes (kind %#x) arrived changed: %w", errFrame, length, header[8], ErrCorrupt)
	}
	if r.received != nil {
		r.received(frameHeaderBytes + len(body))
	}
	return header[8], body, nil
}

// body reads n bytes. It allocates as they arrive, so that a length alone costs nothing (P6).
func (r *frameReader) body(n int, share bool) ([]byte, error) {
	var b []byte
	if share && cap(r.reuse) >= n {
		b = r.reuse[:n]
		return b, r.fill(b)
	}
	b = make([]byte, min(n, growBytes))
	for have := 0; ; {
		if err := r.fill(b[have:]); err != nil {
			return nil, err
		}
		if have = len(b); have == n {
			break
		}
		larger := make([]byte, min(n, 4*have))
		copy(larger, b)
		b = larger
	}
	if share && n <= growBytes {
		r.reuse = b
	}
	return b, nil
}

// fill reads all of b, in parts small enough for each to arrive within the time that silence may last.
func (r *frameReader) fill(b []byte) error {
	for len(b) > 0 {
		part := b[:min(len(b), growBytes)]
		if err := r.await(); err != nil {
			return err
		}
		if _, err := io.ReadFull(r.buffer, part); err != nil {
			return err
		}
		b = b[len(part):]
	}
	return nil
}

// await sets the deadline for what comes next, seldom enough to cost nothing.
func (r *frameReader) await() error {
	if r.silence == 0 || r.conn == nil {
		return nil
	}
	now := time.Now()
	if r.silence == r.tolerated && r.deadline.Sub(now) > r.silence-r.silence/4 {
		return nil
	}
	r.tolerated, r.deadline = r.silence, now.Add(r.silence)
	return r.conn.SetReadDeadline(r.deadline)
}
