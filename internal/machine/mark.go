package machine

import (
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// Mark is the running digest at one of the indexes at which members compare theirs.
type Mark struct {
	Index  kind.Index
	Digest uint64
}

// Which indexes have a mark follows from the log alone: every so many entries, and each entry with which the cluster's
// time passes a half second, so that there is one at least every second while entries flow. All builds whose members can
// belong to one cluster have the same rule: what only some members mark is never decided.
const (
	markEntries = 1024
	markNanos   = 500_000_000
)

// mark notes the digest after an entry, if its index has a mark. The entry before it is still the last one applied.
func (p *Pending) mark(after *store.Applied) {
	if after.Position.Index%markEntries == 0 || after.Elapsed/markNanos != p.applied.Elapsed/markNanos {
		p.marks = append(p.marks, Mark{after.Position.Index, after.Digest})
	}
}

// MarkDue reports whether an entry that is proposed at a time of the cluster will have a mark because of it, when a is
// what is applied before.
func MarkDue(a store.Applied, elapsed uint64) bool { return elapsed/markNanos > a.Elapsed/markNanos }

// Marks returns the marks of the batch, in order. The list is used again by the next Begin.
func (p *Pending) Marks() []Mark { return p.marks }
