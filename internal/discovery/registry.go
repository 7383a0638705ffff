package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"holdfast/internal/config"
)

// Registry is a place in another cluster, Holdfast's or etcd's, where the members of a new one register:
//
//	/_etcd/registry/<token>/_config/size     how many members the new cluster has; written by its operator
//	/_etcd/registry/<token>/members/<id>     name=URL pairs of one member; written by it
//
// The first to register, in the order in which their keys were created, are the members; who comes later is refused.
type Registry struct {
	Endpoints []string
	Token     string // names the new cluster; not empty

	DialTimeout, RequestTimeout     time.Duration
	KeepAliveTime, KeepAliveTimeout time.Duration

	InsecureTransport, InsecureSkipVerify bool
	CertFile, KeyFile, CAFile             string

	User, Password string // nobody logs in without a User

	Logger *zap.Logger // nil logs nothing
	// Retry is how long to wait before the first repetition of a request that has failed; each further pause is twice
	// as long, up to 256 times. 0 means 2 seconds.
	Retry time.Duration
}

// maxSize bounds the size that is believed: no cluster is larger.
const maxSize = 1000

// maxRecordBytes bounds what is read of a member's record.
const maxRecordBytes = 64 << 10

// Through registers a member and returns all members of the new cluster, in the order of their names, when there are as
// many as it has. It waits for them until ctx ends; what fails on the way is tried again. id is the member's id, under
// which it finds itself when it comes a second time.
func Through(ctx context.Context, r Registry, id string, self config.InitialMember) ([]config.InitialMember, error) {
	if r.Logger == nil {
		r.Logger = zap.NewNop()
	}
	if r.Retry == 0 {
		r.Retry = 2 * time.Second
	}
	client, err := r.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a connection to --discovery-endpoints: %w", err)
	}
	defer client.Close()
	v := visit{Registry: r, client: client, id: id, self: self}
	if _, err := v.look(ctx); err != nil {
		return nil, err
	}
	if err := v.again(ctx, "register this member", func(ctx context.Context) error {
		_, err := client.Put(ctx, v.memberKey(id), config.FormatMembers([]config.InitialMember{self}))
		return err
	}); err != nil {
		return nil, err
	}
	for {
		s, err := v.look(ctx)
		if err != nil {
			return nil, err
		}
		if len(s.records) >= s.size {
			return v.members(s)
		}
		r.Logger.Info("waiting for the other members of the new cluster to register", zap.String("discovery-token", r.Token),
			zap.Int("size", s.size), zap.Int("registered", len(s.records)))
		if err := v.await(ctx, s.revision+1); err != nil {
			return nil, err
		}
	}
}

func (r *Registry) open(ctx context.Context) (*clientv3.Client, error) {
	spec := clientv3.ConfigSpec{
		Endpoints:        r.Endpoints,
		RequestTimeout:   r.RequestTimeout,
		DialTimeout:      r.DialTimeout,
		KeepAliveTime:    r.KeepAliveTime,
		KeepAliveTimeout: r.KeepAliveTimeout,
		Secure: &clientv3.SecureConfig{
			Cert: r.CertFile, Key: r.KeyFile, Cacert: r.CAFile,
			InsecureTransport: r.InsecureTransport, InsecureSkipVerify: r.InsecureSkipVerify,
		},
	}
	if r.User != "" {
		name, password, given := strings.Cut(r.User, ":")
		if !given {
			password = r.Password
		}
		spec.Auth = &clientv3.AuthConfig{Username: name, Password: password}
	}
	c, err := clientv3.NewClientConfig(&spec, zap.NewNop())
	if err != nil {
		return nil, err
	}
	c.Context = ctx
	return clientv3.New(*c)
}

func (r *Registry) prefix() string { return "/_etcd/registry/" + r.Token + "/" }

func (r *Registry) memberKey(id string) string { return r.prefix() + "members/" + id }

// visit is one member's business at the registry.
type visit struct {
	Registry
	client *clientv3.Client
	id     string
	self   config.InitialMember
}

// seen is what the registry held at a revision. The records are in the order in which they were created, and not more
// than size.
type seen struct {
	size     int
	records  []record
	revision int64
}

type record struct {
	id      string
	member  config.InitialMember
	created int64
}

