package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

// dial opens a client as apiserver does, except that it comes back sooner to a server that restarts.
func dial(endpoint string) (*kubernetes.Client, error) {
	return kubernetes.New(clientv3.Config{
		Endpoints:            []string{endpoint},
		DialTimeout:          20 * time.Second,
		DialKeepAliveTime:    30 * time.Second,
		DialKeepAliveTimeout: 10 * time.Second,
		Logger:               zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second,
		})},
	})
}

// A Storage is one resource as one apiserver sees it, with a client, and so a connection, of its own.
type Storage struct {
	client *kubernetes.Client
	prefix string  // ends with a slash
	leases *leases // nil if the objects stay until they are deleted
	ledger *Ledger
}

// Errors of writes, as apiserver tells them.
var (
	errExists   = errors.New("the object exists already")
	errNotFound = errors.New("the object does not exist")
)

func (s *Storage) lease(ctx context.Context) (clientv3.LeaseID, error) {
	if s.leases == nil {
		return 0, nil
	}
	return s.leases.get(ctx)
}

// Create puts an object that must not exist.
func (s *Storage) Create(ctx context.Context, key, value string) error {
	lease, err := s.lease(ctx)
	if err != nil {
		return err
	}
	w := s.ledger.intend(key, value, s.leases)
	resp, err := s.client.Kubernetes.OptimisticPut(ctx, key, []byte(value), 0, kubernetes.PutOptions{LeaseID: lease})
	s.ledger.settle(w, resp.Succeeded, resp.Revision, err)
	if err == nil && !resp.Succeeded {
		return errExists
	}
	return err
}

// Update changes an object, beginning with a row of it that may be old; nil means that none is known.
func (s *Storage) Update(ctx context.Context, key string, row *mvccpb.KeyValue, value func(attempt int) string) error {
	lease, err := s.lease(ctx)
	if err != nil {
		return err
	}
	if row == nil {
		resp, err := s.client.Kubernetes.Get(ctx, key, kubernetes.GetOptions{})
		if err != nil {
			return err
		}
		row = resp.KV
	}
	for attempt := 0; row != nil; attempt++ {
		v := value(attempt)
		w := s.ledger.intend(key, v, s.leases)
		resp, err := s.client.Kubernetes.OptimisticPut(ctx, key, []byte(v), row.ModRevision, kubernetes.PutOptions{GetOnFailure: true, LeaseID: lease})
		s.ledger.settle(w, resp.Succeeded, resp.Revision, err)
		if err != nil || resp.Succeeded {
			return err
		}
		if err := newer(row, resp.KV, resp.Revision); err != nil {
			return err
		}
		row = resp.KV
	}
	return errNotFound
}

// Delete removes an object, beginning with a row that may be old.
func (s *Storage) Delete(ctx context.Context, key string, row *mvccpb.KeyValue) error {
	for row != nil {
		w := s.ledger.intendDelete(key)
		resp, err := s.client.Kubernetes.OptimisticDelete(ctx, key, row.ModRevision, kubernetes.DeleteOptions{GetOnFailure: true})
		s.ledger.settle(w, resp.Succeeded, resp.Revision, err)
		if err != nil || resp.Succeeded {
			return err
		}
		if err := newer(row, resp.KV, resp.Revision); err != nil {
			return err
		}
		row = resp.KV
	}
	return errNotFound
}

// A breach is an error that says what the server did wrong, as against a refusal or a connection that failed.
type breach struct{ words string }

func (b *breach) Error() string { return b.words }

func breachf(format string, args ...any) error { return &breach{fmt.Sprintf(format, args...)} }

// newer holds K4: a refusal gives a later row than the one it was refused for, at a revision that has it.
func newer(row, got *mvccpb.KeyValue, revision int64) error {
	switch {
	case got == nil:
		return nil
	case string(got.Key) != string(row.Key):
		return breachf("a write of %q was refused with a row of %q", row.Key, got.Key)
	case got.ModRevision <= row.ModRevision:
		return breachf("a write of %q at %d was refused with a row of %d", row.Key, row.ModRevision, got.ModRevision)
	case got.ModRevision > revision:
		return breachf("a write of %q was refused at revision %d with a row of %d", row.Key, revision, got.ModRevision)
	}
	return nil
}

// CurrentRevision asks the store for its revision, as a consistent read does first.
func (s *Storage) CurrentRevision(ctx context.Context) (int64, error) {
	resp, err := s.client.Kubernetes.List(ctx, s.prefix, kubernetes.ListOptions{Limit: 1})
	return resp.Revision, err
}

// A List is what was listed, at a revision.
type List struct {
	Rows     []*mvccpb.KeyValue
	Revision int64
}

// Pages lists the resource at a revision, 0 being the present, in pages that begin with the given length and double. All pages are of
// the revision of the first.
func (s *Storage) Pages(ctx context.Context, revision, length int64) (List, error) {
	list := List{Revision: revision}
	next := ""
	for {
		page, err := s.client.Kubernetes.List(ctx, s.prefix, kubernetes.ListOptions{Revision: list.Revision, Limit: length, Continue: next})
		if err != nil {
			return list, err
		}
		if list.Revision == 0 {
			list.Revision = page.Revision
		}
		if page.Revision < list.Revision {
			return list, breachf("a page of revision %d was given at revision %d", list.Revision, page.Revision)
		}
		if int64(len(page.Kvs)) > length {
			return list, breachf("a page of %d has %d rows", length, len(page.Kvs))
		}
		list.Rows = append(list.Rows, page.Kvs...)
		if int64(len(page.Kvs)) >= page.Count {
			return list, nil
		}
		if len(page.Kvs) == 0 {
			return list, breachf("a page of %d rows is empty and there are %d", length, page.Count)
		}
		next = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
		length = min(2*length, 10_000)
	}
}

// Stream lists the resource at a revision, 0 being the present, by RangeStream, and in pages if the server does not know that.
func (s *Storage) Stream(ctx context.Context, revision int64) (list List, streamed bool, err error) {
	chunks, err := s.client.GetStream(ctx, s.prefix, clientv3.WithPrefix(), clientv3.WithRev(revision))
	if err == nil {
		var resp *clientv3.GetResponse
		if resp, err = clientv3.GetStreamToGetResponse(chunks); err == nil {
			if resp.Count != int64(len(resp.Kvs)) || resp.More {
				return list, true, breachf("a stream of %d rows says count %d, more %v", len(resp.Kvs), resp.Count, resp.More)
			}
			list = List{resp.Kvs, resp.Header.Revision}
			if revision != 0 {
				list.Revision = revision
			}
			return list, true, nil
		}
	}
	if status.Code(err) != codes.Unimplemented {
		return list, true, err
	}
	list, err = s.Pages(ctx, revision, 500)
	return list, false, err
}
