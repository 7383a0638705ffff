package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// longTTL is the time to live, in seconds, of leases that do not end within a row.
const longTTL = 3600

// grants asks for leases of longTTL, and keeps their ids if ids is not nil.
func grants(clients, number int, ids []int64) load {
	return load{clients, number, func(ctx context.Context, kv api, _ *rand.Rand, n int) error {
		a, err := kv.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: longTTL})
		if err == nil && ids != nil {
			ids[n] = a.ID
		}
		return err
	}}
}

func leaseGrant(ctx context.Context, t *trial) ([]figure, error) {
	return t.measured(ctx, 0, grants(100, t.scale.Leases, nil), 1)
}

// keepAliveStreams is how many clients keep leases alive, each one after the other over a stream of its own.
const keepAliveStreams = 1000

// keepAlive refreshes each of many leases once.
func keepAlive(ctx context.Context, t *trial) ([]figure, error) {
	v, err := t.filled(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer v.stop(syscall.SIGKILL)
	ids := make([]int64, t.scale.Leases)
	if _, err := grants(200, len(ids), ids).run(ctx, v); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, v.lastWords())
	}
	streams, closeStreams, err := v.keepAliveStreams(ctx, min(keepAliveStreams, len(ids)))
	if err != nil {
		return nil, err
	}
	defer closeStreams()
	before, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	latencies := make([][]time.Duration, len(streams))
	failures := make([]error, len(streams))
	var wait sync.WaitGroup
	began := time.Now()
	for s, stream := range streams {
		wait.Go(func() {
			for i := s; i < len(ids) && failures[s] == nil; i += len(streams) {
				sent := time.Now()
				failures[s] = refresh(stream, ids[i])
				latencies[s] = append(latencies[s], time.Since(sent))
			}
		})
	}
	wait.Wait()
	wall := time.Since(began)
	if err := errors.Join(failures...); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, v.lastWords())
	}
	after, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	var all []time.Duration
	for _, some := range latencies {
		all = append(all, some...)
	}
	n := float64(len(ids))
	return []figure{
		{"cpu/op", "µs", microseconds(after-before) / n},
		{"rate", "op/s", n / wall.Seconds()},
		{"latency p50", "ms", milliseconds(percentile(all, 0.5))},
		{"latency p99", "ms", milliseconds(percentile(all, 0.99))},
	}, v.stop(syscall.SIGTERM)
}

func refresh(stream pb.Lease_LeaseKeepAliveClient, id int64) error {
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil && err != io.EOF {
		return err
	}
	a, err := stream.Recv()
	if err == nil && (a.ID != id || a.TTL != longTTL) {
		err = fmt.Errorf("lease %x was refreshed, and the answer is %v", id, a)
	}
	return err
}

// keepAliveStreams opens streams, clientsPerConnection on each connection.
func (v *server) keepAliveStreams(ctx context.Context, number int) (streams []pb.Lease_LeaseKeepAliveClient, closeAll func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var connections []*grpc.ClientConn
	closeAll = func() {
		cancel()
		for _, c := range connections {
			c.Close()
		}
	}
	for i := range number {
		if i%clientsPerConnection == 0 {
			conn, err := v.dial()
			if err != nil {
				closeAll()
				return nil, nil, err
			}
			connections = append(connections, conn)
		}
		s, err := pb.NewLeaseClient(connections[len(connections)-1]).LeaseKeepAlive(ctx, grpc.WaitForReady(true))
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		streams = append(streams, s)
	}
	return streams, closeAll, nil
}

// expiryTimeout bounds how long leases may take to end.
const expiryTimeout = 10 * time.Minute

// expiry has many leases, each with a key, end within the same second, beside a client that puts one after the other.
func expiry(ctx context.Context, t *trial) ([]figure, error) {
	v, err := t.filled(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer v.stop(syscall.SIGKILL)
	if _, err := settle(ctx, v.pid(), t.scale.Settle); err != nil {
		return nil, err
	}
	end := time.Now().Add(t.scale.Horizon)
	granting := load{200, t.scale.Leases, func(ctx context.Context, kv api, r *rand.Rand, n int) error {
		// Whole seconds, so that all end within one second after the end.
		left := (time.Until(end) + time.Second - 1) / time.Second
		if left < 3 {
			return fmt.Errorf("lease %d of %d could not be granted within %v", n, t.scale.Leases, t.scale.Horizon)
		}
		a, err := kv.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: int64(left)})
		if err != nil {
			return err
		}
		_, err = kv.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "/leased/%d", n), Value: value(r), Lease: a.ID})
		return err
	}}
	if _, err := granting.run(ctx, v); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, v.lastWords())
	}
	select {
	case <-time.After(time.Until(end) - time.Second/2):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	before, err := cpuTime(v.pid())
	if err != nil {
		return nil, err
	}
	writing, stop := context.WithCancel(ctx)
	defer stop()
	var gone time.Duration
	var failure error
	var wait sync.WaitGroup
	wait.Go(func() {
		defer stop()
		gone, failure = v.untilGone(ctx, end)
	})
	var puts atomic.Int64
	one := load{1, 1 << 40, func(ctx context.Context, kv api, r *rand.Rand, n int) error {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: keyOf(n % 1000), Value: value(r)})
		puts.Add(1)
		return err
	}}
	written, err := one.run(writing, v)
	wait.Wait()
	if failure != nil || writing.Err() == nil {
		return nil, fmt.Errorf("%w\n%s", errors.Join(failure, err), v.lastWords())
	}
	after, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	return []figure{
		{"longest put", "ms", milliseconds(percentile(written.latencies, 1))},
		{"put p99", "ms", milliseconds(percentile(written.latencies, 0.99))},
		{"until all are gone", "s", gone.Seconds()},
		{"cpu/operation", "µs", microseconds(after-before) / float64(int64(t.scale.Leases)+puts.Load())},
	}, v.stop(syscall.SIGTERM)
}

// untilGone waits until no leased key is left, and says how long that was after the end of the leases.
func (v *server) untilGone(ctx context.Context, end time.Time) (time.Duration, error) {
	conn, err := v.dial()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	for {
		a, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("/leased/"), RangeEnd: []byte("/leased0"), CountOnly: true})
		if err != nil {
			return 0, err
		}
		if a.Count == 0 {
			return time.Since(end), nil
		}
		if time.Since(end) > expiryTimeout {
			return 0, fmt.Errorf("%d leases have not ended after %v", a.Count, expiryTimeout)
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
