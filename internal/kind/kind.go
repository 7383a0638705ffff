// Package kind holds the distinct types for the numbers that must not mix: a revision is not an index,
// a member is not a lease. It is the lowest room of the house; it imports nothing and decides nothing.
package kind

import "fmt"

// Index is the position of an entry in the Raft log. The first entry of a cluster has index 1; 0 means none.
type Index uint64

// Term is a Raft term (Raft thesis, section 3.3). 0 means none.
type Term uint64

// Revision counts the commands that changed keys. A new store stands at revision 1, as etcd's does; 0 in a
// request means the latest. Versions of keys, events and reads are ordered by it.
type Revision int64

// MemberID names a member of a cluster for ever; a removed id never comes back. 0 means none.
type MemberID uint64

// ClusterID names a cluster.
type ClusterID uint64

// LeaseID names a lease. 0 means no lease.
type LeaseID int64

func (id MemberID) String() string  { return fmt.Sprintf("%x", uint64(id)) }
func (id ClusterID) String() string { return fmt.Sprintf("%x", uint64(id)) }
func (id LeaseID) String() string   { return fmt.Sprintf("%016x", uint64(id)) }

// Position is a place in the log: an index with the term of the entry there.
type Position struct {
	Index Index
	Term  Term
}

// Identity is what a log and a store that belong together have in common. Incarnation is drawn once, when the
// data directory is made, so that a log and a store of the same member from different lives are told apart.
type Identity struct {
	Cluster     ClusterID
	Member      MemberID
	Incarnation uint64
}

func (id Identity) String() string {
	return fmt.Sprintf("cluster %v, member %v, incarnation %x", id.Cluster, id.Member, id.Incarnation)
}
