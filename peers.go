package holdfast

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/config"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/node"
	"holdfast/internal/server"
	"holdfast/internal/transport"
)

// peerPort is an address at which other members are served.
type peerPort struct {
	listener      net.Listener
	secure, plain bool // who calls speaks TLS; does without it
}

// openPeerPorts opens an address for each peer URL, once; http and https URLs, or unix and unixs ones, may share it.
// Where the settings leave the choice of a port to the system, what the member advertises gets the port that was
// chosen: it goes into the ids of a new cluster.
func (m *Member) openPeerPorts() error {
	if m.peerPorts != nil {
		return nil
	}
	chosen := ""
	byAddress := map[string]*peerPort{}
	for _, u := range m.config.ListenPeerURLs {
		network, address := addressOf(u)
		p := byAddress[network+address]
		if p == nil {
			l, err := m.listenAt(network, address)
			if err != nil {
				return fmt.Errorf("listen for other members at %s: %w; another process may be using the address, choose another with --listen-peer-urls", u.String(), err)
			}
			p = &peerPort{listener: l}
			byAddress[network+address] = p
			m.peerPorts = append(m.peerPorts, p)
		}
		p.secure = p.secure || config.IsSecure(u)
		p.plain = p.plain || !config.IsSecure(u)
		if u.Port() == "0" {
			_, chosen, _ = net.SplitHostPort(p.listener.Addr().String())
		}
	}
	if chosen == "" {
		return nil
	}
	settle := func(urls []url.URL) []url.URL {
		urls = slices.Clone(urls)
		for i, u := range urls {
			if u.Port() == "0" {
				urls[i].Host = net.JoinHostPort(u.Hostname(), chosen)
			}
		}
		return urls
	}
	m.config.InitialAdvertisePeerURLs = settle(m.config.InitialAdvertisePeerURLs)
	m.config.InitialCluster = slices.Clone(m.config.InitialCluster)
	for i, member := range m.config.InitialCluster {
		if member.Name == m.config.Name {
			m.config.InitialCluster[i].PeerURLs = settle(member.PeerURLs)
		}
	}
	return nil
}

// connect makes the connections to the other members.
func (m *Member) connect(id kind.Identity) (node.Transport, error) {
	if err := m.openPeerPorts(); err != nil {
		return nil, err
	}
	if err := m.preparePeerTLS(); err != nil {
		return nil, err
	}
	var own []string
	for _, u := range m.config.InitialAdvertisePeerURLs {
		own = append(own, u.String())
	}
	m.transport = transport.New(transport.Config{
		Identity:  id,
		URLs:      own,
		Hello:     transport.Hello{MachineMin: machine.Oldest(), MachineMax: machine.Latest(), Version: server.Version},
		ClientTLS: m.peerClientTLS(),
		Page:      m.page,
		Dial:      m.dial,

		Limits: transport.Limits{
			DeadAfter:     m.config.RaftReadTimeout,
			WriteTimeout:  m.config.RaftWriteTimeout,
			ProbeInterval: min(time.Second, m.config.RaftReadTimeout/3),
		},
		SnapshotBytesPerSecond: m.config.SnapshotRateBytes,

		Logger:     m.logger.Named("peer"),
		Registerer: m.registry,
	})
	return m.transport, nil
}

// servePeers lets the other members in, until the transport is closed.
func (m *Member) servePeers() {
	for _, p := range m.peerPorts {
		var secure *tls.Config
		if p.secure {
			secure = m.peerServerTLS()
		}
		m.peersServed.Go(func() {
			if err := m.transport.Serve(p.listener, secure, p.plain); err != nil {
				m.node.Fail(fmt.Errorf("serve the other members at %s: %w", p.listener.Addr(), err))
			}
		})
		m.logger.Info("listening for other members", zap.String("address", p.listener.Addr().String()), zap.Bool("tls", p.secure))
	}
}

// stopTransport breaks the connections to the other members and closes their ports.
func (m *Member) stopTransport() {
	if m.transport != nil {
		m.transport.Close()
	}
	for _, p := range m.peerPorts {
		_ = p.listener.Close() // the transport has closed those it served
	}
	m.peersServed.Wait()
}

