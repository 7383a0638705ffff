package kube

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A change is one event that a cache was given.
type change struct {
	key      string
	value    string // of a put
	deleted  bool
	revision int64
	previous *mvccpb.KeyValue // nil for an object that is new
	at       time.Time        // when it came
}

// A span is the revisions above after up to upTo.
type span struct{ after, upTo int64 }

// A Cache follows one resource: it lists once, then watches.
type Cache struct {
	storage *Storage
	// restart, when something is received from it, ends the present watch; the next one begins where it ended.
	restart chan struct{}

	mu struct {
		sync.Mutex
		rows     map[string]*mvccpb.KeyValue
		revision int64         // everything up to it is in rows
		moved    chan struct{} // closed and replaced when revision grows
		changes  []change      // since the first list
		covered  []span        // the revisions that were watched
		lists    int
		watches  int
		progress int // answers that told progress
	}
}

// NewCache returns a cache of the resource, to be run.
func NewCache(s *Storage) *Cache {
	c := &Cache{storage: s, restart: make(chan struct{})}
	c.mu.moved = make(chan struct{})
	return c
}

// Run keeps the cache until the context ends, over lost connections and compactions. Its error is a breach, or nil. A cache that ran
// before goes on where it stood.
func (c *Cache) Run(ctx context.Context) error {
	listed := c.Revision() > 0
	for ctx.Err() == nil {
		var err error
		if !listed {
			err = c.list(ctx)
			listed = err == nil
		} else {
			err = c.watch(ctx)
		}
		if b := (*breach)(nil); errors.As(err, &b) {
			return b
		}
		if errors.Is(err, rpctypes.ErrCompacted) {
			listed = false
			continue
		}
		if err != nil {
			pause(ctx, 20*time.Millisecond)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// list replaces the rows by the present ones.
func (c *Cache) list(ctx context.Context) error {
	list, _, err := c.storage.Stream(ctx, 0)
	if err != nil {
		return err
	}
	rows := make(map[string]*mvccpb.KeyValue, len(list.Rows))
	for _, kv := range list.Rows {
		rows[string(kv.Key)] = kv
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if list.Revision < c.mu.revision {
		return breachf("%s was listed at revision %d after %d had been seen", c.storage.prefix, list.Revision, c.mu.revision)
	}
	c.mu.rows = rows
	c.mu.covered = append(c.mu.covered, span{list.Revision, list.Revision})
	c.mu.lists++
	c.move(list.Revision)
	return nil
}

// watch follows the resource from the next revision on, until the watch ends.
func (c *Cache) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := c.Revision() + 1
	answers := c.storage.client.Watch(clientv3.WithRequireLeader(ctx), c.storage.prefix,
		clientv3.WithPrefix(), clientv3.WithRev(next), clientv3.WithPrevKV(), clientv3.WithProgressNotify())
	c.mu.Lock()
	c.mu.watches++
	c.mu.Unlock()
	for {
		select {
		case a, ok := <-answers:
			if !ok {
				return context.Canceled
			}
			if err := a.Err(); err != nil {
				return err
			}
			if err := c.apply(a); err != nil {
				return err
			}
		case <-c.restart:
			cancel()
			// What the client had already received is thrown away; the next watch must tell it again.
			for range answers {
			}
			return nil
		}
	}
}

// apply takes one answer in and holds K1 and K2.
func (c *Cache) apply(a clientv3.WatchResponse) error {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.IsProgressNotify() {
		if a.Header.Revision < c.mu.revision {
			return breachf("%s: progress is told of revision %d after an event of %d", c.storage.prefix, a.Header.Revision, c.mu.revision)
		}
		c.mu.progress++
		c.move(a.Header.Revision)
		return nil
	}
	last := c.mu.revision
	inRevision := map[string]bool{}
	for i, e := range a.Events {
		revision := e.Kv.ModRevision
		if revision <= c.mu.revision {
			return breachf("%s: an event of %q at revision %d comes after everything up to %d was given", c.storage.prefix, e.Kv.Key, revision, c.mu.revision)
		}
		if revision < last {
			return breachf("%s: an event of %q at revision %d comes after one of %d", c.storage.prefix, e.Kv.Key, revision, last)
		}
		if i == 0 || revision > last {
			clear(inRevision)
		}
		if inRevision[string(e.Kv.Key)] {
			return breachf("%s: %q has two events at revision %d", c.storage.prefix, e.Kv.Key, revision)
		}
		inRevision[string(e.Kv.Key)] = true
		last = revision
		if err := fits(c.mu.rows[string(e.Kv.Key)], e); err != nil {
			return err
		}
		if e.Type == clientv3.EventTypeDelete {
			delete(c.mu.rows, string(e.Kv.Key))
		} else {
			c.mu.rows[string(e.Kv.Key)] = e.Kv
		}
		c.mu.changes = append(c.mu.changes, change{string(e.Kv.Key), string(e.Kv.Value), e.Type == clientv3.EventTypeDelete, revision, e.PrevKv, now})
	}
	if a.Header.Revision < last {
		return breachf("%s: an answer at revision %d has an event of %d", c.storage.prefix, a.Header.Revision, last)
	}
	c.move(last)
	return nil
}

// fits holds that an event is the next one of its key, after the row that is known: nothing was lost, told twice or exchanged.
func fits(row *mvccpb.KeyValue, e *clientv3.Event) error {
	kv := e.Kv
	if !e.IsCreate() && e.PrevKv == nil {
		return breachf("etcd event received with PrevKv=nil (key=%q, modRevision=%d, type=%s)", kv.Key, kv.ModRevision, e.Type)
	}
	if row == nil && e.PrevKv != nil || row != nil && !proto.Equal(row, e.PrevKv) {
		return breachf("an event of %q at %d says that before it was %v; it was %v", kv.Key, kv.ModRevision, e.PrevKv, row)
	}
	switch {
	case e.Type == clientv3.EventTypeDelete:
		if kv.Version != 0 || kv.CreateRevision != 0 || len(kv.Value) > 0 {
			return breachf("a deletion tells of %v", kv)
		}
	case e.IsCreate():
		if kv.Version != 1 {
			return breachf("a creation of %q at %d has version %d", kv.Key, kv.ModRevision, kv.Version)
		}
	case kv.Version != row.Version+1 || kv.CreateRevision != row.CreateRevision:
		return breachf("a change of %q at %d does not follow: %v after %v", kv.Key, kv.ModRevision, kv, row)
	}
	return nil
}

// move says that everything up to the revision is in the rows. It is called under the lock.
func (c *Cache) move(revision int64) {
	c.mu.covered[len(c.mu.covered)-1].upTo = revision
	if revision > c.mu.revision {
		c.mu.revision = revision
		close(c.mu.moved)
		c.mu.moved = make(chan struct{})
	}
}

// Revision returns the revision up to which the cache has everything.
func (c *Cache) Revision() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.revision
}

// Row returns the row of a key, nil if there is none.
func (c *Cache) Row(key string) *mvccpb.KeyValue {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.rows[key]
}

// Rows returns all rows and their revision.
func (c *Cache) Rows() (map[string]*mvccpb.KeyValue, int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.mu.rows), c.mu.revision
}

// Restart ends the present watch, as a client that gives up does.
func (c *Cache) Restart(ctx context.Context) {
	select {
	case c.restart <- struct{}{}:
	case <-ctx.Done():
	}
}
