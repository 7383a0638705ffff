package grpcproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.uber.org/zap"
)

// clusterServer names the proxies as the members, so that clients that ask for members stay with them. Changes are passed
// on.
type clusterServer struct {
	pb.UnimplementedClusterServer
	p      *Proxy
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu      sync.Mutex
	proxies map[string]endpoints.Endpoint
}

// registerPause is how long is waited before a failed registration is tried again.
const registerPause = time.Second

func newClusterServer(p *Proxy) *clusterServer {
	ctx, cancel := context.WithCancel(p.client.Ctx())
	c := &clusterServer{p: p, cancel: cancel, proxies: map[string]endpoints.Endpoint{}}
	if p.o.AdvertiseURL == "" || p.o.ResolverPrefix == "" {
		return c
	}
	c.group.Go(func() { c.again(ctx, "register this proxy", c.register) })
	c.group.Go(func() { c.again(ctx, "watch the other proxies", c.follow) })
	return c
}

func (c *clusterServer) close() {
	c.cancel()
	c.group.Wait()
}

// again does something until ctx ends, however often it fails.
func (c *clusterServer) again(ctx context.Context, what string, do func(context.Context) error) {
	for ctx.Err() == nil {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			c.p.o.Logger.Warn("failed to "+what+"; trying again", zap.String("prefix", c.p.o.ResolverPrefix), zap.Error(err))
		}
		select {
		case <-time.After(registerPause):
		case <-ctx.Done():
		}
	}
}

// register keeps a key for this proxy that goes when it does. It returns when the key is gone.
func (c *clusterServer) register(ctx context.Context) error {
	session, err := concurrency.NewSession(c.p.client, concurrency.WithTTL(c.p.o.ResolverTTL), concurrency.WithContext(ctx))
	if err != nil {
		return err
	}
	defer func() {
		// The context may have ended, so the lease is given back by one of its own.
		if err := session.Close(); err != nil {
			c.p.o.Logger.Warn("this proxy stays registered until its lease ends", zap.Error(err))
		}
	}()
	manager, err := endpoints.NewManager(c.p.client, c.p.o.ResolverPrefix)
	if err != nil {
		return err
	}
	url := c.p.o.AdvertiseURL
	self := endpoints.Endpoint{Addr: url, Metadata: describeSelf()}
	if err := manager.AddEndpoint(ctx, c.p.o.ResolverPrefix+"/"+url, self, clientv3.WithLease(session.Lease())); err != nil {
		return err
	}
	c.p.o.Logger.Info("registered session with lease", zap.String("addr", url), zap.Int("lease-ttl", c.p.o.ResolverTTL))
	select {
	case <-session.Done():
		return fmt.Errorf("the lease has ended")
	case <-ctx.Done():
		return nil
	}
}

// follow keeps the list of proxies. It returns when the watch has ended.
func (c *clusterServer) follow(ctx context.Context) error {
	manager, err := endpoints.NewManager(c.p.client, c.p.o.ResolverPrefix)
	if err != nil {
		return err
	}
	updates, err := manager.NewWatchChannel(ctx)
	if err != nil {
		return err
	}
	first := true
	for list := range updates {
		c.mu.Lock()
		if first { // a new watch begins with all of them
			clear(c.proxies)
			first = false
		}
		for _, u := range list {
			if u.Op == endpoints.Add {
				c.proxies[u.Key] = u.Endpoint
			} else {
				delete(c.proxies, u.Key)
			}
		}
		c.mu.Unlock()
	}
	return fmt.Errorf("the watch has ended")
}

// self is what a proxy says of itself where it is registered: the same as etcd's do.
type self struct {
	Name string `json:"name"`
}

func hostName() string {
	name, _ := os.Hostname() // a proxy without a name is a proxy all the same
	return name
}

func describeSelf() string {
	b, _ := json.Marshal(self{Name: hostName()}) // a struct of a string cannot fail
	return string(b)
}

// MemberList names the proxies that are registered, and this one if there are none.
func (c *clusterServer) MemberList(context.Context, *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	response := &pb.MemberListResponse{}
	for _, key := range slices.Sorted(maps.Keys(c.proxies)) {
		var of self
		_ = json.Unmarshal(fmt.Append(nil, c.proxies[key].Metadata), &of) // a name that cannot be read is left out
		response.Members = append(response.Members, &pb.Member{Name: of.Name, ClientURLs: []string{c.proxies[key].Addr}})
	}
	if len(response.Members) == 0 {
		response.Members = []*pb.Member{{Name: hostName(), ClientURLs: []string{c.p.o.AdvertiseURL}}}
	}
	return response, nil
}

func (c *clusterServer) upstream() pb.ClusterClient {
	return pb.NewClusterClient(c.p.client.ActiveConnection())
}

// MemberAdd is passed on.
func (c *clusterServer) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return c.upstream().MemberAdd(outgoing(ctx), r)
}

// MemberRemove is passed on.
func (c *clusterServer) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return c.upstream().MemberRemove(outgoing(ctx), r)
}

// MemberUpdate is passed on.
func (c *clusterServer) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	return c.upstream().MemberUpdate(outgoing(ctx), r)
}

// MemberPromote is passed on.
func (c *clusterServer) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return c.upstream().MemberPromote(outgoing(ctx), r)
}