// look reads the registry, and refuses if it has no place for this member.
func (v *visit) look(ctx context.Context) (s seen, err error) {
	if s.size, err = v.size(ctx); err != nil {
		return s, err
	}
	var response *clientv3.GetResponse
	err = v.again(ctx, "read the members of the new cluster", func(ctx context.Context) (err error) {
		response, err = v.client.Get(ctx, v.prefix()+"members/", clientv3.WithPrefix())
		return err
	})
	if err != nil {
		return s, err
	}
	s.revision = response.Header.Revision
	for _, kv := range response.Kvs {
		id := strings.TrimPrefix(string(kv.Key), v.prefix()+"members/")
		m, err := decodeRecord(kv.Value)
		if err != nil {
			v.Logger.Warn("a record of the registry is no member's, and is left out", zap.ByteString("key", kv.Key), zap.Error(err))
			continue
		}
		s.records = append(s.records, record{id, m, kv.CreateRevision})
	}
	slices.SortFunc(s.records, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.created, b.created), strings.Compare(a.id, b.id))
	})
	if len(s.records) < s.size {
		return s, nil
	}
	s.records = s.records[:s.size]
	if !slices.ContainsFunc(s.records, func(r record) bool { return r.id == v.id }) {
		return s, refuse(ErrFull, "the new cluster under the discovery token %q has %d members, and as many have registered "+
			"before this one: start fewer, or use a token of their own for them; to add this member to that cluster use "+
			"\"holdfast member add\" and --initial-cluster-state=existing", v.Token, s.size)
	}
	return s, nil
}

// size reads how many members the new cluster has.
func (v *visit) size(ctx context.Context) (size int, err error) {
	key := v.prefix() + "_config/size"
	var response *clientv3.GetResponse
	err = v.again(ctx, "read the size of the new cluster", func(ctx context.Context) (err error) {
		response, err = v.client.Get(ctx, key)
		return err
	})
	if err != nil {
		return 0, err
	}
	if len(response.Kvs) == 0 {
		return 0, refuse(ErrSize, "the size of the new cluster is not known at --discovery-endpoints: write it there, for "+
			"example by \"holdfast put %s 3\"", key)
	}
	text := string(response.Kvs[0].Value)
	if size, err = strconv.Atoi(text); err != nil || size < 1 || size > maxSize {
		return 0, refuse(ErrSize, "the size of the new cluster, the value of %s at --discovery-endpoints, is %.40q, but must be a "+
			"number from 1 to %d", key, text, maxSize)
	}
	return size, nil
}

// members are those who registered, if they make a cluster.
func (v *visit) members(s seen) ([]config.InitialMember, error) {
	var members []config.InitialMember
	for _, r := range s.records {
		if i := slices.IndexFunc(members, func(m config.InitialMember) bool { return m.Name == r.member.Name }); i >= 0 {
			return nil, refuse(ErrMembers, "two members have registered under the discovery token %q with the name %q: give each its "+
				"own --name, and start all of them with a new token", v.Token, r.member.Name)
		}
		members = append(members, r.member)
	}
	members, err := config.ParseMembers(config.FormatMembers(members))
	if err != nil {
		return nil, refuse(ErrMembers, "what has registered under the discovery token %q makes no cluster: %v; start all members "+
			"with a new token", v.Token, err)
	}
	return members, nil
}

// decodeRecord reads the name=URL pairs of one member.
func decodeRecord(value []byte) (config.InitialMember, error) {
	if len(value) > maxRecordBytes {
		return config.InitialMember{}, errors.New("it is too long")
	}
	members, err := config.ParseMembers(strings.TrimSpace(string(value)))
	if err != nil {
		return config.InitialMember{}, err
	}
	if len(members) != 1 {
		return config.InitialMember{}, errors.New("it names more than one member")
	}
	return members[0], nil
}

// again does one request until it succeeds or ctx ends. A refusal of the cluster (no permission, a wrong password) is
// not repeated.
func (v *visit) again(ctx context.Context, what string, request func(ctx context.Context) error) error {
	pause := v.Retry
	for {
		bounded, cancel := context.WithTimeout(ctx, v.RequestTimeout)
		err := request(bounded)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case isRefusal(err):
			return fmt.Errorf("%s at --discovery-endpoints: %w", what, err)
		}
		v.Logger.Warn("could not "+what+"; it is tried again", zap.Strings("discovery-endpoints", v.Endpoints), zap.Error(err), zap.Duration("after", pause))
		if err := wait(ctx, pause); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		pause = min(2*pause, 256*v.Retry)
	}
}

// lookAgain is how long a watch of the registry may be silent before it is read anew.
const lookAgain = 10 * time.Second

// await returns when something may have changed since revision.
func (v *visit) await(ctx context.Context, revision int64) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	changes := v.client.Watch(watching, v.prefix()+"members/", clientv3.WithPrefix(), clientv3.WithRev(revision))
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	select {
	case response, ok := <-changes:
		if !ok || response.Err() != nil {
			return wait(ctx, v.Retry) // the connection is lost; reading says what is the matter
		}
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the other members of the new cluster: %w", ctx.Err())
	}
}

// Peers are the peer URLs of all members but the one of a name.
func Peers(members []config.InitialMember, self string) (urls []url.URL) {
	for _, m := range members {
		if m.Name != self {
			urls = append(urls, m.PeerURLs...)
		}
	}
	return urls
}
