package kube

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

// compactKey is where apiservers agree on who compacts, and up to which revision.
const compactKey = "compact_rev_key"

// A Compactor compacts, each interval, up to the revision of the interval before, if no other was faster.
type Compactor struct {
	client    *kubernetes.Client
	interval  time.Duration
	compacted atomic.Int64 // the revision up to which this or another compactor has begun to compact, as the watch tells it
	won       atomic.Int64 // rounds
}

// Run compacts until the context ends. Its error is a breach, or nil.
func (c *Compactor) Run(ctx context.Context) error {
	var version, revision int64
	for {
		pause(ctx, c.interval)
		if ctx.Err() != nil {
			return nil
		}
		v, r, err := c.compact(ctx, version, revision)
		if b := (*breach)(nil); errors.As(err, &b) {
			return b
		}
		if err == nil {
			version, revision = v, r
		}
	}
}

// compact tries one round, knowing the version of the key and a revision that is to be compacted, and returns both for the next one.
func (c *Compactor) compact(ctx context.Context, version, revision int64) (int64, int64, error) {
	resp, err := c.client.KV.Txn(ctx).
		If(clientv3.Compare(clientv3.Version(compactKey), "=", version)).
		Then(clientv3.OpPut(compactKey, strconv.FormatInt(revision, 10))).
		Else(clientv3.OpGet(compactKey)).
		Commit()
	if err != nil {
		return version, revision, err
	}
	present := resp.Header.Revision
	if !resp.Succeeded {
		kvs := resp.Responses[0].GetResponseRange().Kvs
		if len(kvs) != 1 {
			return version, revision, breachf("the round of version %d was lost, but %s has no row", version, compactKey)
		}
		return kvs[0].Version, present, nil
	}
	c.won.Add(1)
	if revision == 0 {
		return version + 1, present, nil
	}
	// Compacted already: another compactor took the key over after a round of ours whose answer was lost.
	if _, err := c.client.Compact(ctx, revision); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return version, revision, err
	}
	return version + 1, present, nil
}

// Watch follows the key, as apiservers do to forget what others compact. Its error is a breach, or nil.
func (c *Compactor) Watch(ctx context.Context) error {
	next := int64(0)
	for ctx.Err() == nil {
		var err error
		if next, err = c.follow(ctx, next); err != nil {
			return err
		}
		pause(ctx, 20*time.Millisecond)
	}
	return nil
}

// follow watches from a revision on until the watch ends, and returns where to go on.
func (c *Compactor) follow(ctx context.Context, next int64) (int64, error) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for a := range c.client.Watch(ctx, compactKey, clientv3.WithRev(next)) {
		if errors.Is(a.Err(), rpctypes.ErrCompacted) {
			return a.CompactRevision, nil
		}
		if a.Err() != nil {
			return next, nil
		}
		for _, e := range a.Events {
			revision, err := strconv.ParseInt(string(e.Kv.Value), 10, 64)
			if err != nil || revision < c.compacted.Load() || e.Kv.ModRevision < next {
				return next, breachf("%s became %q at revision %d after %d", compactKey, e.Kv.Value, e.Kv.ModRevision, c.compacted.Load())
			}
			c.compacted.Store(revision)
			next = e.Kv.ModRevision + 1
		}
	}
	return next, nil
}