// describePeers says where the other members are, and where this one is for them.
func (m *Member) describePeers() []string {
	members := m.node.Replica.Machine().Members()
	var others []string
	for _, one := range members {
		if one.ID != m.node.MemberID() {
			others = append(others, fmt.Sprintf("%s (%v) at %s", cmp.Or(one.Name, "unnamed"), one.ID, strings.Join(one.PeerURLs, ", ")))
		}
	}
	var at []string
	for _, p := range m.peerPorts {
		at = append(at, p.listener.Addr().String())
	}
	line := fmt.Sprintf("Listening for other members at %s", strings.Join(at, ", "))
	switch {
	case len(others) > 0:
		return []string{line + ".", fmt.Sprintf("The other members: %s.", strings.Join(others, "; "))}
	case len(members) == 0:
		return []string{line + "; waiting for the leader to send what the cluster holds."}
	}
	return []string{line + "; there are none."}
}

// listenAt opens an address.
func (m *Member) listenAt(network, address string) (net.Listener, error) {
	if m.world.listen != nil {
		return m.world.listen(network, address)
	}
	return listen(network, address, m.config.SocketReusePort)
}

// dial opens a connection to another member.
func (m *Member) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if m.world.dial != nil {
		return m.world.dial(ctx, network, address)
	}
	d := net.Dialer{LocalAddr: m.ownAddress(network)}
	return d.DialContext(ctx, network, address)
}

// ownAddress is the address that connections to other members leave from, if the gate SetMemberLocalAddr is on: the first
// IP address among --initial-advertise-peer-urls. nil leaves it to the system.
func (m *Member) ownAddress(network string) net.Addr {
	if network != "tcp" || !m.config.Enabled(config.SetMemberLocalAddr) {
		return nil
	}
	for _, u := range m.config.InitialAdvertisePeerURLs {
		if ip := net.ParseIP(u.Hostname()); ip != nil && !ip.IsUnspecified() {
			return &net.TCPAddr{IP: ip}
		}
	}
	return nil
}

// memberPage is what GET /members on the peer port answers: who the cluster is. A member that starts asks it.
type memberPage struct {
	Cluster string       `json:"cluster"` // in hexadecimal, as everywhere here
	Members []pageMember `json:"members"`
	Removed []string     `json:"removed,omitempty"`
}

type pageMember struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
	IsLearner  bool     `json:"isLearner,omitempty"`
}

// page answers what is asked by HTTP on the peer port.
func (m *Member) page(_ context.Context, path string) (status int, body []byte) {
	var answer any
	switch path {
	case "/version":
		answer = map[string]string{"etcdserver": server.EtcdVersion, "holdfast": server.Version}
	case "/health":
		answer = map[string]string{"health": strconv.FormatBool(m.node.Status().Leader != 0)}
	case "/members":
		answer = m.memberPage()
	default:
		return 0, nil
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return http.StatusInternalServerError, nil
	}
	return http.StatusOK, append(body, '\n')
}

func (m *Member) memberPage() memberPage {
	page := memberPage{Cluster: m.node.ClusterID().String(), Members: []pageMember{}}
	for _, one := range m.node.Replica.Machine().Everyone() {
		if one.Removed {
			page.Removed = append(page.Removed, one.ID.String())
			continue
		}
		page.Members = append(page.Members, pageMember{ID: one.ID.String(), Name: one.Name, PeerURLs: one.PeerURLs, ClientURLs: one.ClientURLs, IsLearner: one.Learner})
	}
	return page
}

// maxPageBytes bounds what is read of another member's page.
const maxPageBytes = 4 << 20

// askMembers asks at one peer URL who the cluster is.
func (m *Member) askMembers(ctx context.Context, u url.URL, timeout time.Duration) (page memberPage, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	network, address := addressOf(u)
	request := url.URL{Scheme: "http", Host: u.Host, Path: "/members"}
	carrier := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return m.dial(ctx, network, address) },
	}
	if config.IsSecure(u) {
		request.Scheme = "https"
		tls := m.peerClientTLS()
		if tls == nil {
			return page, fmt.Errorf("%s speaks TLS, and there is no certificate for it: set --peer-cert-file and --peer-key-file, or --peer-auto-tls", u.String())
		}
		carrier.TLSClientConfig = tls(u.Hostname())
	}
	if network == "unix" {
		request.Host = "localhost"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, request.String(), nil)
	if err != nil {
		return page, err
	}
	client := &http.Client{Transport: carrier, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		return page, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return page, fmt.Errorf("ask %s who the members are: it answers %s; is it the peer URL of a Holdfast member?", u.String(), response.Status)
	}
	decoder := json.NewDecoder(http.MaxBytesReader(nil, response.Body, maxPageBytes))
	if err := decoder.Decode(&page); err != nil {
		return page, fmt.Errorf("ask %s who the members are: %w; is it the peer URL of a Holdfast member?", u.String(), err)
	}
	return page, nil
}
