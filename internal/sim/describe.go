package sim

import (
	"strconv"
	"strings"

	"holdfast/internal/transport"
)

// describe says what a frame holds, for the trace: all that decides what its receiver does, and nothing that differs from
// run to run.
func describe(ms []transport.Message) string {
	var b []byte
	for i, m := range ms {
		if i > 0 {
			b = append(b, "; "...)
		}
		if m.Raft == nil {
			b = append(b, m.Kind.String()...)
			b = strconv.AppendInt(append(b, ' '), int64(len(m.Payload)), 10)
			continue
		}
		r := m.Raft
		b = append(b, strings.TrimPrefix(r.GetType().String(), "Msg")...)
		number := func(name string, n uint64) {
			if n != 0 {
				b = strconv.AppendUint(append(b, name...), n, 10)
			}
		}
		number(" t", r.GetTerm())
		number(" log ", r.GetLogTerm())
		number("/", r.GetIndex())
		number(" c", r.GetCommit())
		if n := len(r.GetEntries()); n > 0 {
			bytes := 0
			for _, e := range r.GetEntries() {
				bytes += len(e.GetData())
			}
			number(" +", uint64(n))
			number(" bytes ", uint64(bytes))
		}
		if r.GetReject() {
			b = append(b, " no"...)
			number(" hint ", r.GetRejectHint())
		}
	}
	return string(b)
}
