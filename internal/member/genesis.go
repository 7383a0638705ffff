package member

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
)

// The refusals of Genesis.
var (
	ErrNoMembers = errors.New("a cluster needs at least one member that votes")
	ErrNoPeerURL = errors.New("a member of a new cluster needs at least one peer URL")
	ErrSameURL   = errors.New("two members of a new cluster have a peer URL in common")
)

// Genesis returns the id of the new cluster with this token, and its members with their ids, ordered by id. The
// ids are hashes: a member's of the token and its peer URLs, the cluster's of the token and all members' ids. So
// each member of a static bootstrap, given the same token and the same members in any order, comes to the same,
// and clusters that must not mix need different tokens. The ids that members have already are not looked at.
func Genesis(token string, members []Member) (kind.ClusterID, []Member, error) {
	made := make([]Member, len(members))
	seen := make(map[string]bool)
	voters := 0
	for i, m := range members {
		if len(m.PeerURLs) == 0 {
			return 0, nil, fmt.Errorf("%w: give one for %q", ErrNoPeerURL, m.Name)
		}
		urls := slices.Clone(m.PeerURLs)
		slices.Sort(urls)
		for _, url := range slices.Compact(slices.Clone(urls)) {
			if seen[url] {
				return 0, nil, fmt.Errorf("%w: %s", ErrSameURL, url)
			}
			seen[url] = true
		}
		if !m.Learner {
			voters++
		}
		m.ID = kind.MemberID(hash("member", append([]string{token}, urls...)))
		made[i] = m
	}
	if voters == 0 {
		return 0, nil, ErrNoMembers
	}
	slices.SortFunc(made, byID)
	ids := []string{token}
	for _, m := range made {
		ids = append(ids, m.ID.String())
	}
	return kind.ClusterID(hash("cluster", ids)), made, nil
}

// Configuration returns Raft's configuration at the birth of a cluster of these members.
func Configuration(members []Member) *raftpb.ConfState {
	cs := &raftpb.ConfState{}
	for _, m := range members {
		if m.Learner {
			cs.Learners = append(cs.Learners, uint64(m.ID))
		} else {
			cs.Voters = append(cs.Voters, uint64(m.ID))
		}
	}
	return cs
}

func byID(a, b Member) int {
	switch {
	case a.ID < b.ID:
		return -1
	case a.ID > b.ID:
		return 1
	}
	return 0
}

// hash returns 8 bytes of the SHA-256 of what is hashed and its parts, each with its length before it. It is
// never 0, which means no id.
func hash(what string, parts []string) uint64 {
	h := sha256.New()
	var length [8]byte
	for _, part := range append([]string{"holdfast " + what}, parts...) {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return max(1, binary.BigEndian.Uint64(h.Sum(nil)))
}
