package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"holdfast"
	"holdfast/internal/config"
)

// cluster is members in this process that know each other by ports of the loopback address.
type cluster struct {
	t     testing.TB
	token string
	list  []*one

	mu      sync.Mutex
	waiting map[string]net.Listener // opened before the members were started, so that their ports are known
}

// one is a member of a cluster, running or not.
type one struct {
	*holdfast.Member
	name   string
	peer   string // host and port
	client string
	config holdfast.Config
	fs     vfs.FS
	extra  func(holdfast.Options) holdfast.Options
}

// newCluster makes a cluster of n members that are not started yet.
func newCluster(t testing.TB, n int) *cluster {
	c := &cluster{t: t, token: t.Name(), waiting: make(map[string]net.Listener)}
	for i := range n {
		c.add(fmt.Sprintf("m%d", i+1))
	}
	var initial []string
	for _, m := range c.list {
		initial = append(initial, m.name+"=http://"+m.peer)
	}
	for _, m := range c.list {
		c.configure(m, "--initial-cluster="+strings.Join(initial, ","))
	}
	t.Cleanup(func() {
		for _, l := range c.waiting {
			_ = l.Close()
		}
	})
	return c
}

// add picks the ports of one more member.
func (c *cluster) add(name string) *one {
	m := &one{name: name, fs: vfs.NewMem(), peer: c.reserve(), client: c.reserve()}
	c.list = append(c.list, m)
	return m
}

func (c *cluster) reserve() string {
	c.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	c.waiting[l.Addr().String()] = l
	return l.Addr().String()
}

// configure sets the flags of a member.
func (c *cluster) configure(m *one, flags ...string) {
	c.t.Helper()
	var err error
	m.config, _, err = config.Parse("holdfast", append([]string{"--name=" + m.name, "--data-dir=data", "--initial-cluster-token=" + c.token,
		"--listen-client-urls=http://" + m.client, "--listen-peer-urls=http://" + m.peer, "--initial-advertise-peer-urls=http://" + m.peer,
		"--block-cache-bytes=4MiB", "--heartbeat-interval=50", "--election-timeout=500"}, flags...), nil, nil)
	if err != nil {
		c.t.Fatal(err)
	}
}

// listen opens an address, or hands out the listener that has been waiting there.
func (c *cluster) listen(network, address string) (net.Listener, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.waiting[address]; l != nil {
		delete(c.waiting, address)
		return l, nil
	}
	return net.Listen(network, address)
}

// try starts a member.
func (c *cluster) try(m *one) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o := holdfast.Listening(inMemory(m.fs), c.listen)
	if m.extra != nil {
		o = m.extra(o)
	}
	started, err := holdfast.Start(ctx, m.config, o)
	if err != nil {
		return err
	}
	m.Member = started
	c.t.Cleanup(func() { _ = started.Close() })
	return nil
}

// start starts members at the same time.
func (c *cluster) start(members ...*one) {
	c.t.Helper()
	errs := make([]error, len(members))
	var group sync.WaitGroup
	for i, m := range members {
		group.Go(func() { errs[i] = c.try(m) })
	}
	group.Wait()
	for i, err := range errs {
		if err != nil {
			c.t.Fatalf("%s: %v", members[i].name, err)
		}
	}
}

// endpoint returns a client of some members only.
func (c *cluster) to(members ...*one) *clientv3.Client {
	c.t.Helper()
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, "http://"+m.client)
	}
	pause := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, MaxDelay: 100 * time.Millisecond}
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: pause, MinConnectTimeout: 5 * time.Second})}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

// put writes through some members until it succeeds.
func (c *cluster) put(client *clientv3.Client, key, value string) {
	c.t.Helper()
	c.eventually("write "+key, func(ctx context.Context) error {
		_, err := client.Put(ctx, key, value)
		return err
	})
}

// mustRead requires that a linearizable read through a member finds a value.
func (c *cluster) mustRead(client *clientv3.Client, key, value string) {
	c.t.Helper()
	c.eventually("read "+key, func(ctx context.Context) error {
		r, err := client.Get(ctx, key)
		if err != nil {
			return err
		}
		if len(r.Kvs) != 1 || string(r.Kvs[0].Value) != value {
			c.t.Fatalf("a linearizable read of %s finds %v, not %q", key, r.Kvs, value)
		}
		return nil
	})
}

// eventually repeats what may fail for a while.
func (c *cluster) eventually(what string, do func(ctx context.Context) error) {
	c.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err = do(ctx)
		cancel()
		if err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatalf("%s: %v", what, err)
}

// leader waits until those members that run agree who leads, and returns it.
func (c *cluster) leader(among ...*one) *one {
	c.t.Helper()
	if among == nil {
		among = c.list
	}
	var found *one
	c.eventually("agree on a leader", func(context.Context) error {
		var ids []uint64
		for _, m := range among {
			if m.Member == nil {
				continue
			}
			id, leading := holdfast.Leader(m.Member)
			ids = append(ids, id)
			if leading {
				found = m
			}
		}
		if len(slices.Compact(ids)) != 1 || ids[0] == 0 || found == nil || holdfast.ID(found.Member) != ids[0] {
			return fmt.Errorf("they know %x", ids)
		}
		return nil
	})
	return found
}

// others are the members but one.
func (c *cluster) others(but *one) (rest []*one) {
	for _, m := range c.list {
		if m != but {
			rest = append(rest, m)
		}
	}
	return rest
}

// kill ends a member as the end of its process would.
func (m *one) kill() {
	holdfast.Kill(m.Member)
	m.Member = nil
}

// stop stops a member.
func (c *cluster) stop(m *one) {
	c.t.Helper()
	if err := m.Close(); err != nil {
		c.t.Fatalf("stop %s: %v", m.name, err)
	}
	m.Member = nil
}

