package parity

import (
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A Known difference is excused. The table is mirrored in docs/compat.md.
type Known struct {
	Name   string
	Reason string
	// Excuses says whether d, found between the two answers to o, is the difference. It should be as narrow as the truth.
	Excuses func(s *State, o Operation, d Difference, left, right Answer) bool
}

// known are all differences between Holdfast and etcd that are meant to be.
var known = []Known{
	{
		Name: "HashKV at a revision of an earlier compaction",
		Reason: "etcd keeps the hashes of its last ten compactions in memory until it restarts, and answers HashKV at such a revision with " +
			"what was true then: the compacted revision before it, and no error although the revision is compacted by now. The answer " +
			"depends on when the background work ended and on restarts. Holdfast answers from the store: always the present compacted revision.",
		Excuses: func(s *State, o Operation, _ Difference, _, _ Answer) bool {
			r, ok := o.Request.(*pb.HashKVRequest)
			return ok && s.Compactions[r.Revision]
		},
	},
	{
		Name: "Status.storageVersion in the first seconds",
		Reason: "a new etcd says 3.5.0 until its storage monitor has run for the first time, some seconds after the start; Holdfast has no older " +
			"format to come from and says what it will say from then on.",
		Excuses: func(_ *State, _ Operation, d Difference, _, _ Answer) bool {
			return d.Field == "etcdserverpb.StatusResponse.storageVersion" && (d.Left == `"3.5.0"` || d.Right == `"3.5.0"`)
		},
	},
	{
		Name: "A request that can never be served, when the store is full",
		Reason: "etcd looks at its quota before it looks at the request, so that a put without a key is refused for want of space. Holdfast looks " +
			"at the request first and names the fault that room would not mend.",
		Excuses: func(_ *State, _ Operation, _ Difference, left, right Answer) bool {
			return left.Outcome() == noSpace.outcome() && right.Status.Code() == codes.InvalidArgument
		},
	},
	{
		Name: "The chunks of RangeStream with a limit below zero",
		Reason: "such a limit means none. etcd then sends the whole range in a single message, however large; Holdfast sends it in chunks as it " +
			"does without a limit, so that memory stays bounded. Keys, count and header are the same; with a sort target, by which " +
			"both systems sort each chunk by itself, their order follows the chunks.",
		Excuses: func(_ *State, o Operation, _ Difference, left, right Answer) bool {
			r, ok := o.Request.(*pb.RangeRequest)
			return ok && o.Method == rangeStreamMethod && r.Limit < 0 &&
				(r.SortTarget != pb.RangeRequest_KEY || len(Compare(joined(left), joined(right))) == 0)
		},
	},
}

// allKnown are the differences of all services.
func allKnown() []Known { return slices.Concat(known, leaseKnown, watchKnown, authKnown) }

// noSpace is given by a store at its quota; TestNoSpace provokes it.
var noSpace = Refusal{codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"}

// unexcused returns the differences between two answers that no entry of known excuses.
func unexcused(s *State, o Operation, left, right Answer) []Difference {
	var found []Difference
	for _, d := range Compare(left, right) {
		excused := false
		for _, k := range allKnown() {
			excused = excused || k.Excuses(s, o, d, left, right)
		}
		if !excused {
			found = append(found, d)
		}
	}
	return found
}

// joined puts the chunks of a stream of ranges together: the keys of all, and the rest of the last.
func joined(a Answer) Answer {
	if len(a.Messages) == 0 {
		return a
	}
	whole := &pb.RangeStreamResponse{}
	for _, m := range a.Messages {
		proto.Merge(whole, m)
	}
	return Answer{Messages: []proto.Message{whole}, Status: a.Status}
}
