package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// membersPut is a hundred clients that write, at all members or at the leader alone.
func membersPut(leaderOnly bool) func(context.Context, *trial) ([]figure, error) {
	return func(ctx context.Context, t *trial) ([]figure, error) {
		return t.clustered(ctx, 0, leaderOnly, puts(100, t.scale.Operations))
	}
}

// membersGet is a hundred clients that read at all members.
func membersGet(serializable bool) func(context.Context, *trial) ([]figure, error) {
	return func(ctx context.Context, t *trial) ([]figure, error) {
		return t.clustered(ctx, t.scale.Preload, false, gets(100, t.scale.Operations, t.scale.Preload, serializable))
	}
}

// clustered starts a cluster, fills it, lets it settle, performs the load and lets it settle again.
func (t *trial) clustered(ctx context.Context, preload int, leaderOnly bool, l load) ([]figure, error) {
	c, err := t.filledCluster(ctx, preload)
	if err != nil {
		return nil, err
	}
	defer c.kill()
	before, err := settleAll(ctx, c.pids(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	servers := c.members
	if leaderOnly {
		servers = servers[:1]
	}
	leader := c.members[0]
	profiled := t.profiled(ctx, c.members)
	o, err := l.run(ctx, servers...)
	if err == nil {
		err = profiled()
	}
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, leader.lastWords())
	}
	if err := c.level(ctx); err != nil {
		return nil, err
	}
	after, err := settleAll(ctx, c.pids(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	if err := c.leaderFirst(ctx); err != nil {
		return nil, err
	}
	if c.members[0] != leader {
		return nil, fmt.Errorf("another member of %s has come to lead during the load: what it took of the leader cannot be told", t.system.name)
	}
	n := float64(l.operations)
	var sum time.Duration
	for i := range after {
		sum += after[i] - before[i]
	}
	led := after[0] - before[0]
	return []figure{
		{"cpu/op", "µs", microseconds(sum) / n},
		{"cpu/op leader", "µs", microseconds(led) / n},
		{"cpu/op follower", "µs", microseconds(sum-led) / n / (clusterSize - 1)},
		{"rate", "op/s", n / o.wall.Seconds()},
		{"latency p50", "ms", milliseconds(percentile(o.latencies, 0.5))},
		{"latency p99", "ms", milliseconds(percentile(o.latencies, 0.99))},
	}, nil
}

// filledCluster starts a cluster and writes keys, which every member has when it returns. The first of its members leads.
func (t *trial) filledCluster(ctx context.Context, keys int) (*cluster, error) {
	c, err := t.startCluster(ctx)
	if err != nil {
		return nil, err
	}
	if err = c.leaderFirst(ctx); err == nil && keys > 0 {
		if _, err = fillTogether(keys).run(ctx, c.members[0]); err == nil {
			err = c.level(ctx)
		}
	}
	if err != nil {
		c.kill()
		return nil, fmt.Errorf("%w\n%s", err, c.members[0].lastWords())
	}
	return c, nil
}

// keysTogether is how many keys are filled in with one transaction, which may have 128 operations.
const keysTogether = 100

// fillTogether writes each of the keys once, in random order, many with one transaction.
func fillTogether(keys int) load {
	return load{20, (keys + keysTogether - 1) / keysTogether, func(ctx context.Context, kv api, r *rand.Rand, n int) error {
		txn := &pb.TxnRequest{}
		for i := n * keysTogether; i < min(keys, (n+1)*keysTogether); i++ {
			txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: keyOf(i), Value: value(r)}}})
		}
		_, err := kv.Txn(ctx, txn)
		return err
	}}
}

// electionTimeout is the default of both systems.
const electionTimeout = time.Second

// failover kills the leader again and again, and measures until a member that lives has taken a write; and stops it with a signal, and
// measures the longest time between two writes that were taken.
func failover(ctx context.Context, t *trial) ([]figure, error) {
	c, err := t.startCluster(ctx)
	if err != nil {
		return nil, err
	}
	defer c.kill()
	var killed, stopped []time.Duration
	for i := range t.scale.Kills + t.scale.Stops {
		if err := c.leaderFirst(ctx); err != nil {
			return nil, err
		}
		if err := c.level(ctx); err != nil {
			return nil, err
		}
		signal, list := syscall.SIGKILL, &killed
		if i >= t.scale.Kills {
			signal, list = syscall.SIGTERM, &stopped
		}
		took, err := c.gap(ctx, signal)
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, c.members[1].lastWords())
		}
		*list = append(*list, took)
		if _, err := c.members[0].again(ctx); err != nil {
			return nil, err
		}
	}
	elections := func(d time.Duration) float64 { return float64(d) / float64(electionTimeout) }
	return []figure{
		{"kill -9, p50", "elections", elections(percentile(killed, 0.5))},
		{"kill -9, p99", "elections", elections(percentile(killed, 0.99))},
		{"graceful stop, p50", "ms", milliseconds(percentile(stopped, 0.5))},
		{"graceful stop, longest", "ms", milliseconds(percentile(stopped, 1))},
	}, nil
}

