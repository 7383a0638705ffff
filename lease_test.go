package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"

	"holdfast/internal/servertest"
)

// late is how much later than promised something may be seen on a machine that does much else. What must not be early
// is compared without it.
const late = 10 * time.Second

// dial makes a connection below the client library.
func dial(t testing.TB, s *servertest.Server) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(s.Endpoint()[len("http://"):], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func grant(t testing.TB, c *clientv3.Client, id clientv3.LeaseID, ttl int64) clientv3.LeaseID {
	t.Helper()
	r, err := clientv3.RetryLeaseClient(c).LeaseGrant(within(t), &etcdserverpb.LeaseGrantRequest{ID: int64(id), TTL: ttl})
	if err != nil {
		t.Fatalf("grant lease %x for %d s: %v", id, ttl, err)
	}
	return clientv3.LeaseID(r.ID)
}

func put(t testing.TB, c *clientv3.Client, key string, options ...clientv3.OpOption) int64 {
	t.Helper()
	r, err := c.Put(within(t), key, "v", options...)
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return r.Header.Revision
}

func attached(t testing.TB, c *clientv3.Client, id clientv3.LeaseID) []string {
	t.Helper()
	r, err := c.TimeToLive(within(t), id, clientv3.WithAttachedKeys())
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{}
	for _, k := range r.Keys {
		keys = append(keys, string(k))
	}
	return keys
}

// TestLeaseGrant: ids that are chosen, taken, negative and generated, the least TTL and the largest, and that they
// outlive a stop and a kill.
func TestLeaseGrant(t *testing.T) {
	s := servertest.Start(t)
	c := client(t, s.Endpoint())
	for _, id := range []clientv3.LeaseID{5, -5, -1 << 63} {
		if got := grant(t, c, id, 1000); got != id {
			t.Errorf("asked for lease %x, got %x", id, got)
		}
	}
	if id := grant(t, c, 0, 1000); id <= 0 {
		t.Errorf("the generated id is %d", id)
	}
	leases := clientv3.RetryLeaseClient(c)
	for _, refused := range []struct {
		id, ttl int64
		want    error
	}{
		{5, 10, rpctypes.ErrGRPCLeaseExist}, {-5, 10, rpctypes.ErrGRPCLeaseExist},
		{6, 9_000_000_001, rpctypes.ErrGRPCLeaseTTLTooLarge}, {5, 9_000_000_001, rpctypes.ErrGRPCLeaseTTLTooLarge},
	} {
		_, err := leases.LeaseGrant(within(t), &etcdserverpb.LeaseGrantRequest{ID: refused.id, TTL: refused.ttl})
		if !errors.Is(err, refused.want) {
			t.Errorf("lease %d for %d s: %v, want %v", refused.id, refused.ttl, err, refused.want)
		}
	}
	for ttl, want := range map[int64]int64{-7: 2, 0: 2, 1: 2, 2: 2, 3: 3, 9_000_000_000: 9_000_000_000} {
		r, err := c.Grant(within(t), ttl)
		if err != nil || r.TTL != want {
			t.Errorf("a TTL of %d is granted as %+v, %v, want %d", ttl, r, err, want)
		}
	}
	if _, err := c.Put(within(t), "k", "v", clientv3.WithLease(77)); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("a put on a lease that does not exist: %v", err)
	}
	if _, err := c.Revoke(within(t), 77); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("a revocation of a lease that does not exist: %v", err)
	}
	for _, end := range []func(){s.Stop, s.Kill} {
		end()
		s.Restart()
		for _, id := range []clientv3.LeaseID{5, -5, -1 << 63} {
			if r, err := c.TimeToLive(within(t), id); err != nil || r.GrantedTTL != 1000 || r.TTL < 900 {
				t.Errorf("after a restart lease %x is %+v, %v", id, r, err)
			}
		}
	}
}

