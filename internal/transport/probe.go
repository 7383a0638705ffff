package transport

import (
	"encoding/binary"
	"time"

	"go.uber.org/zap"
)

// A probe carries a number, and its answer the number and the wall clock of the one who answers, in nanoseconds since
// 1970.

func appendProbe(b []byte, number uint64) []byte {
	b, start := appendFrame(b, frameProbe)
	b = binary.BigEndian.AppendUint64(b, number)
	endFrame(b, start)
	return b
}

func probeAnswer(number uint64, wall time.Time) []byte {
	var body [16]byte
	binary.BigEndian.PutUint64(body[:], number)
	binary.BigEndian.PutUint64(body[8:], uint64(wall.UnixNano()))
	return frame(frameProbeAnswer, body[:]...)
}

func decodeProbe(body []byte) (number uint64, ok bool) {
	d := &decoder{rest: body}
	number = d.fixed(8)
	return number, !d.bad && len(d.rest) == 0
}

func decodeProbeAnswer(body []byte) (number uint64, wall time.Time, ok bool) {
	d := &decoder{rest: body}
	number = d.fixed(8)
	wall = time.Unix(0, int64(d.fixed(8)))
	return number, wall, !d.bad && len(d.rest) == 0
}

func (l *link) fields(err error) []zap.Field {
	return []zap.Field{zap.Stringer("peer-id", l.p.id), zap.Stringer("class", l.class), zap.Error(err)}
}
