package holdfast_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast"
	"holdfast/internal/cli"
)

// initial writes members as --initial-cluster has them.
func initial(members ...*one) string {
	var list []string
	for _, m := range members {
		list = append(list, m.name+"=http://"+m.peer)
	}
	return "--initial-cluster=" + strings.Join(list, ",")
}

// fill writes enough to cut the log, so that who comes later needs a snapshot.
func (c *cluster) fill(client *clientv3.Client, n int) {
	c.t.Helper()
	value := strings.Repeat("v", 2000)
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := w; i < n; i += 8 {
				for range 100 {
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					_, err := client.Put(ctx, fmt.Sprint("fill", i), value)
					cancel()
					if err == nil {
						break
					}
				}
			}
		})
	}
	group.Wait()
}

// A member that was added joins with an empty directory, is given everything, votes, and can be asked like the others.
func TestJoin(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	client := c.to(c.list...)
	c.put(client, "before", "x")
	c.fill(client, 200)

	fourth := c.add("m4")
	c.configure(fourth, initial(c.list...), "--initial-cluster-state=existing")
	if err := c.try(fourth); err == nil || !strings.Contains(err.Error(), "holdfast member add m4 --peer-urls=http://"+fourth.peer) {
		t.Fatalf("a member that was not added starts: %v", err)
	}
	c.eventually("add a member", func(ctx context.Context) error {
		_, err := client.MemberAdd(ctx, []string{"http://" + fourth.peer})
		return err
	})
	short := *fourth
	c.configure(&short, initial(c.list[0], fourth), "--initial-cluster-state=existing")
	if err := c.try(&short); err == nil || !strings.Contains(err.Error(), "lists 2 members, but the cluster has 4") {
		t.Fatalf("a member with a list that is too short starts: %v", err)
	}
	c.start(fourth)
	c.mustRead(c.to(fourth), "before", "x")
	c.mustRead(c.to(fourth), "fill199", strings.Repeat("v", 2000))
	c.put(c.to(fourth), "through the fourth", "y")
	c.mustRead(client, "through the fourth", "y")
	if got, want := c.names(c.to(fourth)), c.whole(c.list...); got != want {
		t.Errorf("the members are %s, not %s", got, want)
	}
	// Of four, one may be gone: with two gone, the new one's vote counts.
	c.list[0].kill()
	c.put(c.to(c.list[1:]...), "three of four", "z")
	c.start(c.list[0])
	c.stop(fourth)
	c.start(fourth) // from its own directory
	c.mustRead(c.to(fourth), "three of four", "z")

	// One that has lost its data must not come back as if it had never been.
	c.stop(fourth)
	fourth.fs = vfs.NewMem()
	if err := c.try(fourth); err == nil || !strings.Contains(err.Error(), "holdfast member replace") {
		t.Errorf("a member without its data starts: %v", err)
	}
	first := c.list[0]
	c.stop(first)
	first.fs = vfs.NewMem()
	if err := c.try(first); err == nil || !strings.Contains(err.Error(), "holdfast member replace") {
		t.Errorf("a first member without its data starts: %v", err)
	}
}

// A member whose list or token makes another cluster than the one that is there refuses.
func TestWrongCluster(t *testing.T) {
	c := newCluster(t, 3)
	stranger := c.list[2]
	c.start(c.list[:2]...)
	stranger.config.InitialClusterToken = "another"
	if err := c.try(stranger); err == nil || !strings.Contains(err.Error(), "--initial-cluster-token") {
		t.Fatalf("a member with another token starts: %v", err)
	}
	stranger.config.InitialClusterToken = c.token
	c.start(stranger)
	c.put(c.to(stranger), "a", "1")
	// The directory is stronger than the flags.
	c.stop(stranger)
	stranger.config.InitialClusterToken = "another"
	c.start(stranger)
	c.mustRead(c.to(stranger), "a", "1")
}

// One whose own line of the list is not what it advertises is refused before anything is made.
func TestListMustHaveSelf(t *testing.T) {
	c := newCluster(t, 3)
	m := c.list[0]
	m.config.Name = "nobody"
	if err := c.try(m); err == nil || !strings.Contains(err.Error(), "must contain this member") {
		t.Errorf("a member that is not listed starts: %v", err)
	}
	m.config.Name = m.name
	m.config.InitialAdvertisePeerURLs = c.list[1].config.InitialAdvertisePeerURLs
	if err := c.try(m); err == nil || !strings.Contains(err.Error(), "they must be the same") {
		t.Errorf("a member that advertises another's URL starts: %v", err)
	}
}

// command runs a client command in this process.
func (c *cluster) command(members []*one, args ...string) (code int, output string) {
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.client)
	}
	var out bytes.Buffer
	code = cli.Main(cli.Version{}, append([]string{"holdfastctl", "--endpoints=" + strings.Join(endpoints, ",")}, args...), strings.NewReader(""), &out, &out)
	return code, out.String()
}