// TestLeaseAttachments: a key is on the lease that its last put has named, through puts, ignore_lease, transactions,
// deletions and restarts; a revocation deletes exactly the keys of its lease, in one revision.
func TestLeaseAttachments(t *testing.T) {
	s := servertest.Start(t)
	c := client(t, s.Endpoint())
	one, two := grant(t, c, 1, 1000), grant(t, c, 2, 1000)
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		put(t, c, key, clientv3.WithLease(one))
	}
	put(t, c, "b", clientv3.WithLease(two))
	put(t, c, "c")
	if _, err := c.Put(within(t), "d", "kept", clientv3.WithIgnoreLease()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Delete(within(t), "e"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Txn(within(t)).Then(clientv3.OpPut("f", "v", clientv3.WithLease(two)), clientv3.OpPut("g", "v", clientv3.WithLease(one))).Commit(); err != nil {
		t.Fatal(err)
	}
	// A transaction with a lease that does not exist does nothing at all.
	_, err := c.Txn(within(t)).Then(clientv3.OpPut("h", "v", clientv3.WithLease(one)), clientv3.OpPut("i", "v", clientv3.WithLease(99))).Commit()
	if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("a transaction with a lease that does not exist: %v", err)
	}
	for range 2 {
		if got := attached(t, c, one); !slices.Equal(got, []string{"a", "d", "g"}) {
			t.Errorf("lease 1 has %q", got)
		}
		if got := attached(t, c, two); !slices.Equal(got, []string{"b", "f"}) {
			t.Errorf("lease 2 has %q", got)
		}
		if r, err := c.TimeToLive(within(t), one); err != nil || len(r.Keys) != 0 {
			t.Errorf("keys that nobody asked for: %q, %v", r.Keys, err)
		}
		s.Kill()
		s.Restart()
	}
	before := put(t, c, "z")
	watched := c.Watch(within(t), "", clientv3.WithPrefix(), clientv3.WithRev(before+1))
	r, err := c.Revoke(within(t), one)
	if err != nil || r.Header.Revision != before+1 {
		t.Fatalf("revoked at %+v, %v, want revision %d", r, err, before+1)
	}
	var gone []string
	for _, e := range (<-watched).Events {
		if e.Type != clientv3.EventTypeDelete || e.Kv.ModRevision != before+1 {
			t.Errorf("event %v", e)
		}
		gone = append(gone, string(e.Kv.Key))
	}
	if !slices.Equal(gone, []string{"a", "d", "g"}) {
		t.Errorf("the revocation has deleted %q", gone)
	}
	if r, err := c.TimeToLive(within(t), one, clientv3.WithAttachedKeys()); err != nil || r.TTL != -1 || r.GrantedTTL != 0 || len(r.Keys) != 0 {
		t.Errorf("the revoked lease is %+v, %v", r, err)
	}
	list, err := c.Leases(within(t))
	if err != nil || len(list.Leases) != 1 || list.Leases[0].ID != two {
		t.Errorf("the leases are %+v, %v", list, err)
	}
	// Without keys a revocation leaves the revision.
	three := grant(t, c, 3, 1000)
	if r, err := c.Revoke(within(t), three); err != nil || r.Header.Revision != before+1 {
		t.Errorf("an empty lease is revoked at %+v, %v", r, err)
	}
}

