package parity

import (
	"math/rand/v2"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// State is what a run knows of the stores from the answers that both sides agreed on. Generators draw their operands from it, so that
// compares hold about half the time and every edge is near.
type State struct {
	Keys      []*mvccpb.KeyValue // the live keys, in key order
	Revision  int64
	Compacted int64 // the last compacted revision, -1 if there is none
	// Compactions has every revision that was compacted in this run.
	Compactions map[int64]bool
	// Uncompactable has every revision at which compaction would break etcd: see learnTxn.
	Uncompactable map[int64]bool
	// Leases are those that live, in the order of their grants.
	Leases []int64
	// Watches has the ids that live on each long-lived stream.
	Watches map[int][]int64
	// AuthEnabled is whether requests need a token.
	AuthEnabled bool
	// Permissions has those of each role, as RoleGet showed them last.
	Permissions map[string][]*authpb.Permission
	// Queue are the next operations, ahead of whatever would be drawn.
	Queue []Operation
}

// NewState is that of a store that was never written.
func NewState() *State {
	return &State{Revision: 1, Compacted: -1, Compactions: map[int64]bool{}, Uncompactable: map[int64]bool{},
		Watches: map[int][]int64{}, Permissions: map[string][]*authpb.Permission{}}
}

// readAll is the request by which a run learns the state.
func readAll() Operation {
	return Operation{Method: rangeMethod, Request: &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}
}

// learn takes in an answer to readAll.
func (s *State) learn(a Answer) {
	if len(a.Messages) == 1 {
		r := a.Messages[0].(*pb.RangeResponse)
		s.Keys, s.Revision = r.Kvs, r.Header.GetRevision()
	}
}

// learnCompaction takes in the answer to a compaction.
func (s *State) learnCompaction(r *pb.CompactionRequest, a Answer) {
	if a.Status.Code() == 0 {
		s.Compacted = r.Revision
		s.Compactions[r.Revision] = true
	}
}

// learnTxn takes in the answer to a transaction. If it deleted a range without end and put keys, one of them may have been deleted and put
// at the same revision. A compaction at exactly that revision then makes etcd 3.7.3 delete the record of the live key, and every later
// read of it ends the process ("range failed to find revision pair"): its index keeps the tombstone and forgets the put behind it.
func (s *State) learnTxn(t *pb.TxnRequest, a Answer) {
	if len(a.Messages) == 1 && deletesFromKey(t) {
		s.Uncompactable[a.Messages[0].(*pb.TxnResponse).Header.GetRevision()] = true
	}
}

// live returns the live version of a key, or nil.
func (s *State) live(key []byte) *mvccpb.KeyValue {
	i, found := slices.BinarySearchFunc(s.Keys, key, func(kv *mvccpb.KeyValue, key []byte) int { return slices.Compare(kv.Key, key) })
	if !found {
		return nil
	}
	return s.Keys[i]
}

// count returns the number of live keys in a range as the API writes it.
func (s *State) count(key, end []byte) int64 {
	var n int64
	for _, kv := range s.Keys {
		switch {
		case len(end) == 0 && slices.Equal(kv.Key, key),
			len(end) == 1 && end[0] == 0 && slices.Compare(kv.Key, key) >= 0,
			len(end) > 0 && slices.Compare(kv.Key, key) >= 0 && slices.Compare(kv.Key, end) < 0:
			n++
		}
	}
	return n
}

// someRevision draws a revision at, below or above one of the edges.
func (s *State) someRevision(r *rand.Rand) int64 {
	edges := []int64{s.Revision, s.Compacted, s.Revision, 1, max(1, s.Compacted)}
	if len(s.Keys) > 0 {
		kv := s.Keys[r.IntN(len(s.Keys))]
		edges = append(edges, kv.ModRevision, kv.CreateRevision, kv.ModRevision, kv.CreateRevision)
	}
	if r.IntN(3) == 0 {
		low := max(1, s.Compacted)
		return low + r.Int64N(s.Revision-low+2)
	}
	return edges[r.IntN(len(edges))] + r.Int64N(3) - 1
}
