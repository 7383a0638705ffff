package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Options say which cluster is looked at.
type Options struct {
	Spec    clientv3.ConfigSpec // endpoints, TLS and user; the members that these name are looked at as well
	Timeout time.Duration       // for each question; zero means 5 s
	Limits  Limits              // the zero value means DefaultLimits
}

// observed is what one endpoint has shown.
type observed struct {
	address
	id      uint64 // of the member, if it has answered
	learned string // the name of the member that advertises it, if the user has not named it
	owner   uint64 // the id of that member

	err           error // why nothing could be asked; nil if it answers
	tlsExpected   bool
	plainExpected bool
	certificates  []*x509.Certificate
	untrusted     error
	barred        bool // a client would not go on with these certificates
	asks          bool // for certificates of its clients
	bare          bool // and has been shown none
	login         error
	denied        []string // what it does not tell this user

	status     *clientv3.StatusResponse
	list       []*etcdserverpb.Member
	alarms     []*etcdserverpb.AlarmMember
	auth       *bool
	metrics    samples
	metricsErr error
	unready    []string // the checks of /readyz that fail
	dated      bool
	ahead      time.Duration // of this machine's clock, to the second
	hash       *clientv3.HashKVResponse

	client *clientv3.Client
}

// serverName is what the certificate must be for.
func (o *observed) serverName(c *tls.Config) string {
	if c != nil && c.ServerName != "" {
		return c.ServerName
	}
	if o.network == "unix" {
		return "localhost"
	}
	return o.name()
}

// silent reports whether nobody answers, for no reason that is a condition of its own.
func (o *observed) silent() bool { return o.err != nil && !o.plainExpected && !o.bare }

func (o *observed) answers() bool { return o.status != nil }

// facts are what is known of a cluster.
type facts struct {
	limits  Limits
	now     time.Time
	all     []*observed
	members []*etcdserverpb.Member // as one of them lists them; empty if none told
	hashRev int64

	emptyRoot bool
	leases    int
	large     []largeValue // one for each, the largest first
}

type largeValue struct {
	key  string
	size int64
}

// each returns, for every member that answers, one endpoint at which it does.
func (f *facts) each() (answering []*observed) {
	for _, o := range f.all {
		if o.answers() && !slices.ContainsFunc(answering, func(other *observed) bool { return other.id == o.id && o.id != 0 }) {
			answering = append(answering, o)
		}
	}
	return answering
}

// Cluster looks at a running cluster. The error is that of settings which cannot be used, or of ctx.
func Cluster(ctx context.Context, o Options) ([]Finding, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	f, err := look(ctx, &o)
	if err != nil {
		return nil, err
	}
	return judge(f), nil
}

// look gathers the facts.
func look(ctx context.Context, o *Options) (*facts, error) {
	spec := o.Spec
	config, err := clientv3.NewClientConfig(&spec, zap.NewNop())
	if err != nil {
		return nil, err
	}
	config.Logger = zap.NewNop() // what is refused is a finding
	f := &facts{limits: o.Limits, now: time.Now()}
	defer func() {
		for _, m := range f.all {
			if m.client != nil {
				_ = m.client.Close()
			}
		}
	}()
	for _, endpoint := range spec.Endpoints {
		f.all = append(f.all, &observed{address: address{given: endpoint}})
	}
	f.observe(ctx, o, config, f.all)
	for _, m := range f.all {
		if f.members == nil && len(m.list) > 0 {
			f.members = m.list
		}
	}
	f.observe(ctx, o, config, f.learn())
	f.askAgain(ctx, o)
	f.compareKeys(ctx, o)
	f.askOne(ctx, o)
	return f, ctx.Err()
}

// learn adds the endpoints that the members advertise and the user has not named.
func (f *facts) learn() (added []*observed) {
	for _, member := range f.members {
		for _, u := range member.ClientURLs {
			same := func(o *observed) bool {
				_, known, _ := strings.Cut(u, "://")
				return o.given == u || o.host == known
			}
			if !slices.ContainsFunc(f.all, same) && !slices.ContainsFunc(added, same) {
				added = append(added, &observed{address: address{given: u}, learned: member.Name, owner: member.ID})
			}
		}
	}
	f.all = append(f.all, added...)
	return added
}

// observe asks endpoints at the same time.
func (f *facts) observe(ctx context.Context, o *Options, config *clientv3.Config, endpoints []*observed) {
	var group sync.WaitGroup
	for _, m := range endpoints {
		group.Go(func() { m.observe(ctx, o, *config) })
	}
	group.Wait()
}

