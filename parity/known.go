package parity

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A Known difference is excused. The table is mirrored in docs/compat.md.
type Known struct {
	Name   string
	Reason string
	// Excuses says whether this is the difference. It should be as narrow as the truth.
	Excuses func(s *State, o Operation, d Difference) bool
}

// known are all differences between Holdfast and etcd that are meant to be.
var known = []Known{
	{
		Name: "HashKV at a revision of an earlier compaction",
		Reason: "etcd keeps the hashes of its last ten compactions in memory until it restarts, and answers HashKV at such a revision with " +
			"what was true then: the compacted revision before it, and no error although the revision is compacted by now. The answer " +
			"depends on when the background work ended and on restarts. Holdfast answers from the store: always the present compacted revision.",
		Excuses: func(s *State, o Operation, _ Difference) bool {
			r, ok := o.Request.(*pb.HashKVRequest)
			return ok && s.Compactions[r.Revision]
		},
	},
	{
		Name: "Status.storageVersion in the first seconds",
		Reason: "a new etcd says 3.5.0 until its storage monitor has run for the first time, some seconds after the start; Holdfast has no older " +
			"format to come from and says what it will say from then on.",
		Excuses: func(_ *State, _ Operation, d Difference) bool {
			return d.Field == "etcdserverpb.StatusResponse.storageVersion" && (d.Left == `"3.5.0"` || d.Right == `"3.5.0"`)
		},
	},
}

// unexcused returns the differences that no entry of known excuses.
func unexcused(s *State, o Operation, differences []Difference) []Difference {
	var left []Difference
	for _, d := range differences {
		excused := false
		for _, k := range known {
			excused = excused || k.Excuses(s, o, d)
		}
		if !excused {
			left = append(left, d)
		}
	}
	return left
}