// TestLeaseExpiry: a lease ends by itself, neither early nor much later, and its keys go in one revision that watchers
// see; one that is kept alive lives on.
func TestLeaseExpiry(t *testing.T) {
	s := servertest.Start(t)
	c := client(t, s.Endpoint())
	kept := grant(t, c, 0, 2)
	alive, err := c.KeepAlive(t.Context(), kept)
	if err != nil {
		t.Fatal(err)
	}
	var answers int
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range alive {
			answers++
		}
	}()
	asked := time.Now()
	short := grant(t, c, 0, 2)
	granted := time.Now()
	put(t, c, "kept", clientv3.WithLease(kept))
	put(t, c, "x", clientv3.WithLease(short))
	before := put(t, c, "y", clientv3.WithLease(short))
	watched := c.Watch(within(t), "", clientv3.WithPrefix(), clientv3.WithRev(before+1), clientv3.WithPrevKV())
	r := <-watched
	if took := time.Since(asked); took < 2*time.Second {
		t.Errorf("the lease of 2 s has ended after %v", took)
	}
	if took := time.Since(granted); took > 2500*time.Millisecond+late {
		t.Errorf("the lease of 2 s has ended after %v", took)
	}
	if len(r.Events) != 2 || r.Events[0].PrevKv == nil || string(r.Events[0].Kv.Key) != "x" || string(r.Events[1].Kv.Key) != "y" ||
		r.Events[0].Kv.ModRevision != before+1 || r.Events[1].Kv.ModRevision != before+1 {
		t.Errorf("the expiry is seen as %v", r.Events)
	}
	if got, err := c.Get(within(t), "kept"); err != nil || got.Count != 1 {
		t.Errorf("the key of the lease that is kept alive: %+v, %v", got, err)
	}
	// Its end is seen by the one who keeps it alive.
	if _, err := c.Revoke(within(t), kept); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the keep-alives go on although the lease was revoked")
	}
	if answers < 2 {
		t.Errorf("%d keep-alives were answered", answers)
	}
	for name, want := range map[string]float64{"granted": 2, "revoked": 2, "server_lease_expired": 1} {
		if name != "server_lease_expired" {
			name = "lease_" + name
		}
		if have := metric(t, s, "etcd_debugging_"+name+"_total"); have != want {
			t.Errorf("%s is %v, want %v", name, have, want)
		}
	}
	if have := metric(t, s, "etcd_debugging_lease_renewed_total"); have < 2 {
		t.Errorf("%v renewals are counted", have)
	}
}

// metric reads a figure that has no labels.
func metric(t testing.TB, s *servertest.Server, name string) float64 {
	t.Helper()
	r, err := http.Get(s.Endpoint() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("there is no figure %s", name)
	}
	v, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestLeaseOverRestarts: a deadline survives stops and kills: the lease does not end early, and does not get its whole
// TTL again.
func TestLeaseOverRestarts(t *testing.T) {
	const ttl = 10 * time.Second
	const lost = 500 * time.Millisecond // at most, with each restart
	s := servertest.Start(t)
	c := client(t, s.Endpoint())
	asked := time.Now()
	id := grant(t, c, 0, int64(ttl/time.Second))
	granted := time.Now()
	put(t, c, "k", clientv3.WithLease(id))
	var down time.Duration
	for i, end := range []func(){s.Kill, s.Stop, s.Kill, s.Kill, s.Stop, s.Kill} {
		<-time.After(time.Second) // the time that has passed is what is tested
		began := time.Now()
		end()
		s.Restart()
		down += time.Since(began)
		r, err := c.TimeToLive(within(t), id)
		if err != nil {
			t.Fatal(err)
		}
		passed := time.Since(granted) - down
		if most := ttl - passed + time.Duration(i+1)*lost + time.Second; time.Duration(r.TTL)*time.Second > most {
			t.Errorf("after %v %d s are left, at most %v may be", passed, r.TTL, most)
		}
	}
	for {
		r, err := c.Get(within(t), "k")
		if err != nil {
			t.Fatal(err)
		}
		if r.Count == 0 {
			break
		}
		if time.Since(granted) > ttl+down+6*lost+late {
			t.Fatalf("after %v, %v of them down, the lease of %v has not ended", time.Since(granted), down, ttl)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if took := time.Since(asked); took < ttl {
		t.Errorf("the lease of %v has ended after %v", ttl, took)
	}
}

// TestLeaseKeepAliveStream: a lease that does not exist is answered with a TTL of 0 and the stream goes on; answers come
// in the order of the requests, however many are under way.
func TestLeaseKeepAliveStream(t *testing.T) {
	s := servertest.Start(t)
	c := client(t, s.Endpoint())
	const leases = 500
	for id := range clientv3.LeaseID(leases) {
		if id%2 == 0 {
			grant(t, c, id+1, 100)
		}
	}
	stream, err := etcdserverpb.NewLeaseClient(dial(t, s)).LeaseKeepAlive(within(t))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range 10 {
			for id := range int64(leases) {
				if err := stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: id + 1}); err != nil {
					t.Error(err)
					return
				}
			}
		}
		_ = stream.CloseSend()
	}()
	for range 10 {
		for id := range int64(leases) {
			r, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if want := 100 * (1 - id%2); r.ID != id+1 || r.TTL != want || r.Header.GetRevision() != 1 {
				t.Fatalf("keep-alive of lease %d: %v, want a TTL of %d", id+1, r, want)
			}
		}
	}
	if r, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last: %v, %v", r, err)
	}
}

