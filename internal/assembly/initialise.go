package assembly

import (
	"fmt"
	"net/url"
	"slices"

	"go.uber.org/zap"

	"holdfast/internal/config"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/member"
	"holdfast/internal/replica"
	"holdfast/internal/store"
	"holdfast/internal/wal"
)

// Birth says how a member begins in an empty directory.
type Birth struct {
	// Token and Members are those of a new cluster; one of the members has the name of the settings.
	Token   string
	Members []config.InitialMember
	// Join is the cluster that exists already, and the member's id there, if it is to join one; Members is empty then.
	Join struct {
		Cluster kind.ClusterID
		Member  kind.MemberID
	}
}

// bear makes a member in the empty data directory.
func (m *Member) bear() error {
	c := m.config
	birth := Birth{Token: c.InitialClusterToken, Members: c.InitialCluster}
	var err error
	if m.o.Birth != nil {
		birth, err = m.o.Birth()
	} else {
		err = c.CheckBootstrap()
	}
	if err != nil {
		return err
	}
	if birth.Join.Member != 0 {
		err = m.join(birth)
	} else {
		err = m.initialise(birth)
	}
	if err != nil {
		return fmt.Errorf("make a new member in %s: %w", c.DataDir, err)
	}
	return nil
}

// initialise makes a member of a new cluster: a store that holds the first members and raft's configuration at position
// (1, 1), and a log that begins after it. All members that were given the same list make the same, whatever else their
// settings say: names and client URLs are published by the members themselves when they run.
func (m *Member) initialise(birth Birth) error {
	members := make([]member.Member, 0, len(birth.Members))
	for _, i := range birth.Members {
		members = append(members, member.Member{PeerURLs: texts(i.PeerURLs)})
	}
	cluster, made, err := member.Genesis(birth.Token, members)
	if err != nil {
		return err
	}
	me, ok := memberNamed(birth.Members, m.config.Name)
	if !ok {
		return fmt.Errorf("--name is %q, but --initial-cluster has no member of that name", m.config.Name)
	}
	id := kind.Identity{Cluster: cluster, Incarnation: randomNumber()}
	for _, peer := range made {
		if slices.Equal(peer.PeerURLs, texts(me.PeerURLs)) {
			id.Member = peer.ID
		}
	}
	genesis := func(set func(key, value []byte)) { machine.Genesis(set, made) }
	return m.make(id, kind.Position{Index: 1, Term: 1}, genesis, "made a member of a new cluster")
}

// join makes a member of a cluster that exists: an empty store and log, which get everything from the other members.
func (m *Member) join(birth Birth) error {
	id := kind.Identity{Cluster: birth.Join.Cluster, Member: birth.Join.Member, Incarnation: randomNumber()}
	return m.make(id, kind.Position{}, machine.JoiningGenesis, "made a member that joins a cluster")
}

// make makes log and store.
func (m *Member) make(id kind.Identity, begin kind.Position, genesis func(set func(key, value []byte)), said string) error {
	c, fs := m.config, m.o.FS
	err := m.dir.Init(id, c.Name, func(logDir, storeDir string) error {
		err := store.Create(fs, storeDir, id, func(set func(key, value []byte)) error {
			genesis(set)
			return nil
		})
		if err != nil {
			return err
		}
		return wal.Create(fs, logDir, id, begin, wal.Options{
			SegmentBytes: m.o.Sizes.SegmentBytes,
			NoSync:       c.UnsafeNoFsync,
		})
	})
	if err != nil {
		return err
	}
	m.o.Logger.Info(said, zap.String("data-dir", c.DataDir), zap.Stringer("cluster", id.Cluster), zap.Stringer("member", id.Member))
	return nil
}

// isolate makes the member a cluster of its own, if --force-new-cluster says so.
func (m *Member) isolate() error {
	if !m.config.ForceNewCluster {
		return nil
	}
	left, err := replica.Isolate(m.dir.Identity().Member, m.log, m.state)
	if err != nil {
		return fmt.Errorf("--force-new-cluster: %w", err)
	}
	if len(left) == 0 {
		m.o.Logger.Warn("--force-new-cluster is on and changes nothing: the member is a cluster of its own; leave the flag out at the next start")
		return nil
	}
	m.o.Logger.Warn("--force-new-cluster: this member is now a cluster of its own, with all that it holds; writes that only the other members "+
		"had acknowledged are lost; never start the others again with their old data; leave the flag out at the next start",
		zap.Stringers("removed", left))
	return nil
}

func memberNamed(members []config.InitialMember, name string) (config.InitialMember, bool) {
	i := slices.IndexFunc(members, func(m config.InitialMember) bool { return m.Name == name })
	if i < 0 {
		return config.InitialMember{}, false
	}
	return members[i], true
}

func texts(urls []url.URL) []string {
	out := make([]string, len(urls))
	for i, u := range urls {
		out[i] = u.String()
	}
	return out
}
