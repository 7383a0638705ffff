package holdfast

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/assembly"
	"holdfast/internal/config"
	"holdfast/internal/discovery"
	"holdfast/internal/kind"
	"holdfast/internal/member"
)

const (
	// resolvePatience is how long names of URLs that ought to be the same may take to be known, as in etcd.
	resolvePatience = 30 * time.Second
	// glance is how long a member of a new cluster looks whether the others are there already.
	glance = time.Second
	// joinPatience is how long a member that joins asks the others, who may not have heard of it yet.
	joinPatience = 10 * time.Second
)

// birth says how this member begins in its empty directory: with the members that the settings list or that are
// discovered, or in the cluster that exists already.
func (m *Member) birth(ctx context.Context) (b assembly.Birth, err error) {
	m.born = true
	c := &m.config
	if c.ForceNewCluster && (len(c.InitialCluster) != 1 || c.InitialClusterState == "existing") {
		return b, fmt.Errorf("--force-new-cluster is on, but there is no member in %s that it could make a cluster of; check --data-dir", c.DataDir)
	}
	if err := m.openPeerPorts(); err != nil {
		return b, err
	}
	if err := m.preparePeerTLS(); err != nil {
		return b, err
	}
	b.Token = c.InitialClusterToken
	self := config.InitialMember{Name: c.Name, PeerURLs: c.InitialAdvertisePeerURLs}
	switch {
	case c.DiscoverySRV != "":
		b.Members, err = discovery.FromDNS(ctx, m.resolver(), discovery.DNS{Domain: c.DiscoverySRV, Suffix: c.DiscoverySRVName, Self: self})
	case len(c.DiscoveryEndpoints) > 0:
		b.Token = c.DiscoveryToken
		b.Members, err = m.register(ctx, self)
	default:
		b.Members = c.InitialCluster
	}
	if err != nil {
		return b, err
	}
	checked := *c
	checked.InitialCluster = b.Members
	err = checked.CheckBootstrapWith(func(listed, advertised []url.URL) string {
		patient, cancel := context.WithTimeout(ctx, resolvePatience)
		defer cancel()
		return discovery.Difference(patient, m.resolver(), listed, advertised)
	})
	if err != nil {
		return b, err
	}
	if c.InitialClusterState == "existing" {
		b.Join.Cluster, b.Join.Member, err = m.join(ctx, b.Members)
		b.Members = nil
		return b, err
	}
	return b, m.mustBeNew(ctx, b.Token, b.Members)
}

func (m *Member) resolver() discovery.Resolver {
	if m.world.resolver != nil {
		return m.world.resolver
	}
	return net.DefaultResolver
}

// register finds the members through another cluster.
func (m *Member) register(ctx context.Context, self config.InitialMember) ([]config.InitialMember, error) {
	c := &m.config
	_, id, err := identityOf(c.DiscoveryToken, []config.InitialMember{self}, c.Name)
	if err != nil {
		return nil, err
	}
	return discovery.Through(ctx, discovery.Registry{
		Endpoints: c.DiscoveryEndpoints, Token: c.DiscoveryToken,
		DialTimeout: c.DiscoveryDialTimeout, RequestTimeout: c.DiscoveryRequestTimeout,
		KeepAliveTime: c.DiscoveryKeepAliveTime, KeepAliveTimeout: c.DiscoveryKeepAliveTimeout,
		InsecureTransport: c.DiscoveryInsecureTransport, InsecureSkipVerify: c.DiscoveryInsecureSkipVerify,
		CertFile: c.DiscoveryCertFile, KeyFile: c.DiscoveryKeyFile, CAFile: c.DiscoveryCAFile,
		User: c.DiscoveryUser, Password: c.DiscoveryPassword,
		Logger: m.logger.Named("discovery"),
	}, id.String(), self)
}

// identityOf is the cluster that a list makes, and the id in it of the member of a name.
func identityOf(token string, list []config.InitialMember, name string) (cluster kind.ClusterID, id kind.MemberID, err error) {
	var members []member.Member
	for _, i := range list {
		members = append(members, member.Member{Name: i.Name, PeerURLs: textsOf(i.PeerURLs)})
	}
	cluster, members, err = member.Genesis(token, members)
	if err != nil {
		return 0, 0, err
	}
	for _, one := range members {
		if one.Name == name {
			id = one.ID
		}
	}
	return cluster, id, nil
}

