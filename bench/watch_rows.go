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

// watched opens watches on a server that has settled, and says what memory each took.
func (t *trial) watched(ctx context.Context, v *server, requests []*pb.WatchCreateRequest) (*watchers, figure, error) {
	none := figure{}
	if _, err := settle(ctx, v.pid(), t.scale.Settle); err != nil {
		return nil, none, err
	}
	before, err := residentBytes(v.pid())
	if err != nil {
		return nil, none, err
	}
	w, err := v.watch(ctx, requests, watchersPerStream, true)
	if err != nil {
		return nil, none, err
	}
	if err := w.await(0); err != nil {
		w.close()
		return nil, none, err
	}
	if _, err := settle(ctx, v.pid(), t.scale.Settle); err != nil {
		w.close()
		return nil, none, err
	}
	after, err := residentBytes(v.pid())
	if err != nil {
		w.close()
		return nil, none, err
	}
	return w, figure{"memory/watcher", "KiB", float64(after-before) / 1024 / float64(len(requests))}, nil
}

// fanned performs the load beside the watches and tells what each of the events took. An earlier load, if there is one, is not measured,
// but its values may be timed.
func (t *trial) fanned(ctx context.Context, v *server, requests []*pb.WatchCreateRequest, earlier, events int, load func(w *watchers, earlier bool) error) ([]figure, error) {
	w, memory, err := t.watched(ctx, v, requests)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, v.lastWords())
	}
	defer w.close()
	if earlier > 0 {
		if err := load(w, true); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, v.lastWords())
		}
		if err := w.await(earlier); err != nil {
			return nil, err
		}
	}
	before, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	if err := load(w, false); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, v.lastWords())
	}
	if err := w.await(earlier + events); err != nil {
		return nil, err
	}
	after, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	delays := w.close()
	return []figure{
		{"cpu/event", "µs", microseconds(after-before) / float64(events)},
		memory,
		{"delay p50", "ms", milliseconds(percentile(delays, 0.5))},
		{"delay p99", "ms", milliseconds(percentile(delays, 0.99))},
	}, v.stop(syscall.SIGTERM)
}

