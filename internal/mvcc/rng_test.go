package mvcc

import (
	randv2 "math/rand/v2"

	"holdfast/internal/kind"
)

// newRNG returns the source that the crashable file system wants.
func newRNG(seed uint64) *randv2.Rand { return randv2.New(randv2.NewPCG(seed, 1)) }

func kindRevision(n int64) kind.Revision { return kind.Revision(n) }
func kindLease(n int64) kind.LeaseID     { return kind.LeaseID(n) }
