package node

import (
	"holdfast/internal/kind"
	"holdfast/internal/member"
)

// NewMemberID returns the id of a member that is to be added, which no other has or had, as far as this member knows.
func (n *Node) NewMemberID(peerURLs []string) kind.MemberID {
	return member.NewID(n.Identity.Cluster, peerURLs, n.Clock.Wall().UnixNano(), n.Replica.Machine().Everyone())
}
