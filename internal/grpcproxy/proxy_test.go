package grpcproxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"holdfast/internal/servertest"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

func dial(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// proxied starts a proxy before a member and returns it with a client of it.
func proxied(t *testing.T, endpoint string, o Options) (*Proxy, *clientv3.Client) {
	t.Helper()
	o.Logger = zap.NewNop()
	p, err := New(t.Context(), dial(t, endpoint), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(p.ServerOptions()...)
	p.Register(s)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return p, dial(t, l.Addr().String())
}

func must[R any](t *testing.T) func(R, error) R {
	return func(r R, err error) R {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// What is passed on comes as the member has it, errors and their codes included (P1).
func TestPassedOn(t *testing.T) {
	endpoint := servertest.Start(t).Endpoint()
	_, c := proxied(t, endpoint, Options{})
	ctx := t.Context()
	must[*clientv3.PutResponse](t)(c.Put(ctx, "a", "1"))
	if r := must[*clientv3.GetResponse](t)(c.Get(ctx, "a")); len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "1" {
		t.Errorf("%v", r)
	}
	if r := must[*clientv3.TxnResponse](t)(c.Txn(ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).Then(clientv3.OpDelete("a")).Commit()); !r.Succeeded {
		t.Error("the transaction failed")
	}
	if _, err := c.Get(ctx, "a", clientv3.WithRev(1000)); err != rpctypes.ErrFutureRev {
		t.Errorf("a read of the future: %v", err)
	}
	if len(must[*clientv3.MemberListResponse](t)(c.MemberList(ctx)).Members) != 1 {
		t.Error("no member")
	}
	if must[*clientv3.StatusResponse](t)(c.Status(ctx, c.Endpoints()[0])).Version == "" {
		t.Error("no version")
	}
	session := must[*concurrency.Session](t)(concurrency.NewSession(c, concurrency.WithTTL(5)))
	if err := concurrency.NewMutex(session, "lock").Lock(ctx); err != nil {
		t.Error(err)
	}
	must[*clientv3.LeaseKeepAliveResponse](t)(c.KeepAliveOnce(ctx, session.Lease()))
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	snapshot, err := c.Snapshot(ctx) //nolint:staticcheck // the stream is what counts
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, snapshot); err != nil || n%512 != 32 {
		t.Errorf("a snapshot of %d bytes: %v", n, err)
	}
}

// Watchers that begin at any moment while others write get each change from there on once, in order, and share one
// watcher (P2).
func TestSharedWatch(t *testing.T) {
	endpoint := servertest.Start(t).Endpoint()
	p, c := proxied(t, endpoint, Options{})
	direct := dial(t, endpoint)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	const watchers, writes = 30, 300
	var group sync.WaitGroup
	// All wait for the last write, whose revision is known at the end.
	var final int64
	ended := make(chan struct{})
	for i := range watchers {
		group.Go(func() {
			<-time.After(time.Duration(i) * 3 * time.Millisecond) // they begin at different moments, it does not matter at which
			known, err := direct.Get(ctx, "/w/", clientv3.WithCountOnly())
			if err != nil {
				t.Error(err)
				return
			}
			var opts []clientv3.OpOption
			from := known.Header.Revision + 1
			if i%3 == 1 {
				opts = append(opts, clientv3.WithRev(from))
			}
			if i%3 == 2 {
				from = max(from-20, 2)
				opts = append(opts, clientv3.WithRev(from))
			}
			client := dial(t, c.Endpoints()[0])
			begun := int64(0)
			next := from
			for r := range client.Watch(ctx, "/w/", append(opts, clientv3.WithPrefix(), clientv3.WithCreatedNotify())...) {
				if r.Err() != nil {
					t.Errorf("watcher %d: %v", i, r.Err())
					return
				}
				if r.Created {
					if begun = r.Header.Revision; begun < known.Header.Revision {
						t.Errorf("watcher %d begins at %d, but %d was known", i, begun, known.Header.Revision)
					}
					if i%3 == 0 {
						next = begun + 1
					}
				}
				for _, e := range r.Events {
					if e.Kv.ModRevision != next {
						t.Errorf("watcher %d got %d after %d", i, e.Kv.ModRevision, next-1)
						return
					}
					next++
				}
				select {
				case <-ended:
				default:
					continue
				}
				if next > final {
					return
				}
			}
		})
	}
	go func() {
		for i := range writes {
			if _, err := direct.Put(ctx, "/w/a", fmt.Sprint(i)); err != nil {
				t.Error(err)
				break
			}
			<-time.After(time.Millisecond)
		}
		r, err := direct.Put(ctx, "/w/a", "before the end")
		if err != nil {
			t.Error(err)
		} else {
			final = r.Header.Revision + 1
		}
		close(ended)
		if _, err := direct.Put(ctx, "/w/a", "end"); err != nil {
			t.Error(err)
		}
	}()
	group.Wait()
	families, err := p.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.Contains(f.GetName(), "events_coalescing") && f.GetMetric()[0].GetCounter().GetValue() == 0 {
			t.Error("nothing was shared")
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(10 * time.Millisecond) {
		p.watch.mu.Lock()
		left := len(p.watch.shared)
		p.watch.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d watches are left though nobody watches", left)
		}
		cancel()
	}
}

// A watch of compacted changes is told so, a request for progress is answered, and the namespace is put on and taken off.
func TestWatchCornersInNamespace(t *testing.T) {
	endpoint := servertest.Start(t).Endpoint()
	_, c := proxied(t, endpoint, Options{Namespace: "/ns/", AdvertiseURL: "proxy:1", ResolverPrefix: "/proxies", ResolverTTL: 5})
	direct := dial(t, endpoint)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w := c.Watch(ctx, "a", clientv3.WithCreatedNotify(), clientv3.WithPrevKV())
	if r := <-w; !r.Created {
		t.Fatalf("%+v", r)
	}
	must[*clientv3.PutResponse](t)(direct.Put(ctx, "a", "outside"))
	put := must[*clientv3.PutResponse](t)(c.Put(ctx, "a", "1"))
	if r := <-w; len(r.Events) != 1 || string(r.Events[0].Kv.Key) != "a" || string(r.Events[0].Kv.Value) != "1" || r.Header.Revision != put.Header.Revision {
		t.Errorf("%+v", r)
	}
	if err := c.RequestProgress(ctx); err != nil {
		t.Fatal(err)
	}
	if r := <-w; !r.IsProgressNotify() || r.Header.Revision < put.Header.Revision {
		t.Errorf("%+v", r)
	}
	if r := must[*clientv3.GetResponse](t)(direct.Get(ctx, "/ns/a")); len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "1" {
		t.Errorf("%v", r)
	}
	must[*clientv3.PutResponse](t)(c.Put(ctx, "a", "2"))
	latest := must[*clientv3.PutResponse](t)(c.Put(ctx, "a", "3"))
	must[*clientv3.CompactResponse](t)(c.Compact(ctx, latest.Header.Revision))
	if r, ok := <-c.Watch(ctx, "a", clientv3.WithRev(2)); !ok || r.CompactRevision != latest.Header.Revision {
		t.Errorf("%+v", r)
	}
	lease := must[*clientv3.LeaseGrantResponse](t)(c.Grant(ctx, 60))
	must[*clientv3.PutResponse](t)(c.Put(ctx, "leased", "x", clientv3.WithLease(lease.ID)))
	must[*clientv3.PutResponse](t)(direct.Put(ctx, "outside", "x", clientv3.WithLease(lease.ID)))
	if r := must[*clientv3.LeaseTimeToLiveResponse](t)(c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())); len(r.Keys) != 1 || string(r.Keys[0]) != "leased" {
		t.Errorf("%v", r)
	}
	for {
		members := must[*clientv3.MemberListResponse](t)(c.MemberList(ctx)).Members
		if len(members) != 1 || members[0].ClientURLs[0] != "proxy:1" {
			t.Fatalf("members %v", members)
		}
		registered := must[*clientv3.GetResponse](t)(direct.Get(ctx, "/ns//proxies/", clientv3.WithPrefix()))
		if len(registered.Kvs) == 1 && strings.Contains(string(registered.Kvs[0].Value), `"Addr":"proxy:1"`) {
			break
		}
	}
}

// The pages say how the cluster and the proxy are, in etcd's form.
func TestPages(t *testing.T) {
	server := servertest.Start(t)
	p, c := proxied(t, server.Endpoint(), Options{})
	web := httptest.NewServer(p.Handler(c, http.DefaultClient, false))
	defer web.Close()
	page := func(path string) (int, string) {
		r, err := http.Get(web.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		b, _ := io.ReadAll(r.Body)
		return r.StatusCode, string(b)
	}
	for path, want := range map[string]string{
		"/health": `{"health":"true","reason":""}`, "/proxy/health": `{"health":"true","reason":""}`,
		"/proxy/metrics": "etcd_grpc_proxy_watchers_coalescing_total 0", "/metrics": "etcd_server_has_leader 1",
	} {
		if code, body := page(path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s answers %d %.200s", path, code, body)
		}
	}
	if code, _ := page("/debug/pprof/"); code != 404 {
		t.Errorf("profiles are served unasked: %d", code)
	}
	if code, body := func() (int, string) { // without a client of itself
		w := httptest.NewRecorder()
		p.Handler(nil, http.DefaultClient, false).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/proxy/health", nil))
		return w.Code, w.Body.String()
	}(); code != 503 || body != `{"health":"false","reason":"no connection to proxy"}` {
		t.Errorf("%d %s", code, body)
	}
}

// Settings that contradict each other are refused.
func TestCheck(t *testing.T) {
	good := func() *settings { return &settings{send: 1, recv: 1, minTLS: "TLS1.2"} }
	if err := good().check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*settings){
		"invalid resolver-ttl 0":            func(s *settings) { s.resolver = "/p" },
		"invalid resolver-prefix":           func(s *settings) { s.ttl = 5 },
		"invalid advertise-client-url":      func(s *settings) { s.resolver, s.ttl = "/p", 5 },
		"self-signed-cert-validity":         func(s *settings) { s.autoTLS = true },
		"--cert-file and --key-file":        func(s *settings) { s.listenCert = "a" },
		"--cert and --key":                  func(s *settings) { s.key = "a" },
		"--max-send-bytes":                  func(s *settings) { s.send = 0 },
		"--trusted-ca-file":                 func(s *settings) { s.listenCA = "a" },
		"--tls-min-version is invalid":      func(s *settings) { s.minTLS = "SSL3" },
		"--tls-max-version is invalid":      func(s *settings) { s.maxTLS = "SSL3" },
		"is greater than max version":       func(s *settings) { s.minTLS, s.maxTLS = "TLS1.3", "TLS1.2" },
		"cipher suites cannot be":           func(s *settings) { s.minTLS, s.ciphers = "TLS1.3", []string{"x"} },
		"--listen-cipher-suites is invalid": func(s *settings) { s.ciphers = []string{"x"} },
	} {
		s := good()
		change(s)
		if err := s.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