const (
	// attemptEvery is how often a write is tried at each of the members that stay, whether those before have been answered or not.
	attemptEvery = 10 * time.Millisecond
	// attempting is for how long, around the signal: a second before, and until writes have gone on for a second after.
	attempting = time.Second
)

// gap sends the signal to the leader and returns the longest time after it in which no write was taken. It ends the leader.
func (c *cluster) gap(ctx context.Context, signal syscall.Signal) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var mu sync.Mutex
	var taken []time.Time // when writes were answered
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	for i, v := range c.members[1:] {
		conn, err := v.dial()
		if err != nil {
			return 0, err
		}
		defer func() {
			cancel()
			wait.Wait()
			conn.Close()
		}()
		kv := pb.NewKVClient(conn)
		wait.Go(func() {
			ticker := time.NewTicker(attemptEvery)
			defer ticker.Stop()
			for n := 0; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
				wait.Go(func() {
					attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
					defer cancel()
					if _, err := kv.Put(attempt, &pb.PutRequest{Key: keyOf(n*clusterSize + i), Value: noise[:valueBytes]}); err == nil {
						mu.Lock()
						taken = append(taken, time.Now())
						mu.Unlock()
					}
				})
			}
		})
	}
	pause := func() error {
		select {
		case <-ctx.Done():
			return fmt.Errorf("writes do not go on: %w", ctx.Err())
		case <-time.After(attempting):
			return nil
		}
	}
	if err := pause(); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := c.members[0].stop(signal); err != nil {
		return 0, err
	}
	over := time.Now()
	for {
		if err := pause(); err != nil {
			return 0, err
		}
		mu.Lock()
		longest, last, after := time.Duration(0), began, false
		for _, at := range taken { // in order, but for what the lock has swapped
			if at.After(began) {
				longest, last = max(longest, at.Sub(last)), at
				after = after || at.After(over.Add(attempting/2))
			}
		}
		mu.Unlock()
		if after {
			return longest, nil
		}
	}
}

// newMember removes a follower, wipes it and brings it in again, into a cluster with many keys.
func newMember(ctx context.Context, t *trial) ([]figure, error) {
	c, err := t.filledCluster(ctx, t.scale.Keys)
	if err != nil {
		return nil, err
	}
	defer c.kill()
	if _, err := settleAll(ctx, c.pids(), t.scale.Settle); err != nil {
		return nil, err
	}
	leader := c.members[0]
	first, err := leader.status(ctx)
	if err != nil {
		return nil, err
	}
	resident, err := residentBytes(leader.pid())
	if err != nil {
		return nil, err
	}
	if err := resetPeak(leader.pid()); err != nil {
		return nil, err
	}
	before, err := cpuTime(leader.pid())
	if err != nil {
		return nil, err
	}
	began, err := c.replace(ctx, clusterSize-1, t.dir)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, leader.lastWords())
	}
	joined := c.members[clusterSize-1]
	if err := joined.reaches(ctx, first.RaftAppliedIndex); err != nil {
		return nil, err
	}
	if err := joined.has(ctx, keyOf(t.scale.Keys-1)); err != nil {
		return nil, err
	}
	took := time.Since(began)
	after, err := settleAll(ctx, []int{leader.pid(), joined.pid()}, t.scale.Settle)
	if err != nil {
		return nil, err
	}
	peak, err := peakBytes(leader.pid())
	if err != nil {
		return nil, err
	}
	return []figure{
		{"time", "s", took.Seconds()},
		{"cpu leader", "s", (after[0] - before).Seconds()},
		{"cpu new member", "s", after[1].Seconds()},
		{"memory leader, peak", "MiB", float64(peak) / (1 << 20)},
		{"memory leader, growth", "MiB", float64(peak-resident) / (1 << 20)},
	}, nil
}

// has waits until a member gives a key out of what it has itself.
func (v *server) has(ctx context.Context, key []byte) error {
	conn, err := v.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		a, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: key, Serializable: true})
		if err == nil && len(a.Kvs) == 1 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not give the key %q: %w\n%s", v.system.name, key, ctx.Err(), v.lastWords())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
