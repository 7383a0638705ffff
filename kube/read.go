package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// progressInterval is how often apiserver asks a watch stream for its progress while a read waits.
	progressInterval = 100 * time.Millisecond
	// readTimeout is far above the three seconds after which apiserver gives up and lists instead, since a machine that runs tests is slow.
	readTimeout = 20 * time.Second
)

// Wait returns when the cache has everything up to the revision, and asks for progress meanwhile.
func (c *Cache) Wait(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	ask := time.NewTicker(progressInterval)
	defer ask.Stop()
	for {
		c.mu.Lock()
		reached, moved := c.mu.revision >= revision, c.mu.moved
		c.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-ask.C:
			// It fails only with the context, or while the stream is made anew; the next tick tries again.
			_ = c.storage.client.RequestProgress(clientv3.WithRequireLeader(ctx))
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return breachf("%s: the cache stands at revision %d and does not reach %d, which the store has shown, in %v",
					c.storage.prefix, c.Revision(), revision, readTimeout)
			}
			return ctx.Err()
		}
	}
}

// A way is one of the ways to list.
type way int

const (
	streamed way = iota
	inPages
	whole
	ways
)

// ConsistentRead waits until the cache has reached the store's revision and compares it with a list at the revision it then stands at (K3).
// It says how long the cache took, and whether there was something to compare: not if that revision was compacted meanwhile.
func (c *Cache) ConsistentRead(ctx context.Context, how way) (took time.Duration, compared bool, err error) {
	began := time.Now()
	revision, err := c.storage.CurrentRevision(ctx)
	if err != nil {
		return 0, false, err
	}
	if err := c.Wait(ctx, revision); err != nil {
		return 0, false, err
	}
	took = time.Since(began)
	rows, at := c.Rows()
	var list List
	switch how {
	case streamed:
		list, _, err = c.storage.Stream(ctx, at)
	case inPages:
		list, err = c.storage.Pages(ctx, at, 3)
	default:
		list, err = c.storage.Pages(ctx, at, 1<<40)
	}
	if errors.Is(err, rpctypes.ErrCompacted) {
		return took, false, nil
	}
	if err != nil {
		return took, false, err
	}
	if err := equal(rows, list.Rows); err != nil {
		return took, false, breachf("%s at revision %d: %v", c.storage.prefix, at, err)
	}
	return took, true, nil
}

// equal compares rows with a list, which must be in the order of keys.
func equal(rows map[string]*mvccpb.KeyValue, list []*mvccpb.KeyValue) error {
	for i, kv := range list {
		if i > 0 && string(list[i-1].Key) >= string(kv.Key) {
			return fmt.Errorf("%q is listed after %q", kv.Key, list[i-1].Key)
		}
		row := rows[string(kv.Key)]
		if row == nil {
			return fmt.Errorf("the cache lacks %v", kv)
		}
		if !proto.Equal(row, kv) {
			return fmt.Errorf("the cache has %v, the list %v", row, kv)
		}
	}
	if len(list) != len(rows) {
		return fmt.Errorf("the cache has %d rows, the list %d", len(rows), len(list))
	}
	return nil
}
