package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
)

// rejections keeps the log lines about rejected connections few: a hostile client makes thousands in a second.
type rejections struct {
	mu     sync.Mutex
	second int64 // the second that lines counts for
	lines  int
	silent int64 // rejections that were not logged
}

const rejectionLinesPerSecond = 10

// may reports whether a line may be written, and how many were not since the last one.
func (r *rejections) may(now time.Time) (silent int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if second := now.Unix(); second != r.second {
		r.second, r.lines = second, 0
	}
	if r.lines >= rejectionLinesPerSecond {
		r.silent++
		return 0, false
	}
	r.lines++
	silent, r.silent = r.silent, 0
	return silent, true
}

// rejected logs why a connection did not come to anything. One that was closed before it said anything is that of a
// probe, and logged as debugging.
func (s *splitter) rejected(conn *connection, err error) {
	if s.secure == nil || errors.Is(err, net.ErrClosed) || (errors.Is(err, io.EOF) && len(conn.wire.spoken) == 0) {
		s.log.Debug("a connection ended before it asked for anything", zap.Stringer("remote-addr", conn.wire.RemoteAddr()), zap.Error(err))
		return
	}
	silent, ok := s.rejections.may(time.Now())
	if !ok {
		return
	}
	fields := []zap.Field{zap.Stringer("remote-addr", conn.wire.RemoteAddr()), zap.Error(err)}
	if silent > 0 {
		fields = append(fields, zap.Int64("not-logged-before", silent))
	}
	s.log.Warn("rejected connection on client endpoint", fields...)
}

// sayPlainly tells a client without TLS that this port speaks it. The words are for HTTP/1, which is what a person
// tries.
func sayPlainly(conn net.Conn) {
	const words = "This port speaks TLS: write https:// instead of http://.\n"
	_, _ = fmt.Fprintf(conn, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(words), words)
}

// refuse tells a client that its address has more than its share of the connections, in its own protocol, and closes
// the connection.
func (s *splitter) refuse(conn *connection, to *branch) {
	defer conn.Close()
	words := fmt.Sprintf("too many connections from this address: one address may have %d of the %d that this member serves; close some, or share one", s.share, cap(s.slots))
	if silent, ok := s.rejections.may(time.Now()); ok {
		s.log.Warn("rejected connection on client endpoint", zap.Stringer("remote-addr", conn.wire.RemoteAddr()),
			zap.String("error", words), zap.Int64("not-logged-before", silent))
	}
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if to == s.http {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n", len(words)+1, words)
	} else {
		refuseCall(conn, words)
	}
	// Closing while something lies unread would reset the connection, and the client might not see the words.
	if half, ok := conn.wire.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, conn, 64<<10)
}

// The frames of HTTP/2 that a refusal needs (RFC 9113, section 6), and the reason with which it ends the connection.
const (
	frameHeaderBytes = 9
	headersFrame     = 0x1
	settingsFrame    = 0x4
	goAwayFrame      = 0x7

	prefaceBytes = 24 // that a client says before its first frame

	endStream, endHeaders = 0x1, 0x4
	enhanceYourCalm       = 0xb
)

// refuseCall answers the first call that comes over conn, a connection of HTTP/2 that no server has taken, with the
// status ResourceExhausted and words, and ends the connection. The reason of the end alone would not reach the caller.
func refuseCall(conn io.ReadWriter, words string) {
	_, _ = conn.Write(appendFrame(nil, settingsFrame, 0, 0, nil)) // we have none
	var stream uint32
	if _, err := io.CopyN(io.Discard, conn, prefaceBytes); err == nil {
		stream = firstStream(conn)
	}
	var answer []byte
	if stream != 0 {
		fields := []byte{0x80 | 8} // :status 200, entry 8 of HPACK's static table
		fields = appendField(fields, "content-type", "application/grpc")
		fields = appendField(fields, "grpc-status", strconv.Itoa(int(codes.ResourceExhausted)))
		fields = appendField(fields, "grpc-message", words)
		answer = appendFrame(answer, headersFrame, endStream|endHeaders, stream, fields)
	}
	end := binary.BigEndian.AppendUint32(nil, stream)
	end = binary.BigEndian.AppendUint32(end, enhanceYourCalm)
	_, _ = conn.Write(appendFrame(answer, goAwayFrame, 0, 0, append(end, words...)))
}

// firstStream reads frames until one opens a stream, and returns its number, or 0 if none comes soon.
func firstStream(conn io.Reader) uint32 {
	const mostFrames, mostBytes = 64, 64 << 10
	for range mostFrames {
		var h [frameHeaderBytes]byte
		if _, err := io.ReadFull(conn, h[:]); err != nil {
			return 0
		}
		if h[3] == headersFrame {
			return binary.BigEndian.Uint32(h[5:]) &^ (1 << 31)
		}
		length := int64(h[0])<<16 | int64(h[1])<<8 | int64(h[2])
		if _, err := io.CopyN(io.Discard, conn, length); length > mostBytes || err != nil {
			return 0
		}
	}
	return 0
}

func appendFrame(b []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(b, payload...)
}

// appendField appends a header field as it stands, outside of every table (RFC 7541, section 6.2.2).
func appendField(b []byte, name, value string) []byte {
	b = append(b, 0)
	for _, s := range []string{name, value} {
		const prefix = 1<<7 - 1
		if len(s) < prefix {
			b = append(b, byte(len(s)))
		} else {
			b = append(b, prefix)
			b = binary.AppendUvarint(b, uint64(len(s)-prefix))
		}
		b = append(b, s...)
	}
	return b
}
