package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast"
	"holdfast/internal/config"
	"holdfast/internal/discovery"
)

// service starts a Holdfast member that other clusters discover themselves through.
func service(t *testing.T) (registry discovery.Registry, client *clientv3.Client) {
	t.Helper()
	c, _, err := config.Parse("holdfast", []string{"--data-dir=" + t.TempDir() + "/d", "--listen-client-urls=http://127.0.0.1:0",
		"--listen-peer-urls=http://127.0.0.1:0", "--initial-advertise-peer-urls=http://127.0.0.1:0"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := holdfast.Start(t.Context(), c, holdfast.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	client, err = clientv3.New(clientv3.Config{Endpoints: m.ClientEndpoints()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return discovery.Registry{Endpoints: m.ClientEndpoints(), Token: "t", DialTimeout: 2 * time.Second, RequestTimeout: 5 * time.Second,
		InsecureTransport: true, Retry: 10 * time.Millisecond}, client
}

func member(t *testing.T, name string, port int) config.InitialMember {
	t.Helper()
	u, err := url.Parse(fmt.Sprintf("http://127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	return config.InitialMember{Name: name, PeerURLs: []url.URL{*u}}
}

// Three members that register at the same time come to the same list; a fourth is refused, also when it comes again,
// and one of the three that comes again is not.
func TestThrough(t *testing.T) {
	registry, client := service(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const prefix = "/_etcd/registry/t/"
	if _, err := client.Put(ctx, prefix+"_config/size", "3"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(ctx, prefix+"members/broken", "nothing"); err != nil { // is no member and takes no place
		t.Fatal(err)
	}
	var group sync.WaitGroup
	found := make([]string, 3)
	for i := range found {
		group.Go(func() {
			members, err := discovery.Through(ctx, registry, fmt.Sprint("id", i), member(t, fmt.Sprint("m", i), 1000+i))
			found[i] = fmt.Sprint(config.FormatMembers(members), err)
		})
	}
	group.Wait()
	for _, list := range found {
		if list != "m0=http://127.0.0.1:1000,m1=http://127.0.0.1:1001,m2=http://127.0.0.1:1002<nil>" {
			t.Error(list)
		}
	}
	if kv, err := client.Get(ctx, prefix+"members/id1"); err != nil || len(kv.Kvs) != 1 || string(kv.Kvs[0].Value) != "m1=http://127.0.0.1:1001" {
		t.Errorf("the record of a member is %v, %v", kv, err)
	}
	for range 2 {
		if _, err := discovery.Through(ctx, registry, "id3", member(t, "m3", 1003)); !errors.Is(err, discovery.ErrFull) {
			t.Errorf("a fourth member: %v", err)
		}
	}
	if members, err := discovery.Through(ctx, registry, "id2", member(t, "m2", 1002)); err != nil || len(members) != 3 {
		t.Errorf("a member that comes again: %v, %v", members, err)
	}
}

// What stands at the endpoints may be wrong; each refusal says what.
func TestThroughRefuses(t *testing.T) {
	registry, client := service(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	put := func(token, key, value string) {
		t.Helper()
		if _, err := client.Put(ctx, "/_etcd/registry/"+token+"/"+key, value); err != nil {
			t.Fatal(err)
		}
	}
	put("word", "_config/size", "three")
	put("zero", "_config/size", "0")
	put("names", "_config/size", "2")
	put("names", "members/other", "m=http://127.0.0.1:1")
	put("urls", "_config/size", "2")
	put("urls", "members/other", "n=http://127.0.0.1:2")
	for token, want := range map[string]struct {
		kind error
		says string
	}{
		"none":  {discovery.ErrSize, "holdfast put /_etcd/registry/none/_config/size 3"},
		"word":  {discovery.ErrSize, `"three"`},
		"zero":  {discovery.ErrSize, `"0"`},
		"names": {discovery.ErrMembers, `the name "m"`},
		"urls":  {discovery.ErrMembers, "http://127.0.0.1:2"},
	} {
		registry.Token = token
		if _, err := discovery.Through(ctx, registry, "id", member(t, "m", 2)); !errors.Is(err, want.kind) || !strings.Contains(fmt.Sprint(err), want.says) {
			t.Errorf("%s: %v", token, err)
		}
	}
}

// An endpoint that does not answer is asked again until the caller gives up.
func TestThroughGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	registry := discovery.Registry{Endpoints: []string{"127.0.0.1:1"}, Token: "t", DialTimeout: 50 * time.Millisecond, RequestTimeout: 50 * time.Millisecond,
		InsecureTransport: true, Retry: time.Millisecond}
	if _, err := discovery.Through(ctx, registry, "id", member(t, "m", 2)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody answers: %v", err)
	}
}