// A dead member is swapped for a new one by one command, which can be stopped and run again; writes go on all the while.
func TestReplace(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	dead := c.leader()
	rest := c.others(dead)
	id := fmt.Sprintf("%x", holdfast.ID(dead.Member))
	client := c.to(rest...)
	c.put(client, "before", "x")
	c.fill(client, 100)
	dead.kill()
	c.leader(rest...)

	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				c.put(client, "during", fmt.Sprint(i))
			}
		}
	})
	fresh := c.add("m4")
	c.list = append(rest, fresh)
	args := []string{"member", "replace", id, "--name=m4", "--peer-urls=http://" + fresh.peer}
	if code, out := c.command(rest, append(args, "--wait=12s")...); code != 1 || !strings.Contains(out, "--initial-cluster-state=existing") || !strings.Contains(out, "run the command again") {
		t.Fatalf("the command without a new member: %d\n%s", code, out)
	}
	_, out := c.command(rest, "member", "list")
	if !strings.Contains(out, ", true") || !strings.Contains(out, id) {
		t.Fatalf("after the first attempt the members are\n%s", out)
	}
	var group sync.WaitGroup
	var code int
	group.Go(func() { code, out = c.command(rest, append(args, "--wait=60s")...) })
	everybody := append([]*one{dead}, c.list...)
	c.configure(fresh, initial(everybody...), "--initial-cluster-state=existing")
	c.start(fresh)
	group.Wait()
	close(stop)
	writing.Wait()
	if code != 0 || !strings.Contains(out, "the swap is complete") {
		t.Fatalf("the command: %d\n%s", code, out)
	}
	if got, want := c.names(c.to(fresh)), c.whole(c.list...); got != want {
		t.Errorf("the members are %s, not %s", got, want)
	}
	if code, again := c.command(rest, args...); code != 0 || !strings.Contains(again, "the swap is complete") {
		t.Errorf("once more: %d\n%s", code, again)
	}
	c.mustRead(c.to(fresh), "before", "x")
	// The new member's vote counts: with another gone there is a majority.
	rest[0].kill()
	c.put(c.to(rest[1], fresh), "after", "x")

	if code, out := c.command([]*one{rest[1], fresh}, "member", "replace", fresh.name, "--name=m5", "--peer-urls=http://127.0.0.1:1", "--wait=5s"); code != 1 || !strings.Contains(out, "bring one of them back first") {
		t.Errorf("a swap that would cost the majority: %d\n%s", code, out)
	}
	if code, out := c.command([]*one{rest[1], fresh}, "member", "replace", "nobody", "--name=m5", "--peer-urls=http://127.0.0.1:1"); code != 1 || !strings.Contains(out, "no member with the id or the name") {
		t.Errorf("a swap of nobody: %d\n%s", code, out)
	}
}

// names resolves hosts and services of a test's own.
type names struct{ srv []*net.SRV }

func (n names) LookupSRV(_ context.Context, service, _, _ string) (string, []*net.SRV, error) {
	if service != "etcd-server" {
		return "", nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}
	return "", n.srv, nil
}

func (names) LookupIPAddr(context.Context, string) ([]net.IPAddr, error) {
	return []net.IPAddr{{IP: net.IPv4(127, 0, 0, 1)}}, nil
}

// Members find each other by the records of a domain.
func TestDiscoveryByDNS(t *testing.T) {
	c := newCluster(t, 3)
	var n names
	for _, m := range c.list {
		_, port, _ := net.SplitHostPort(m.peer)
		var number uint16
		if _, err := fmt.Sscan(port, &number); err != nil {
			t.Fatal(err)
		}
		n.srv = append(n.srv, &net.SRV{Target: "127.0.0.1.", Port: number})
	}
	for _, m := range c.list {
		c.configure(m, "--discovery-srv=example.test")
		m.extra = func(o holdfast.Options) holdfast.Options { return holdfast.Resolving(o, n) }
	}
	c.start(c.list...)
	c.put(c.to(c.list[0]), "a", "1")
	c.mustRead(c.to(c.list[2]), "a", "1")
	if got, want := c.names(c.to(c.list[1])), c.whole(c.list...); got != want {
		t.Errorf("the members are %s, not %s", got, want)
	}
}

// Members find each other through another cluster; one too many is refused.
func TestDiscoveryThroughACluster(t *testing.T) {
	service := newCluster(t, 1)
	service.start(service.list...)
	service.put(service.to(service.list...), "/_etcd/registry/tok/_config/size", "3")
	c := newCluster(t, 3)
	extra := c.add("m4")
	for _, m := range c.list {
		c.configure(m, "--discovery-endpoints=http://"+service.list[0].client, "--discovery-token=tok")
	}
	c.start(c.list[:3]...)
	if err := c.try(extra); err == nil || !strings.Contains(err.Error(), "as many have registered") {
		t.Errorf("a fourth member starts: %v", err)
	}
	c.put(c.to(c.list[0]), "a", "1")
	c.mustRead(c.to(c.list[2]), "a", "1")
	c.stop(c.list[1])
	c.start(c.list[1]) // from its directory, whatever the token says now
	if got, want := c.names(c.to(c.list[1])), c.whole(c.list[:3]...); got != want {
		t.Errorf("the members are %s, not %s", got, want)
	}
}
