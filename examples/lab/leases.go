package main

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const (
	reservedKey = "/reserved/host-20"
	printerLock = "/locks/printer" // the beginning of the keys of those who want the printer

	ttl  = 2 * time.Second // how long a lease lives without being refreshed
	soon = 5 * time.Second // after its end a lease must be gone by then
)

// grant asks for a lease of ttl.
func (l *lab) grant() (clientv3.LeaseID, error) {
	ctx, cancel := inTime()
	defer cancel()
	resp, err := l.etcd.Grant(ctx, int64(ttl.Seconds()))
	if err != nil {
		return 0, err
	}
	return resp.ID, check("the seconds granted", resp.TTL, int64(ttl.Seconds()))
}

// reserve puts the reserved host with the lease.
func (l *lab) reserve(name string, lease clientv3.LeaseID) error {
	ctx, cancel := inTime()
	defer cancel()
	_, err := l.etcd.Put(ctx, reservedKey, name, clientv3.WithLease(lease))
	return err
}

// waitUntilFree waits until nobody has the host, and checks that its lease, last asked for at refreshed, was not cut short.
func (l *lab) waitUntilFree(refreshed time.Time) error {
	for {
		resp, err := l.get(reservedKey)
		if err != nil {
			return err
		}
		if len(resp.Kvs) == 0 {
			return check("gone before its lease ended", time.Since(refreshed) < ttl, false)
		}
		if time.Since(refreshed) > ttl+soon {
			return &notAsTold{"the host long after its lease ended", "reserved", "free"}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (l *lab) reserveForAWhile() error {
	asked := time.Now()
	lease, err := l.grant()
	if err != nil {
		return err
	}
	if err := l.reserve("Adam", lease); err != nil {
		return err
	}
	resp, err := l.get(reservedKey)
	if err != nil {
		return err
	}
	if err := check("the number of keys", len(resp.Kvs), 1); err != nil {
		return err
	}
	if err := checks(
		check("who has it", string(resp.Kvs[0].Value), "Adam"),
		check("the lease of the key", resp.Kvs[0].Lease, int64(lease)),
	); err != nil {
		return err
	}
	l.printf("host-20 is reserved for %s", resp.Kvs[0].Value)
	if err := l.waitUntilFree(asked); err != nil {
		return err
	}
	l.printf("the two seconds are over: host-20 is free")
	return nil
}

func (l *lab) reserveAsLongAsAsked() error {
	lease, err := l.grant()
	if err != nil {
		return err
	}
	if err := l.reserve("Adam", lease); err != nil {
		return err
	}
	stop := make(chan struct{})
	ended := make(chan error, 1)
	var asked time.Time // written by the goroutine, read after it has ended
	go func() { ended <- l.askOn(lease, stop, &asked) }()
	for enough := time.Now().Add(2 * ttl); time.Now().Before(enough); time.Sleep(100 * time.Millisecond) {
		resp, err := l.get(reservedKey)
		if err == nil {
			err = check("the host is reserved", len(resp.Kvs), 1)
		}
		if err != nil {
			close(stop)
			<-ended
			return err
		}
	}
	l.printf("after twice two seconds host-20 is still reserved")
	close(stop)
	if err := <-ended; err != nil {
		return err
	}
	if err := l.waitUntilFree(asked); err != nil {
		return err
	}
	l.printf("nobody asks any more: host-20 is free")
	return nil
}

// askOn refreshes the lease until stop is closed, and keeps the time of the last attempt in asked.
func (l *lab) askOn(lease clientv3.LeaseID, stop <-chan struct{}, asked *time.Time) error {
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(ttl / 4):
		}
		*asked = time.Now()
		ctx, cancel := inTime()
		resp, err := l.etcd.KeepAliveOnce(ctx, lease)
		cancel()
		if err != nil {
			return err
		}
		if err := check("the seconds granted again", resp.TTL, int64(ttl.Seconds())); err != nil {
			return err
		}
	}
}

// A contender wants the printer. Its session keeps its lease alive until the session is closed or the contender goes home.
type contender struct {
	etcd    *clientv3.Client
	session *concurrency.Session
	mutex   *concurrency.Mutex
}

func newContender(etcd *clientv3.Client, lease time.Duration) (*contender, error) {
	ctx, cancel := inTime()
	defer cancel()
	granted, err := etcd.Grant(ctx, int64(lease.Seconds()))
	if err != nil {
		return nil, err
	}
	session, err := concurrency.NewSession(etcd, concurrency.WithLease(granted.ID))
	if err != nil {
		return nil, err
	}
	return &contender{etcd, session, concurrency.NewMutex(session, printerLock)}, nil
}

// acquire waits for the lock and says whether it came in time.
func (c *contender) acquire(within time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	err := c.mutex.Lock(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return false, nil
	}
	return err == nil, err
}

// isAcquired asks the store whether the lock is this contender's: the oldest key has it.
func (c *contender) isAcquired() (bool, error) {
	ctx, cancel := inTime()
	defer cancel()
	resp, err := c.etcd.Get(ctx, printerLock+"/", clientv3.WithFirstCreate()...)
	if err != nil {
		return false, err
	}
	return len(resp.Kvs) == 1 && resp.Kvs[0].Lease == int64(c.session.Lease()), nil
}

func (c *contender) release() error {
	ctx, cancel := inTime()
	defer cancel()
	return c.mutex.Unlock(ctx)
}

// goHome ends what keeps the contender's lease alive, and does not give anything back.
func (c *contender) goHome() { c.session.Orphan() }

// tries lets a contender try to get the lock, and checks whether it does and then has it.
func tries(who string, c *contender, within time.Duration, expected bool) error {
	got, err := c.acquire(within)
	if err != nil {
		return err
	}
	if err := check(who+" gets it", got, expected); err != nil {
		return err
	}
	has, err := c.isAcquired()
	if err != nil {
		return err
	}
	return check(who+" has it", has, expected)
}

func (l *lab) oneAtATime() error {
	hers, err := l.connect()
	if err != nil {
		return err
	}
	defer hers.Close()
	if err := l.delete(printerLock, clientv3.WithPrefix()); err != nil {
		return err
	}
	adam, err := newContender(l.etcd, time.Minute)
	if err != nil {
		return err
	}
	defer adam.session.Close()
	barbara, err := newContender(hers, ttl)
	if err != nil {
		return err
	}
	if err := tries("Adam", adam, timeout, true); err != nil {
		return err
	}
	l.printf("Adam has the printer")
	if err := tries("Barbara", barbara, time.Second, false); err != nil {
		return err
	}
	l.printf("Barbara waits for a second and does not get it")
	if err := adam.release(); err != nil {
		return err
	}
	if has, err := adam.isAcquired(); err != nil || has {
		return errors.Join(err, check("Adam has it still", has, false))
	}
	l.printf("Adam gives it back")
	if err := tries("Barbara", barbara, timeout, true); err != nil {
		return err
	}
	l.printf("Barbara has the printer")
	barbara.goHome()
	l.printf("Barbara goes home and does not give it back")
	if err := tries("Adam", adam, ttl+soon, true); err != nil {
		return err
	}
	l.printf("her lease ends, and Adam has the printer")
	return adam.release()
}
