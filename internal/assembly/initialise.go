package assembly

import (
	"fmt"
	"net/url"

	"go.uber.org/zap"

	"holdfast/internal/config"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/member"
	"holdfast/internal/store"
	"holdfast/internal/wal"
)

// initialise makes a new member in the empty data directory: a store that holds the first members and raft's
// configuration at position (1, 1), and a log that begins after it. The members of a static bootstrap that were given
// the same list make the same.
func (m *Member) initialise() error {
	c, fs := m.config, m.o.FS
	members := make([]member.Member, 0, len(c.InitialCluster))
	for _, i := range c.InitialCluster {
		members = append(members, initialMember(c, i))
	}
	cluster, members, err := member.Genesis(c.InitialClusterToken, members)
	if err != nil {
		return err
	}
	id := kind.Identity{Cluster: cluster, Incarnation: randomNumber()}
	for _, peer := range members {
		if peer.Name == c.Name {
			id.Member = peer.ID
		}
	}
	if id.Member == 0 {
		return fmt.Errorf("--name is %q, but --initial-cluster has no member of that name", c.Name)
	}
	err = m.dir.Init(id, c.Name, func(logDir, storeDir string) error {
		genesis := func(set func(key, value []byte)) error {
			machine.Genesis(set, members)
			return nil
		}
		if err := store.Create(fs, storeDir, id, genesis); err != nil {
			return err
		}
		return wal.Create(fs, logDir, id, kind.Position{Index: 1, Term: 1}, wal.Options{
			SegmentBytes: m.o.Sizes.SegmentBytes,
			NoSync:       c.UnsafeNoFsync,
		})
	})
	if err != nil {
		return err
	}
	m.o.Logger.Info("made a new member", zap.String("data-dir", c.DataDir), zap.Stringer("cluster", cluster), zap.Stringer("member", id.Member))
	return nil
}

// initialMember is what the settings say of one of the first members. Only a member itself knows its client URLs.
func initialMember(c *config.Config, i config.InitialMember) member.Member {
	m := member.Member{Name: i.Name, PeerURLs: texts(i.PeerURLs)}
	if i.Name == c.Name {
		m.ClientURLs = texts(c.AdvertiseClientURLs)
	}
	return m
}

func texts(urls []url.URL) []string {
	out := make([]string, len(urls))
	for i, u := range urls {
		out[i] = u.String()
	}
	return out
}
