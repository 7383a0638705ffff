package kube

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Resource is one kind of object, and how it is written.
type Resource struct {
	Name    string
	Objects int   // names that are written
	Writers int   // of each apiserver
	TTL     int64 // seconds; 0 without leases
	Reuse   reuse // of its leases
	// Renew has each writer put its own object again and again, as apiservers do with the leases that say they live; nobody deletes.
	Renew bool
	Pause time.Duration // between two writes of one writer
}

// Statistics are what a run has done.
type Statistics struct {
	reads, comparisons atomic.Int64
	watches, lists     atomic.Int64

	mu     sync.Mutex
	waited []time.Duration // of consistent reads
}

// An Apiserver has a cache for each resource.
type Apiserver struct {
	name     string
	endpoint string
	ledger   *Ledger
	served   map[string]*served
}

// served is a resource in one apiserver.
type served struct {
	Resource
	storage *Storage
	cache   *Cache
}

// NewApiserver opens a client for each resource.
func NewApiserver(name, endpoint string, resources []Resource, ledger *Ledger) (*Apiserver, error) {
	a := &Apiserver{name: name, endpoint: endpoint, ledger: ledger, served: map[string]*served{}}
	for _, r := range resources {
		s, err := a.storage(r)
		if err != nil {
			a.Close()
			return nil, err
		}
		a.served[r.Name] = &served{r, s, NewCache(s)}
	}
	return a, nil
}

func (a *Apiserver) storage(r Resource) (*Storage, error) {
	client, err := dial(a.endpoint)
	if err != nil {
		return nil, err
	}
	s := &Storage{client: client, prefix: "/registry/" + r.Name + "/", ledger: a.ledger}
	if r.TTL > 0 {
		s.leases = &leases{client: client.Client, ttl: r.TTL, reuse: r.Reuse}
	}
	return s, nil
}

// Close closes the clients.
func (a *Apiserver) Close() {
	for _, s := range a.served {
		s.storage.client.Close()
	}
}

// Caches runs the caches until the context ends.
func (a *Apiserver) Caches(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range a.served {
		group.Go(func() error { return s.cache.Run(ctx) })
	}
	return group.Wait()
}

// Work writes, reads and restarts watches until the context ends. Its error is a breach, or nil.
func (a *Apiserver) Work(ctx context.Context, statistics *Statistics) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range a.served {
		for w := range s.Writers {
			group.Go(func() error { return a.write(ctx, s, w) })
		}
		group.Go(func() error { return read(ctx, s.cache, statistics) })
		group.Go(func() error { return a.comeAndGo(ctx, s, statistics) })
	}
	group.Go(func() error {
		for ctx.Err() == nil {
			for _, s := range a.served {
				pause(ctx, 300*time.Millisecond)
				s.cache.Restart(ctx)
			}
		}
		return nil
	})
	return group.Wait()
}

// write is one writer's life.
func (a *Apiserver) write(ctx context.Context, s *served, writer int) error {
	r := rand.New(rand.NewPCG(uint64(writer), uint64(len(a.name)+len(s.Name))))
	padding := strings.Repeat("x", 300)
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("%sobject-%03d", s.storage.prefix, r.IntN(s.Objects))
		value := func(attempt int) string {
			return fmt.Sprintf("%s/%s/%d/%d/%d %s", a.name, s.Name, writer, n, attempt, padding[:r.IntN(len(padding))])
		}
		var err error
		row := s.cache.Row(key)
		switch {
		case s.Renew:
			key = fmt.Sprintf("%s%s-%d", s.storage.prefix, a.name, writer)
			if row = s.cache.Row(key); row == nil {
				err = s.storage.Create(ctx, key, value(0))
			} else {
				err = s.storage.Update(ctx, key, row, value)
			}
		case row == nil:
			err = s.storage.Create(ctx, key, value(0))
		case r.IntN(4) == 0:
			err = s.storage.Delete(ctx, key, row)
		default:
			err = s.storage.Update(ctx, key, row, value)
		}
		if b := (*breach)(nil); errors.As(err, &b) {
			return b
		}
		if err != nil && !errors.Is(err, errExists) && !errors.Is(err, errNotFound) {
			pause(ctx, 20*time.Millisecond)
		}
		pause(ctx, s.Pause)
	}
	return nil
}

// read makes consistent reads, each compared with a list.
func read(ctx context.Context, c *Cache, statistics *Statistics) error {
	for how := way(0); ctx.Err() == nil; how = (how + 1) % ways {
		took, compared, err := c.ConsistentRead(ctx, how)
		if b := (*breach)(nil); errors.As(err, &b) {
			return b
		}
		if err == nil {
			statistics.reads.Add(1)
			statistics.mu.Lock()
			statistics.waited = append(statistics.waited, took)
			statistics.mu.Unlock()
		}
		if compared {
			statistics.comparisons.Add(1)
		}
		pause(ctx, 50*time.Millisecond)
	}
	return nil
}

// comeAndGo opens caches in the middle of everything, each with a client of its own, reads and closes them.
func (a *Apiserver) comeAndGo(ctx context.Context, s *served, statistics *Statistics) error {
	for ctx.Err() == nil {
		storage, err := a.storage(s.Resource)
		if err != nil {
			return err
		}
		c := NewCache(storage)
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- c.Run(running) }()
		for how := range ways {
			if _, _, e := c.ConsistentRead(running, how); e != nil {
				err = errors.Join(err, e)
			}
		}
		stop()
		err = errors.Join(err, <-ended)
		storage.client.Close()
		if b := (*breach)(nil); errors.As(err, &b) {
			return b
		}
		pause(ctx, 200*time.Millisecond)
	}
	return nil
}