func textsOf(urls []url.URL) (texts []string) {
	for _, u := range urls {
		texts = append(texts, u.String())
	}
	return texts
}

// answered is what was heard from a peer URL.
type answered struct {
	url  url.URL
	page memberPage
	err  error
}

// askAll asks at all peer URLs at once, but this member's.
func (m *Member) askAll(ctx context.Context, list []config.InitialMember, timeout time.Duration) []answered {
	urls := discovery.Peers(list, m.config.Name)
	all := make([]answered, len(urls))
	var asked sync.WaitGroup
	for i, u := range urls {
		asked.Go(func() {
			page, err := m.askMembers(ctx, u, timeout)
			all[i] = answered{u, page, err}
		})
	}
	asked.Wait()
	return all
}

// mustBeNew looks whether another member of the list is there already and belongs to another cluster, or knows this one
// as a member that has run before: one that began anew would have forgotten what it has acknowledged. Whoever is not
// there yet, as at the first start of all, is not waited for.
func (m *Member) mustBeNew(ctx context.Context, token string, list []config.InitialMember) error {
	cluster, id, err := identityOf(token, list, m.config.Name)
	if err != nil {
		return err
	}
	for _, a := range m.askAll(ctx, list, glance) {
		if a.err != nil {
			continue
		}
		if a.page.Cluster != cluster.String() {
			return fmt.Errorf("the member at %s belongs to the cluster %s, but --initial-cluster and --initial-cluster-token of this member make "+
				"the cluster %v: they must be the same on all members of a new cluster; to join a cluster that exists, have this member added "+
				"(holdfast member add) and start it with --initial-cluster-state=existing", a.url.String(), a.page.Cluster, cluster)
		}
		if slices.Contains(a.page.Removed, id.String()) {
			return fmt.Errorf("the member at %s says that this member (%v) was removed from the cluster: have it added anew (holdfast member add), "+
				"and start it with --initial-cluster-state=existing", a.url.String(), id)
		}
		for _, one := range a.page.Members {
			if one.ID == id.String() && len(one.ClientURLs) > 0 {
				return alreadyRan(a.url, id, m.config.DataDir)
			}
		}
	}
	return nil
}

func alreadyRan(at url.URL, id kind.MemberID, dir string) error {
	return fmt.Errorf("the member at %s says that this member (%v) has run before, but its data is not in %s: bring the data back or correct --data-dir; "+
		"if it is lost, replace the member (holdfast member replace %v), since one that has forgotten what it acknowledged must not come back", at.String(), id, dir, id)
}

// join asks the members of the cluster that exists who this member is. Any of them may lag behind the change that has
// added this one, so all are asked, and again for some time.
func (m *Member) join(ctx context.Context, list []config.InitialMember) (kind.ClusterID, kind.MemberID, error) {
	patient, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	for {
		cluster, id, err := m.joinOnce(patient, list)
		if _, ok := errors.AsType[*passing](err); !ok {
			return cluster, id, err
		}
		timer := time.NewTimer(glance / 2)
		select {
		case <-timer.C:
		case <-patient.Done():
			timer.Stop()
			return 0, 0, err
		}
	}
}

// passing is a refusal that asking again may take back.
type passing struct{ error }

func mayPass(format string, args ...any) error { return &passing{fmt.Errorf(format, args...)} }

func (m *Member) joinOnce(ctx context.Context, list []config.InitialMember) (kind.ClusterID, kind.MemberID, error) {
	answers := m.askAll(ctx, list, joinPatience)
	var said []string
	var refused error
	for _, a := range answers {
		if a.err != nil {
			said = append(said, a.err.Error())
			continue
		}
		cluster, id, err := m.findSelf(ctx, a, list)
		if err == nil {
			m.logger.Info("joining the cluster", zap.Stringer("cluster", cluster), zap.Stringer("member", id), zap.String("said-by", a.url.String()))
			return cluster, id, nil
		}
		refused = err
	}
	switch {
	case refused != nil:
		return 0, 0, refused
	case len(answers) == 0:
		return 0, 0, errors.New("--initial-cluster-state is existing, but --initial-cluster lists this member alone: list the members of the cluster to join, and this one")
	}
	return 0, 0, mayPass("--initial-cluster-state is existing, but no other member of --initial-cluster answers: %s; list members that run, "+
		"or leave the state at new to make a new cluster", strings.Join(said, "; "))
}

