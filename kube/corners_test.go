package kube

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

// open starts a server and one resource of it.
func open(t *testing.T) (context.Context, *Storage) {
	t.Helper()
	s := startServer(t)
	client, err := dial(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx, &Storage{client: client, prefix: "/registry/pods/", ledger: &Ledger{}}
}

// fill creates objects and returns the revision of the last.
func fill(t *testing.T, ctx context.Context, s *Storage, n int) int64 {
	t.Helper()
	for i := range n {
		if err := s.Create(ctx, fmt.Sprintf("%s%03d", s.prefix, i), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	revision, err := s.CurrentRevision(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// TestGates holds that the server is one from which apiserver uses everything: its version passes, RangeStream is there, it has a size
// and a health key.
func TestGates(t *testing.T) {
	t.Parallel()
	ctx, s := open(t)
	fill(t, ctx, s, 30)
	status, err := s.client.Status(ctx, s.client.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	if v, err := parseVersion(status.Version); err != nil || !supportsProgress(v) {
		t.Errorf("version %q: %v", status.Version, err)
	}
	if status.DbSize <= 0 {
		t.Errorf("the size is %d", status.DbSize)
	}
	if list, streamed, err := s.Stream(ctx, 0); err != nil || !streamed || len(list.Rows) != 30 {
		t.Errorf("a streamed list: %d rows, streamed %v, %v", len(list.Rows), streamed, err)
	}
	if resp, err := s.client.Kubernetes.Get(ctx, "/registry/health", kubernetes.GetOptions{}); err != nil || resp.KV != nil {
		t.Errorf("the health key: %v, %v", resp, err)
	}
	if n, err := s.client.Kubernetes.Count(ctx, s.prefix, kubernetes.CountOptions{}); err != nil || n != 30 {
		t.Errorf("the count is %d, %v", n, err)
	}
	if resp, err := s.client.KV.Get(ctx, s.prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly()); err != nil || len(resp.Kvs) != 30 || resp.Kvs[0].Value != nil {
		t.Errorf("keys only: %v, %v", resp, err)
	}
}

// TestPagesOfThePast holds K3 for a list in pages whose objects change meanwhile, and that count is told of everything past the limit.
func TestPagesOfThePast(t *testing.T) {
	t.Parallel()
	ctx, s := open(t)
	revision := fill(t, ctx, s, 25)
	page, err := s.client.Kubernetes.List(ctx, s.prefix, kubernetes.ListOptions{Limit: 10})
	if err != nil || len(page.Kvs) != 10 || page.Count != 25 || page.Revision != revision {
		t.Fatalf("the first page: %d of %d at %d, %v", len(page.Kvs), page.Count, page.Revision, err)
	}
	if _, err := s.client.Delete(ctx, s.prefix, clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ first, rows, count int }{{10, 10, 15}, {20, 5, 5}} {
		after := string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
		if page, err = s.client.Kubernetes.List(ctx, s.prefix, kubernetes.ListOptions{Limit: 10, Revision: revision, Continue: after}); err != nil {
			t.Fatal(err)
		}
		if len(page.Kvs) != want.rows || page.Count != int64(want.count) || string(page.Kvs[0].Value) != fmt.Sprint(want.first) {
			t.Errorf("a page after %q: %d of %d, first %v", after, len(page.Kvs), page.Count, page.Kvs[0])
		}
	}
	if list, err := s.Pages(ctx, 0, 4); err != nil || len(list.Rows) != 0 {
		t.Errorf("the present: %d rows, %v", len(list.Rows), err)
	}
	if list, err := s.Pages(ctx, revision, 1); err != nil || len(list.Rows) != 25 {
		t.Errorf("the past in pages: %d rows, %v", len(list.Rows), err)
	}
}

// TestCompacted holds K6: lists, pages and watches of what is compacted, and lists of what is still to come, end with the errors that
// apiserver compares with and looks for in texts.
func TestCompacted(t *testing.T) {
	t.Parallel()
	ctx, s := open(t)
	revision := fill(t, ctx, s, 10)
	if _, err := s.client.Compact(ctx, revision-1); err != nil {
		t.Fatal(err)
	}
	compacted := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, rpctypes.ErrCompacted) || err.Error() != "etcdserver: mvcc: required revision has been compacted" {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := s.Pages(ctx, revision-2, 3)
	compacted("pages", err)
	_, _, err = s.Stream(ctx, revision-2)
	compacted("a stream", err)
	_, err = s.client.Kubernetes.Get(ctx, s.prefix+"000", kubernetes.GetOptions{Revision: revision - 2})
	compacted("a get", err)
	_, err = s.client.Compact(ctx, revision-1)
	compacted("a compaction again", err)
	if list, err := s.Pages(ctx, revision-1, 3); err != nil || len(list.Rows) != 9 {
		t.Errorf("the compacted revision itself: %d rows, %v", len(list.Rows), err)
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	a := <-s.client.Watch(clientv3.WithRequireLeader(watching), s.prefix, clientv3.WithPrefix(), clientv3.WithRev(revision-2), clientv3.WithPrevKV())
	compacted("a watch", a.Err())
	if a.CompactRevision != revision-1 {
		t.Errorf("the watch was told of compaction to %d instead of %d", a.CompactRevision, revision-1)
	}
	_, err = s.Pages(ctx, revision+1, 3)
	if !errors.Is(err, rpctypes.ErrFutureRev) || err.Error() != "etcdserver: mvcc: required revision is a future revision" {
		t.Errorf("pages of what is still to come: %v", err)
	}
}

// TestCacheListsAgain holds K6 for a cache that slept while its revision was compacted: it lists again and then misses nothing.
func TestCacheListsAgain(t *testing.T) {
	t.Parallel()
	ctx, s := open(t)
	fill(t, ctx, s, 10)
	c := NewCache(s)
	run := func(change func()) {
		t.Helper()
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- c.Run(running) }()
		for how := range ways {
			change()
			if _, compared, err := c.ConsistentRead(ctx, how); err != nil || !compared {
				t.Errorf("compared %v, %v", compared, err)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	n := 0
	update := func() {
		n++
		if err := s.Update(ctx, s.prefix+"003", nil, func(int) string { return fmt.Sprint("change ", n) }); err != nil {
			t.Error(err)
		}
	}
	run(update)
	update()
	revision := func() int64 {
		update()
		r, err := s.CurrentRevision(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}()
	if _, err := s.client.Compact(ctx, revision); err != nil {
		t.Fatal(err)
	}
	run(update)
	if c.mu.lists != 2 {
		t.Errorf("it listed %d times", c.mu.lists)
	}
	if err := s.ledger.Hold(c, 0); err != nil {
		t.Error(err)
	}
}