// TestLeaseReadsItsWrites: what was granted is there at once, for keep-alives, TimeToLive and the list.
func TestLeaseReadsItsWrites(t *testing.T) {
	s := servertest.Start(t)
	c := client(t, s.Endpoint())
	for range 50 {
		id := grant(t, c, 0, 30)
		if r, err := c.KeepAliveOnce(within(t), id); err != nil || r.TTL != 30 {
			t.Fatalf("a keep-alive right after the grant: %+v, %v", r, err)
		}
		if r, err := c.TimeToLive(within(t), id); err != nil || r.TTL < 20 {
			t.Fatalf("TimeToLive right after the grant: %+v, %v", r, err)
		}
		if r, err := c.Leases(within(t)); err != nil || !slices.Contains(r.Leases, clientv3.LeaseStatus{ID: id}) {
			t.Fatalf("the list right after the grant: %+v, %v", r, err)
		}
		if _, err := c.Revoke(within(t), id); err != nil {
			t.Fatal(err)
		}
		if _, err := c.KeepAliveOnce(within(t), id); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			t.Fatalf("a keep-alive right after the revocation: %v", err)
		}
	}
}

// TestLeasePython: Debian's client grants, refreshes and revokes leases, and its lock has a TTL, is refreshed and
// released, waits for another's release, and outlives no dead holder.
func TestLeasePython(t *testing.T) {
	const python = "/usr/bin/python3"
	if words, err := exec.Command(python, "-c", "import etcd3").CombinedOutput(); err != nil {
		t.Skipf("this needs %s with the package etcd3 (Debian: apt install python3-etcd3): %v\n%s", python, err, words)
	}
	s := servertest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	words, err := exec.CommandContext(ctx, python, "testdata/leases.py", s.Endpoint()).CombinedOutput()
	if err != nil || string(words) != "all is well\n" {
		t.Errorf("%v\n%s", err, words)
	}
}

// bytesCodec lets a test send and receive messages as bytes, of services whose Go types it must not import.
type bytesCodec struct{}

func (bytesCodec) Name() string                       { return "proto" }
func (bytesCodec) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (bytesCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = slices.Clone(data); return nil }

// invoke calls a method with fields, numbers and bytes by turns of number and value, and returns the fields of the
// answer by number.
func invoke(ctx context.Context, c *grpc.ClientConn, method string, fields ...any) (map[protowire.Number]any, error) {
	request, response := message(fields...), []byte(nil)
	if err := c.Invoke(ctx, method, &request, &response, grpc.ForceCodec(bytesCodec{})); err != nil {
		return nil, err
	}
	return parts(response), nil
}

func message(fields ...any) (b []byte) {
	for i := 0; i < len(fields); i += 2 {
		number := protowire.Number(fields[i].(int))
		switch v := fields[i+1].(type) {
		case int64:
			b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(v))
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), v)
		default:
			panic(fmt.Sprintf("%T is no field", v))
		}
	}
	return b
}

func parts(b []byte) map[protowire.Number]any {
	fields := map[protowire.Number]any{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		b = b[n:]
		if kind == protowire.VarintType {
			v, n := protowire.ConsumeVarint(b)
			fields[number], b = int64(v), b[n:]
		} else {
			v, n := protowire.ConsumeBytes(b)
			fields[number], b = string(v), b[n:]
		}
	}
	return fields
}