// findSelf finds this member by its peer URLs among those that another one lists, which must be those of the settings.
func (m *Member) findSelf(ctx context.Context, a answered, list []config.InitialMember) (kind.ClusterID, kind.MemberID, error) {
	me, _ := memberNamed(list, m.config.Name)
	var mine *pageMember
	left := slices.Clone(list)
	var strangers []string
	for i, one := range a.page.Members {
		at := slices.IndexFunc(left, func(l config.InitialMember) bool { return m.sameURLs(ctx, l.PeerURLs, one.PeerURLs) })
		if at < 0 {
			strangers = append(strangers, strings.Join(one.PeerURLs, ","))
			continue
		}
		if left[at].Name == me.Name {
			mine = &a.page.Members[i]
		}
		left = slices.Delete(left, at, at+1)
	}
	at := a.url.String()
	switch {
	case mine == nil:
		return 0, 0, mayPass("the member at %s knows no member with this one's peer URLs (%s): have it added first, by \"holdfast member add %s "+
			"--peer-urls=%s\", or correct --initial-cluster", at, strings.Join(textsOf(me.PeerURLs), ","), me.Name, strings.Join(textsOf(me.PeerURLs), ","))
	case len(strangers) > 0:
		return 0, 0, mayPass("--initial-cluster lists %d members, but the cluster has %d: %s is missing in the list; list all members, "+
			"and this one", len(list), len(a.page.Members), strings.Join(strangers, " and "))
	case len(left) > 0:
		return 0, 0, mayPass("--initial-cluster lists %d members, but the cluster has %d: %s is not one of them; list the members of the cluster, "+
			"and this one", len(list), len(a.page.Members), config.FormatMembers(left))
	}
	cluster, err := strconv.ParseUint(a.page.Cluster, 16, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("the member at %s calls its cluster %q, which is no id", at, a.page.Cluster)
	}
	id, err := strconv.ParseUint(mine.ID, 16, 64)
	if err != nil || id == 0 {
		return 0, 0, fmt.Errorf("the member at %s calls this member %q, which is no id", at, mine.ID)
	}
	if mine.Name != "" || len(mine.ClientURLs) > 0 {
		return 0, 0, alreadyRan(a.url, kind.MemberID(id), m.config.DataDir)
	}
	return kind.ClusterID(cluster), kind.MemberID(id), nil
}

// sameURLs reports whether two lists name the same addresses; names are resolved only where the texts differ.
func (m *Member) sameURLs(ctx context.Context, listed []url.URL, known []string) bool {
	if slices.Equal(sortedTexts(textsOf(listed)), sortedTexts(known)) {
		return true
	}
	var others []url.URL
	for _, text := range known {
		u, err := url.Parse(text)
		if err != nil {
			return false
		}
		others = append(others, *u)
	}
	patient, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	return discovery.Difference(patient, m.resolver(), listed, others) == ""
}

func sortedTexts(texts []string) []string {
	texts = slices.Clone(texts)
	slices.Sort(texts)
	return texts
}

func memberNamed(list []config.InitialMember, name string) (config.InitialMember, bool) {
	i := slices.IndexFunc(list, func(one config.InitialMember) bool { return one.Name == name })
	if i < 0 {
		return config.InitialMember{}, false
	}
	return list[i], true
}

// compareWithDirectory says where the directory is stronger than what the settings ask of a first start.
func (m *Member) compareWithDirectory() {
	if m.born {
		return
	}
	c, id := &m.config, m.below.Dir().Identity()
	if c.Source("initial-cluster") != config.FromDefault && c.InitialClusterState == "new" {
		if cluster, _, err := identityOf(c.InitialClusterToken, c.InitialCluster, c.Name); err == nil && cluster != id.Cluster {
			m.logger.Info("the data directory holds a member already; --initial-cluster, --initial-cluster-token and --initial-cluster-state are not looked at",
				zap.Stringer("cluster", id.Cluster), zap.Stringer("member", id.Member), zap.Stringer("cluster-of-the-settings", cluster))
		}
	}
	if c.Discovers() {
		m.logger.Warn("discovery is not used: the data directory holds a member already", zap.Stringer("cluster", id.Cluster), zap.Stringer("member", id.Member))
	}
}
