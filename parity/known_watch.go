package parity

import (
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// watchKnown are the differences of watches.
var watchKnown = []Known{
	{
		Name: "The id of a watch that compaction has ended",
		Reason: "etcd keeps it: a new watch cannot have it, the client's cancelling is answered a second time, and until then the stream answers no " +
			"request for progress. With Holdfast the watch is gone when its end is told. Clients that cancel what was cancelled see no more than an answer less.",
		Excuses: func(_ *State, o Operation, d Difference, left, right Answer) bool {
			r, ok := o.Request.(*pb.WatchRequest)
			if !ok || r.GetCreateRequest() == nil || d.Path != "messages" || len(left.Messages) != 3 || len(right.Messages) != 2 {
				return false
			}
			again := left.Messages[2].(*pb.WatchResponse)
			return right.Messages[1].(*pb.WatchResponse).CompactRevision != 0 && again.Canceled && again.CompactRevision == 0
		},
	},
	{
		Name: "prev_kv of a change at the compacted revision",
		Reason: "etcd looks the version before up when it sends the event, and finds that it is compacted. Holdfast sends what the event itself still knows: " +
			"it has the version before as long as the event is among the recent ones.",
		Excuses: func(s *State, _ Operation, d Difference, left, right Answer) bool {
			var at int
			if _, err := fmt.Sscanf(d.Path, "[%d].events[0].prev_kv", &at); err != nil || !strings.HasSuffix(d.Path, "prev_kv") || d.Left != "absent" || at >= len(right.Messages) {
				return false
			}
			e := right.Messages[at].(*pb.WatchResponse).Events[0]
			return e.Kv.ModRevision == s.Compacted
		},
	},
}