// watchOneKey has many watchers of one key. Each put waits until all have seen the one before.
func watchOneKey(ctx context.Context, t *trial) ([]figure, error) {
	v, err := t.filled(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer v.stop(syscall.SIGKILL)
	requests := make([]*pb.WatchCreateRequest, t.scale.Watchers)
	for i := range requests {
		requests[i] = &pb.WatchCreateRequest{Key: keyOf(0)}
	}
	return t.fanned(ctx, v, requests, 0, t.scale.Watchers*t.scale.Fans, func(w *watchers, _ bool) error {
		n := 0
		one := load{1, t.scale.Fans, func(ctx context.Context, kv api, r *rand.Rand, _ int) error {
			if _, err := kv.Put(ctx, &pb.PutRequest{Key: keyOf(0), Value: stamp(r, true)}); err != nil {
				return err
			}
			n++
			return w.await(n * t.scale.Watchers)
		}}
		_, err := one.run(ctx, v)
		return err
	})
}

// ownPutsPerSecond is the pace of the puts that are timed: far below what either system can do, so that delays are those of equal load.
const ownPutsPerSecond = 2000

// watchOwnKeys has many watchers, each of a key of its own; every put is seen by one of them. Delays are taken at a steady pace, and then
// the processor's time, in which the puts are contained, from clients that put as fast as they can.
func watchOwnKeys(ctx context.Context, t *trial) ([]figure, error) {
	v, err := t.filled(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer v.stop(syscall.SIGKILL)
	requests := make([]*pb.WatchCreateRequest, t.scale.Own)
	for i := range requests {
		requests[i] = &pb.WatchCreateRequest{Key: keyOf(i)}
	}
	paced := t.scale.Operations / 10
	return t.fanned(ctx, v, requests, paced, t.scale.Operations, func(_ *watchers, earlier bool) error {
		began, number := time.Now(), t.scale.Operations
		if earlier {
			number = paced
		}
		many := load{100, number, func(ctx context.Context, kv api, r *rand.Rand, n int) error {
			if early := time.Duration(n)*time.Second/ownPutsPerSecond - time.Since(began); earlier && early > 0 {
				time.Sleep(early)
			}
			_, err := kv.Put(ctx, &pb.PutRequest{Key: keyOf(n % t.scale.Own), Value: stamp(r, earlier)})
			return err
		}}
		_, err := many.run(ctx, v)
		return err
	})
}

// catchUp has a few watchers read all of a history, each on a stream of its own, beside a client that puts one after the other.
func catchUp(ctx context.Context, t *trial) ([]figure, error) {
	v, err := t.filled(ctx, t.scale.Behind)
	if err != nil {
		return nil, err
	}
	defer v.stop(syscall.SIGKILL)
	before, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	requests := make([]*pb.WatchCreateRequest, t.scale.Laggards)
	for i := range requests {
		requests[i] = &pb.WatchCreateRequest{Key: []byte("/bench/"), RangeEnd: []byte("/bench0"), StartRevision: 1}
	}
	writing, stop := context.WithCancel(ctx)
	defer stop()
	var written outcome
	var failure error
	var wait sync.WaitGroup
	// The writer is at work before the watchers come, and they may be done before it has put once more.
	atWork := make(chan struct{})
	wait.Go(func() {
		var once sync.Once
		begun := func() { once.Do(func() { close(atWork) }) }
		defer begun()
		one := load{1, 1 << 40, func(ctx context.Context, kv api, r *rand.Rand, n int) error {
			_, err := kv.Put(ctx, &pb.PutRequest{Key: keyOf(n % t.scale.Behind), Value: value(r)})
			begun()
			return err
		}}
		written, failure = one.run(writing, v)
	})
	defer wait.Wait()
	defer stop()
	<-atWork
	began := time.Now()
	w, err := v.watch(ctx, requests, 1, false)
	if err != nil {
		return nil, err
	}
	defer w.close()
	err = w.await(t.scale.Laggards * t.scale.Behind)
	took := time.Since(began)
	stop()
	wait.Wait()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, v.lastWords())
	}
	if len(written.latencies) == 0 {
		return nil, fmt.Errorf("nothing was put beside the watchers: %w", failure)
	}
	after, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	events := float64(w.events.Load())
	return []figure{
		{"cpu/event", "µs", microseconds(after-before) / events},
		{"until caught up", "s", took.Seconds()},
		{"put p99 meanwhile", "ms", milliseconds(percentile(written.latencies, 0.99))},
	}, v.stop(syscall.SIGTERM)
}

// reconnect has many watchers, each of a key of its own, come back at once after they have missed much, over new connections. A watcher is
// live when it has been given everything that it missed.
func reconnect(ctx context.Context, t *trial) ([]figure, error) {
	v, err := t.filled(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer v.stop(syscall.SIGKILL)
	// The first revision of an empty store is 1, so the first put makes revision 2.
	const first = 2
	missed := load{200, t.scale.Behind, func(ctx context.Context, kv api, r *rand.Rand, n int) error {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: keyOf(n % t.scale.Own), Value: value(r)})
		return err
	}}
	if _, err := missed.run(ctx, v); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, v.lastWords())
	}
	before, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	requests := make([]*pb.WatchCreateRequest, t.scale.Own)
	for i := range requests {
		requests[i] = &pb.WatchCreateRequest{Key: keyOf(i), StartRevision: first}
	}
	began := time.Now()
	w, err := v.watch(ctx, requests, watchersPerStream, false)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.await(t.scale.Behind); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, v.lastWords())
	}
	took := time.Since(began)
	after, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	return []figure{
		{"until all are live", "s", took.Seconds()},
		{"cpu", "s", (after - before).Seconds()},
	}, v.stop(syscall.SIGTERM)
}
