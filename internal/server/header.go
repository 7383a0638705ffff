package server

import (
	"encoding/binary"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"holdfast/internal/kind"
)

// header writes the header of responses: field 1 of every response message, with cluster_id 1, member_id 2,
// revision 3 and raft_term 4. The two ids never change, so they are encoded once.
type header struct {
	cluster kind.ClusterID
	member  kind.MemberID
	ids     []byte
}

// headerBytes is the most that append adds.
const headerBytes = 2 + 4*(1+binary.MaxVarintLen64)

func newHeader(cluster kind.ClusterID, member kind.MemberID) header {
	var ids []byte
	if cluster != 0 {
		ids = binary.AppendUvarint(append(ids, 1<<3), uint64(cluster))
	}
	if member != 0 {
		ids = binary.AppendUvarint(append(ids, 2<<3), uint64(member))
	}
	return header{cluster: cluster, member: member, ids: ids}
}

// append appends the header as field 1 of a response.
func (h *header) append(b []byte, revision int64, term uint64) []byte {
	const fieldOne = 1<<3 | 2
	b = append(b, fieldOne, 0)
	start := len(b)
	b = append(b, h.ids...)
	if revision != 0 {
		b = binary.AppendUvarint(append(b, 3<<3), uint64(revision))
	}
	if term != 0 {
		b = binary.AppendUvarint(append(b, 4<<3), term)
	}
	b[start-1] = byte(len(b) - start) // at most 44, so the length is one byte
	return b
}

// message returns the header as a message; a revision of 0 is left out.
func (h *header) message(revision kind.Revision, term kind.Term) *pb.ResponseHeader {
	return &pb.ResponseHeader{
		ClusterId: uint64(h.cluster),
		MemberId:  uint64(h.member),
		Revision:  int64(revision),
		RaftTerm:  uint64(term),
	}
}
