package parity

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// hashes remembers the checksums that one side has given. They are not compared between the sides, but each side must keep its own.
type hashes struct {
	// at holds the hash of a revision above a compacted one. It never changes, not by a restart either.
	at map[[2]int64]uint32
	// last is the hash of the whole store, nil if something may have changed it since.
	last *uint32
	// settled is false while a compaction may be at work in the background.
	settled bool
	// lax is set for etcd: where no key is live, its HashKV takes in what a compaction at work has not deleted yet. Holdfast's never may.
	lax bool
}

func newHashes(s System) hashes {
	_, isEtcd := s.(*Etcd)
	return hashes{at: map[[2]int64]uint32{}, settled: true, lax: isEtcd}
}

// ownRules returns what one side's answer breaks of the rules that need no other side. State is from before the operation.
func ownRules(name string, h *hashes, state *State, o Operation, a Answer) []string {
	var broken []string
	complain := func(format string, args ...any) { broken = append(broken, name+": "+fmt.Sprintf(format, args...)) }
	if c, ok := o.Request.(*pb.CompactionRequest); ok {
		h.settled = c.Physical
	}
	switch o.Method.Parent() {
	case "etcdserverpb.Lease", "etcdserverpb.Auth":
		h.last = nil // the checksum takes in leases and users, too
	}
	if o.mayWrite() || o.Method == compactMethod {
		h.last = nil
	}
	if len(a.Messages) != 1 {
		return broken
	}
	switch m := a.Messages[0].(type) {
	case *pb.HashKVResponse:
		if h.lax && !h.settled {
			break
		}
		// etcd may answer with what it remembers of an earlier compaction; see known.
		if !h.lax && m.CompactRevision != state.Compacted {
			complain("HashKV says compacted at %d, which was at %d", m.CompactRevision, state.Compacted)
		}
		at := [2]int64{m.HashRevision, m.CompactRevision}
		if before, ok := h.at[at]; ok && before != m.Hash {
			complain("the hash at revision %d, compacted at %d, was %d and is %d", at[0], at[1], before, m.Hash)
		}
		h.at[at] = m.Hash
	case *pb.HashResponse:
		if h.last != nil && h.settled && *h.last != m.Hash {
			complain("the hash of the store was %d and is %d, and nothing was written", *h.last, m.Hash)
		}
		h.last = &m.Hash
	case *pb.StatusResponse:
		if m.Leader == 0 || m.Leader != m.Header.GetMemberId() {
			complain("the only member %d does not lead, %d does", m.Header.GetMemberId(), m.Leader)
		}
		if m.RaftAppliedIndex > m.RaftIndex || m.RaftAppliedIndex == 0 {
			complain("applied index %d against index %d", m.RaftAppliedIndex, m.RaftIndex)
		}
		if m.DbSize < m.DbSizeInUse || m.DbSizeInUse < 0 || m.DbSize <= 0 {
			complain("dbSize %d against dbSizeInUse %d", m.DbSize, m.DbSizeInUse)
		}
		if m.RaftTerm == 0 || m.RaftTerm != m.Header.GetRaftTerm() {
			complain("term %d against %d in the header", m.RaftTerm, m.Header.GetRaftTerm())
		}
	case *pb.MemberListResponse:
		for _, member := range m.Members {
			if len(member.PeerURLs) != 1 || len(member.ClientURLs) != 1 {
				complain("one peer and one client URL were given, listed are %q and %q", member.PeerURLs, member.ClientURLs)
			}
		}
	}
	broken = append(broken, authRules(name, a.Messages[0])...)
	return append(broken, headerRules(name, o, a)...)
}

// headerRules holds that the identities, which are not compared, are filled where etcd fills them.
func headerRules(name string, o Operation, a Answer) []string {
	m := a.Messages[0].ProtoReflect()
	field := m.Descriptor().Fields().ByName("header")
	if field == nil || !m.Has(field) {
		return nil
	}
	h := m.Get(field).Message().Interface().(*pb.ResponseHeader)
	if h.ClusterId == 0 || h.MemberId == 0 || h.RaftTerm == 0 {
		return []string{fmt.Sprintf("%s: the header of %s lacks an identity or the term: %v", name, o.Name(), h)}
	}
	return nil
}