// names are the names and client URLs of the members that a member lists.
func (c *cluster) names(client *clientv3.Client) string {
	c.t.Helper()
	var names []string
	c.eventually("list the members", func(ctx context.Context) error {
		names = nil
		r, err := client.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, m := range r.Members {
			names = append(names, m.Name+"@"+strings.TrimPrefix(strings.Join(m.ClientURLs, "+"), "http://"))
		}
		return nil
	})
	slices.Sort(names)
	return strings.Join(names, " ")
}

// whole is what names returns of a whole cluster.
func (c *cluster) whole(members ...*one) string {
	var names []string
	for _, m := range members {
		names = append(names, m.name+"@"+m.client)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// Three and five members are one store: written through any, read through any, also when as many as may be are
// killed, the leader first, and come back.
func TestMembersAreOneStore(t *testing.T) {
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := newCluster(t, n)
			c.start(c.list...)
			for i, m := range c.list {
				c.put(c.to(m), fmt.Sprint("through ", m.name), fmt.Sprint(i))
			}
			for _, m := range c.list {
				client := c.to(m)
				for i, other := range c.list {
					c.mustRead(client, fmt.Sprint("through ", other.name), fmt.Sprint(i))
				}
				if got, want := c.names(client), c.whole(c.list...); got != want {
					t.Errorf("%s lists %s, not %s", m.name, got, want)
				}
			}
			var dead []*one
			for len(dead) < n/2 {
				m := c.leader(c.list...)
				m.kill()
				dead = append(dead, m)
				alive := c.list
				for _, d := range dead {
					alive = slices.DeleteFunc(slices.Clone(alive), func(m *one) bool { return m == d })
				}
				c.put(c.to(alive...), fmt.Sprint("without ", m.name), "x")
			}
			c.start(dead...)
			for _, m := range dead {
				c.mustRead(c.to(m), fmt.Sprint("without ", m.name), "x")
				c.put(c.to(m), "back", m.name)
			}
			for _, m := range c.list {
				c.mustRead(c.to(m), "back", dead[len(dead)-1].name)
			}
		})
	}
}

// A leader that is stopped hands over: the others go on without an election.
func TestStopHandsOver(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	old := c.leader()
	rest := c.others(old)
	client := c.to(rest...)
	c.put(client, "a", "1")
	began := time.Now()
	c.stop(old)
	c.put(client, "a", "2")
	c.leader(rest...)
	t.Logf("stopping the leader took %v until the next write", time.Since(began))
	c.start(old)
	c.mustRead(c.to(old), "a", "2")
}

// What a member says of itself can change at each start, and the others learn it.
func TestRestartWithOtherClientURLs(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	m := c.list[1]
	c.stop(m)
	m.name, m.client = "renamed", c.reserve()
	m.config.Name = m.name
	m.config.ListenClientURLs = []url.URL{{Scheme: "http", Host: m.client}}
	m.config.AdvertiseClientURLs = m.config.ListenClientURLs
	c.start(m)
	for _, other := range c.list {
		c.eventually("learn of the new name", func(context.Context) error {
			if got, want := c.names(c.to(other)), c.whole(c.list...); got != want {
				return fmt.Errorf("%s lists %s, not %s", other.name, got, want)
			}
			return nil
		})
	}
}

// A member that the cluster removes ends by itself, and does so again if it is started again.
func TestRemovedMemberEnds(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	gone := c.others(c.leader())[0]
	rest := c.others(gone)
	id := holdfast.ID(gone.Member)
	client := c.to(rest...)
	c.eventually("remove a member", func(ctx context.Context) error {
		_, err := client.MemberRemove(ctx, id)
		return err
	})
	mustEnd := func(m *holdfast.Member) {
		t.Helper()
		select {
		case <-m.Done():
		case <-time.After(patience):
			t.Fatal("the removed member goes on")
		}
		if err := m.Err(); !errors.Is(err, holdfast.ErrRemoved) {
			t.Errorf("the removed member ends with: %v", err)
		}
	}
	mustEnd(gone.Member)
	_ = gone.Close()
	if err := c.try(gone); err == nil {
		mustEnd(gone.Member)
	} else if !errors.Is(err, holdfast.ErrRemoved) {
		t.Errorf("the removed member does not start: %v", err)
	}
	c.put(client, "after", "x")
	if got, want := c.names(client), c.whole(rest...); got != want {
		t.Errorf("the members are %s, not %s", got, want)
	}
}

// The last survivor of three becomes a cluster of its own, with all data, and goes on as one after the flag is gone.
func TestForceNewCluster(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	for i := range 20 {
		c.put(c.to(c.list[i%3]), fmt.Sprint("key", i), fmt.Sprint(i))
	}
	survivor := c.list[0]
	for _, m := range c.list {
		m.kill()
	}
	survivor.config.ForceNewCluster = true
	for range 2 { // also when the flag is left in
		c.start(survivor)
		client := c.to(survivor)
		for i := range 20 {
			c.mustRead(client, fmt.Sprint("key", i), fmt.Sprint(i))
		}
		c.put(client, "alone", "x")
		if got, want := c.names(client), c.whole(survivor); got != want {
			t.Errorf("the members are %s, not %s", got, want)
		}
		c.stop(survivor)
	}
	survivor.config.ForceNewCluster = false
	c.start(survivor)
	c.mustRead(c.to(survivor), "alone", "x")
	// One of the others, with its old data, is turned away by the survivor.
	other := c.list[1]
	if err := c.try(other); err == nil {
		select {
		case <-other.Done():
		case <-time.After(patience):
			t.Error("a member that was left out goes on")
		}
	}
}
