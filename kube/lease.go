package kube

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A reuse says for how long one lease is given to new objects: a share of their time to live, but no more than atMost seconds.
type reuse struct {
	share  float64
	atMost int64
}

// apiserverReuse is what apiserver does.
var apiserverReuse = reuse{0.05, 60}

func (r reuse) seconds(ttl int64) int64 { return min(int64(r.share*float64(ttl)), r.atMost) }

// objectsPerLease is how many objects share a lease at most.
const objectsPerLease = 1000

// leases hands out leases for objects of one time to live. It never keeps one alive nor revokes it.
type leases struct {
	client *clientv3.Client
	ttl    int64 // seconds
	reuse  reuse

	mu struct {
		sync.Mutex
		id      clientv3.LeaseID
		until   time.Time // an object that is put before has its whole time to live
		objects int
		granted int
	}
}

// get returns a lease that lives at least ttl seconds from now on.
func (l *leases) get(ctx context.Context) (clientv3.LeaseID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.mu.id != 0 && now.Before(l.mu.until) && l.mu.objects < objectsPerLease {
		l.mu.objects++
		return l.mu.id, nil
	}
	more := l.reuse.seconds(l.ttl)
	granted, err := l.client.Grant(ctx, l.ttl+more)
	if err != nil {
		return 0, err
	}
	l.mu.id, l.mu.until, l.mu.objects = granted.ID, now.Add(time.Duration(more)*time.Second), 1
	l.mu.granted++
	return granted.ID, nil
}

// count returns how many leases were granted.
func (l *leases) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.granted
}
