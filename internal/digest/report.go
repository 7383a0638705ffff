package digest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"holdfast/internal/kind"
)

// MaxMarks is how many marks a report may hold.
const MaxMarks = 16

const (
	reportVersion  = 1
	reportOverhead = 1 + 8 + 1 + 4
	markBytes      = 16
)

// ErrReport: the bytes are not a report.
var ErrReport = errors.New("not a report of digests")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Report is what a member tells others of its digests; the package comment draws it.
type Report struct {
	Asks  kind.Index // where the sender wants to hear the receiver's digest; 0 for nowhere
	Marks []Mark     // at most MaxMarks
}

// AppendReport appends the encoding of r, of whose marks the first MaxMarks count.
func AppendReport(dst []byte, r Report) []byte {
	start := len(dst)
	marks := r.Marks[:min(len(r.Marks), MaxMarks)]
	dst = append(dst, reportVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Asks))
	dst = append(dst, byte(len(marks)))
	for _, m := range marks {
		dst = binary.BigEndian.AppendUint64(dst, uint64(m.Index))
		dst = binary.BigEndian.AppendUint64(dst, m.Digest)
	}
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// DecodeReport accepts what AppendReport writes and nothing else. The error is ErrReport.
func DecodeReport(b []byte) (Report, error) {
	if len(b) < reportOverhead || b[0] != reportVersion {
		return Report{}, fmt.Errorf("%w: %d bytes, or a version that is not known", ErrReport, len(b))
	}
	n := int(b[9])
	if n > MaxMarks || len(b) != reportOverhead+n*markBytes {
		return Report{}, fmt.Errorf("%w: %d bytes for %d marks", ErrReport, len(b), n)
	}
	if crc32.Checksum(b[:len(b)-4], castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return Report{}, fmt.Errorf("%w: its checksum does not match", ErrReport)
	}
	r := Report{Asks: kind.Index(binary.BigEndian.Uint64(b[1:]))}
	for i := range n {
		at := b[10+i*markBytes:]
		r.Marks = append(r.Marks, Mark{kind.Index(binary.BigEndian.Uint64(at)), binary.BigEndian.Uint64(at[8:])})
	}
	return r, nil
}
