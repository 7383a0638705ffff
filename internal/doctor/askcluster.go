package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

func httpWords(code int) string { return fmt.Sprintf("%d %s", code, http.StatusText(code)) }

// settleTime is how long members have to agree about their term before it is said that they do not.
const settleTime = time.Second

// askAgain asks for the terms once more if they differ: during an election they do for a moment.
func (f *facts) askAgain(ctx context.Context, o *Options) {
	if len(termsOf(f.each())) < 2 {
		return
	}
	select {
	case <-time.After(settleTime):
	case <-ctx.Done():
		return
	}
	for _, m := range f.each() {
		_ = m.question(ctx, o, "how it is", func(ctx context.Context) error {
			again, err := m.client.Status(ctx, m.given)
			if err == nil {
				m.status = again
			}
			return err
		})
	}
}

// compareKeys has every member hash its keys up to a revision that all of them have.
func (f *facts) compareKeys(ctx context.Context, o *Options) {
	members := f.each()
	if len(members) < 2 || len(clustersOf(members)) > 1 {
		return
	}
	for i, m := range members {
		if rev := m.status.Header.Revision; i == 0 || rev < f.hashRev {
			f.hashRev = rev
		}
	}
	var group sync.WaitGroup
	for _, m := range members {
		group.Go(func() {
			_ = m.question(ctx, o, "the hash of its keys", func(ctx context.Context) error {
				answer, err := m.client.HashKV(ctx, m.given, f.hashRev)
				if err == nil {
					m.hash = answer
				}
				return err
			})
		})
	}
	group.Wait()
}

// askOne asks the first member that answers what all of them would say alike.
func (f *facts) askOne(ctx context.Context, o *Options) {
	members := f.each()
	if len(members) == 0 {
		return
	}
	m := members[0]
	if m.status.Leader != 0 {
		_ = m.question(ctx, o, "the leases", func(ctx context.Context) error {
			answer, err := m.client.Leases(ctx)
			if err == nil {
				f.leases = len(answer.Leases)
			}
			return err
		})
		if m.auth != nil && *m.auth {
			f.emptyRoot = m.tryRoot(ctx, o)
		}
	}
	_ = m.question(ctx, o, "the keys and values", func(ctx context.Context) (err error) {
		f.large, err = largest(ctx, m.client, o.Limits)
		return err
	})
}

// tryRoot logs in as root with an empty password, on a connection of its own.
func (m *observed) tryRoot(ctx context.Context, o *Options) bool {
	spec := o.Spec
	spec.Auth = nil
	spec.Endpoints = []string{m.given}
	config, err := clientv3.NewClientConfig(&spec, zap.NewNop())
	if err != nil {
		return false
	}
	config.Logger = zap.NewNop()
	client, err := clientv3.New(*config)
	if err != nil {
		return false
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	_, err = client.Authenticate(ctx, "root", "")
	return err == nil
}

// maxLarge is how many large values are named.
const maxLarge = 5

// pageKeys is how many keys are read with one request.
const pageKeys = 64

// largest reads keys in their order, at one revision and without waiting for a leader, until it has read as much as the
// limits allow, and returns the largest values above the limit. It stops, with what it has, when the time is up.
func largest(ctx context.Context, client *clientv3.Client, limits Limits) (large []largeValue, err error) {
	from, revision, read := "\x00", int64(0), int64(0)
	for read < limits.ScanBytes {
		answer, err := client.Get(ctx, from, clientv3.WithFromKey(), clientv3.WithLimit(pageKeys), clientv3.WithSerializable(), clientv3.WithRev(revision))
		if err != nil {
			if ctx.Err() != nil {
				return large, nil
			}
			return nil, err
		}
		revision = answer.Header.Revision
		for _, kv := range answer.Kvs {
			read += int64(len(kv.Key) + len(kv.Value))
			large = keepLarge(large, string(kv.Key), int64(len(kv.Value)), limits)
		}
		if !answer.More || len(answer.Kvs) == 0 {
			break
		}
		from = string(answer.Kvs[len(answer.Kvs)-1].Key) + "\x00"
	}
	return large, nil
}

// keepLarge adds a value to the largest, if it is one of them.
func keepLarge(large []largeValue, key string, size int64, limits Limits) []largeValue {
	if size <= int64(limits.ValueBytes) {
		return large
	}
	large = append(large, largeValue{key, size})
	slices.SortStableFunc(large, func(a, b largeValue) int { return cmp.Compare(b.size, a.size) })
	return large[:min(len(large), maxLarge)]
}
