package sim

import (
	"io"
	"strconv"
	"time"
)

// tracer hashes what happens, and writes it down if somebody wants to read it. Two runs of one seed have the same trace
// if the libraries below let them.
type tracer struct {
	out   io.Writer
	line  []byte
	sum   uint64
	lines uint64
}

func (t *tracer) init(out io.Writer) {
	t.out = out
	t.sum = 14695981039346656037
}

func (t *tracer) begin(at time.Duration) {
	t.line = strconv.AppendInt(t.line[:0], int64(at), 10)
}

func (t *tracer) text(s string) {
	t.line = append(t.line, ' ')
	t.line = append(t.line, s...)
}

func (t *tracer) number(n uint64) {
	t.line = append(t.line, ' ')
	t.line = strconv.AppendUint(t.line, n, 10)
}

func (t *tracer) finish() {
	t.line = append(t.line, '\n')
	t.lines++
	for _, b := range t.line {
		t.sum = (t.sum ^ uint64(b)) * 1099511628211
	}
	if t.out != nil {
		_, _ = t.out.Write(t.line)
	}
}
