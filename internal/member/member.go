// Package member holds who belongs to the cluster: the record of each member, and Raft's configuration, which is
// not the same thing. It keeps them in the family 'n' of the store.
//
// Invariants:
//
//  1. An id is never given to two members. The record of a removed member stays for ever.
//  2. The configuration is stored in the batch of the entry that changed it, with the applied position (I2), and
//     is what raft is started with; it is never made up from the members.
//  3. Every member of a static bootstrap computes the same ids and the same records.
//  4. The records follow the configuration: who is named in none of its lists is removed, who receives the log without
//     a vote is a learner.
//
// # The records
//
//	n 'm' <id, 8 BE> 00  ->  version (1 byte: 1) | flags (1 byte) | name | peer URLs | client URLs | crc32c (4 BE)
//	n 'c' 00             ->  version (1 byte: 1) | flags (1 byte) | voters | learners | outgoing voters |
//	                         next learners | crc32c (4 BE)
//
// A string is its length (uvarint) and its bytes; a list is its length (uvarint) and its elements; an id is 8 bytes,
// big endian. The flags of a member are 1 for a learner and 2 for one that was removed; those of a configuration
// are 1 if Raft leaves a joint one by itself. The checksum covers all before it.
//
// # Use
//
// Genesis makes the members of a new cluster, Write and WriteConfState put records into a batch, Load reads all of
// them when a store is opened. A change begins with NewID for each member that is added; the leader decides with Check
// and proposes what Proposal makes of it; when it is committed, Follow says which records it changes.
package member

import (
	"slices"

	"holdfast/internal/kind"
)

// Member is one member of the cluster.
type Member struct {
	ID         kind.MemberID
	Name       string   // what its operator calls it; empty until it has started
	PeerURLs   []string // where the other members reach it
	ClientURLs []string // where clients reach it; empty until it has started
	Learner    bool     // it receives the log and does not vote
	Removed    bool     // it belongs to the cluster no more; its id is not given again
}

// Equal reports whether m and o say the same.
func (m Member) Equal(o Member) bool {
	return m.ID == o.ID && m.Name == o.Name && m.Learner == o.Learner && m.Removed == o.Removed &&
		slices.Equal(m.PeerURLs, o.PeerURLs) && slices.Equal(m.ClientURLs, o.ClientURLs)
}