// observe asks one endpoint everything that it knows by itself.
func (m *observed) observe(ctx context.Context, o *Options, config clientv3.Config) {
	a, err := parseEndpoint(m.given, config.TLS != nil)
	m.address = a
	if err != nil {
		m.err = err
		return
	}
	if m.reach(ctx, o, config.TLS); m.err != nil || m.tlsExpected || m.plainExpected || m.barred {
		return
	}
	m.scrape(ctx, o, config.TLS)
	config.Endpoints = []string{m.given}
	config.Context = ctx
	config.DialTimeout = o.Timeout
	user, password := config.Username, config.Password
	config.Username, config.Password = "", ""
	client, err := clientv3.New(config)
	if err != nil {
		m.err = err
		return
	}
	m.client = client
	if m.askAuth(ctx, o); m.err != nil {
		return
	}
	if user != "" && (m.auth == nil || *m.auth) {
		_ = client.Close()
		config.Username, config.Password = user, password
		if m.client, err = clientv3.New(config); err != nil {
			m.client, m.login = nil, err
			return
		}
	}
	m.ask(ctx, o)
}

// reach finds out whether somebody listens, and whether with TLS.
func (m *observed) reach(ctx context.Context, o *Options, c *tls.Config) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	conn, err := m.dial(ctx)
	if err != nil {
		m.err = err
		return
	}
	_ = conn.Close()
	certificates, asks, err := m.shake(ctx, c)
	switch {
	case !m.secure:
		m.tlsExpected = err == nil
		if m.tlsExpected { // some speak both on one port
			g := m.getter(c)
			defer g.close()
			_, body, _, err := g.get(ctx, "/version")
			m.tlsExpected = err != nil || !strings.Contains(body, "etcdserver")
		}
	case err != nil:
		_, m.plainExpected = errors.AsType[tls.RecordHeaderError](err)
		m.err = err
	default:
		m.certificates, m.asks = certificates, asks
		m.bare = asks && (c == nil || len(c.Certificates) == 0)
		if c == nil || !c.InsecureSkipVerify {
			m.untrusted = untrusted(certificates, c)
			now := time.Now()
			m.barred = m.untrusted != nil || now.After(certificates[0].NotAfter) || now.Before(certificates[0].NotBefore) ||
				certificates[0].VerifyHostname(m.serverName(c)) != nil
		}
		if m.bare && !m.barred { // whether it insists shows only when something is asked
			g := m.getter(c)
			defer g.close()
			_, _, _, m.err = g.get(ctx, "/version")
		}
	}
}

// unauthorised tells a refusal that another user would not have got.
func unauthorised(err error) bool {
	code := status.Code(err)
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		code = e.Code()
	}
	return code == codes.PermissionDenied || code == codes.Unauthenticated || errors.Is(err, rpctypes.ErrUserEmpty) ||
		strings.Contains(err.Error(), "user name is empty")
}

// question asks one thing and notes what this user is not told.
func (m *observed) question(ctx context.Context, o *Options, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	err := ask(ctx)
	if err != nil && unauthorised(err) {
		m.denied = append(m.denied, what)
	}
	return err
}

func (m *observed) askAuth(ctx context.Context, o *Options) {
	err := m.question(ctx, o, "whether authentication is enabled", func(ctx context.Context) error {
		answer, err := m.client.AuthStatus(ctx)
		if err == nil {
			m.auth = &answer.Enabled
		}
		return err
	})
	if code := status.Code(err); code == codes.Unavailable || code == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded) {
		// A member without a leader says so in words of its own; here nobody has said anything.
		m.err = err
	}
}

func (m *observed) ask(ctx context.Context, o *Options) {
	err := m.question(ctx, o, "how it is", func(ctx context.Context) (err error) {
		m.status, err = m.client.Status(ctx, m.given)
		return err
	})
	if err != nil {
		m.status = nil
		if !unauthorised(err) {
			m.err = err
		}
		return
	}
	m.id = m.status.Header.MemberId
	_ = m.question(ctx, o, "who the members are", func(ctx context.Context) error {
		answer, err := m.client.MemberList(ctx, clientv3.WithSerializable())
		if err == nil {
			m.list = answer.Members
		}
		return err
	})
	if m.status.Leader == 0 {
		return // the list of alarms waits for a leader
	}
	_ = m.question(ctx, o, "which alarms there are", func(ctx context.Context) error {
		answer, err := m.client.AlarmList(ctx)
		if err == nil {
			m.alarms = answer.Alarms
		}
		return err
	})
}

// scrape reads what is served over HTTP.
func (m *observed) scrape(ctx context.Context, o *Options, c *tls.Config) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	g := m.getter(c)
	defer g.close()
	code, body, ahead, err := g.get(ctx, "/metrics")
	switch {
	case err != nil:
		m.metricsErr = err
		return
	case code != 200:
		m.metricsErr = errors.New("the answer is " + httpWords(code))
		return
	}
	m.metrics, m.ahead, m.dated = parseMetrics(body), ahead, true
	if code, body, _, err = g.get(ctx, "/readyz?verbose&exclude=non_learner"); err != nil || code != 503 {
		return
	}
	for line := range strings.Lines(body) {
		if failed, ok := strings.CutPrefix(strings.TrimSpace(line), "[-]"); ok {
			m.unready = append(m.unready, printable(failed))
		}
	}
}
