package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A figure is one number that a row gives. Metrics are in µs, ms, MiB, s or operations per second, as unit says.
type figure struct {
	metric, unit string
	value        float64
}

// A trial is one run of a row on one system.
type trial struct {
	row     string
	scale   scale
	dir     string
	profile string // the directory for profiles, or ""
	system  system
}

// data is the directory of the system's data.
func (t *trial) data() string { return filepath.Join(t.dir, t.system.name) }

// A row is one line of work.
type row struct {
	name    string
	measure func(context.Context, *trial) ([]figure, error)
}

var rows = []row{
	{"put-1", singlePuts},
	{"put-100", func(ctx context.Context, t *trial) ([]figure, error) {
		return t.measured(ctx, 0, puts(100, t.scale.Operations), 1)
	}},
	{"put-1000", func(ctx context.Context, t *trial) ([]figure, error) {
		return t.measured(ctx, 0, puts(1000, t.scale.Operations), 1)
	}},
	{"get-linearizable", func(ctx context.Context, t *trial) ([]figure, error) {
		return t.measured(ctx, t.scale.Preload, gets(100, t.scale.Operations, t.scale.Preload, false), 1)
	}},
	{"get-serializable", func(ctx context.Context, t *trial) ([]figure, error) {
		return t.measured(ctx, t.scale.Preload, gets(100, t.scale.Operations, t.scale.Preload, true), 1)
	}},
	{"list", func(ctx context.Context, t *trial) ([]figure, error) {
		return t.measured(ctx, t.scale.List, lists(4, t.scale.Lists, t.scale.List), 1)
	}},
	{"txn", func(ctx context.Context, t *trial) ([]figure, error) {
		return t.measured(ctx, 0, objects(100, t.scale.Operations/transactionsPerObject), transactionsPerObject)
	}},
	{"put-auth", authenticatedPuts},
	{"memory", memory},
	{"restart", restart},
	{"watch-one-key", watchOneKey},
	{"watch-own-keys", watchOwnKeys},
	{"watch-catch-up", catchUp},
	{"watch-reconnect", reconnect},
	{"lease-grant", leaseGrant},
	{"lease-keep-alive", keepAlive},
	{"lease-expiry", expiry},
	{"members-put", membersPut(false)},
	{"members-put-leader", membersPut(true)},
	{"members-get-linearizable", membersGet(false)},
	{"members-get-serializable", membersGet(true)},
	{"members-failover", failover},
	{"members-catch-up", newMember},
}

func rowNames() []string {
	var names []string
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

// measured starts a server, fills it, lets it settle, performs the load and lets it settle again.
func (t *trial) measured(ctx context.Context, preload int, l load, requests int) ([]figure, error) {
	v, err := t.filled(ctx, preload)
	if err != nil {
		return nil, err
	}
	defer v.stop(syscall.SIGKILL)
	before, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	o, err := l.run(ctx, v)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, v.lastWords())
	}
	after, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	// Everything is told per request: the latency of an object's transactions is a share of the four.
	n := float64(l.operations * requests)
	return []figure{
		{"cpu/op", "µs", microseconds(after-before) / n},
		{"rate", "op/s", n / o.wall.Seconds()},
		{"latency p50", "ms", milliseconds(percentile(o.latencies, 0.5)) / float64(requests)},
		{"latency p99", "ms", milliseconds(percentile(o.latencies, 0.99)) / float64(requests)},
	}, v.stop(syscall.SIGTERM)
}

// filled starts a server on an empty directory and writes keys.
func (t *trial) filled(ctx context.Context, keys int) (*server, error) {
	v, err := start(ctx, t.system, t.data())
	if err != nil {
		return nil, err
	}
	if keys > 0 {
		if _, err := fillUp(keys).run(ctx, v); err != nil {
			v.stop(syscall.SIGKILL)
			return nil, fmt.Errorf("fill: %w\n%s", err, v.lastWords())
		}
	}
	return v, nil
}

// singlePuts lets one client put, in turns with syncs of the same disk.
func singlePuts(ctx context.Context, t *trial) ([]figure, error) {
	const turn = 50
	p, err := newProbe(t.dir)
	if err != nil {
		return nil, err
	}
	defer p.close()
	turns := max(1, t.scale.Single/turn)
	l := puts(1, turns*turn)
	v, err := t.filled(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer v.stop(syscall.SIGKILL)
	before, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	var latencies []time.Duration
	for i := range turns {
		part := load{1, turn, func(ctx context.Context, kv api, r *rand.Rand, n int) error {
			return l.do(ctx, kv, r, i*turn+n)
		}}
		o, err := part.run(ctx, v)
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, v.lastWords())
		}
		latencies = append(latencies, o.latencies...)
		for range turn {
			if err := p.sync(); err != nil {
				return nil, err
			}
		}
	}
	after, err := settle(ctx, v.pid(), t.scale.Settle)
	if err != nil {
		return nil, err
	}
	return []figure{
		{"cpu/op", "µs", microseconds(after-before) / float64(l.operations)},
		{"latency p50", "ms", milliseconds(percentile(latencies, 0.5))},
		{"latency p99", "ms", milliseconds(percentile(latencies, 0.99))},
		{fdatasyncMetric, "ms", milliseconds(percentile(p.took, 0.5))},
	}, v.stop(syscall.SIGTERM)
}

// memory looks at what a server holds after the load and after reads over all keys.
func memory(ctx context.Context, t *trial) ([]figure, error) {
	v, err := t.filled(ctx, t.scale.Keys)
	if err != nil {
		return nil, err
	}
	defer v.stop(syscall.SIGKILL)
	if _, err := settle(ctx, v.pid(), t.scale.Settle); err != nil {
		return nil, err
	}
	loaded, err := residentBytes(v.pid())
	if err != nil {
		return nil, err
	}
	// The end of the time ends the reads, and the server may be the first to say so: it is no failure.
	reading, cancel := context.WithTimeout(ctx, t.scale.Reading)
	defer cancel()
	if _, err := gets(20, 1<<40, t.scale.Keys, false).run(reading, v); err != nil && reading.Err() == nil && status.Code(err) != codes.DeadlineExceeded {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	read, err := residentBytes(v.pid())
	if err != nil {
		return nil, err
	}
	return []figure{
		{"RSS after load", "MiB", float64(loaded) / (1 << 20)},
		{"RSS after reads", "MiB", float64(read) / (1 << 20)},
	}, v.stop(syscall.SIGTERM)
}

// restart measures from the start of the program until a key is read, after a clean stop and after kill -9 under full write load.
func restart(ctx context.Context, t *trial) ([]figure, error) {
	v, err := t.filled(ctx, t.scale.Keys)
	if err != nil {
		return nil, err
	}
	defer func() { v.stop(syscall.SIGKILL) }()
	if err := v.stop(syscall.SIGTERM); err != nil {
		return nil, err
	}
	clean, err := v.again(ctx)
	if err != nil {
		return nil, err
	}
	writing, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := puts(100, 1<<22).run(writing, v)
		ended <- err
	}()
	select {
	case err := <-ended:
		return nil, fmt.Errorf("the load ended before the kill: %w", err)
	case <-time.After(max(t.scale.Reading/12, time.Second)):
	}
	if err := v.stop(syscall.SIGKILL); err != nil {
		return nil, err
	}
	if err := <-ended; err == nil {
		return nil, errors.New("the load did not notice that the server was killed")
	}
	killed, err := v.again(ctx)
	if err != nil {
		return nil, err
	}
	return []figure{
		{"after a clean stop", "s", clean.Seconds()},
		{"after kill -9", "s", killed.Seconds()},
	}, v.stop(syscall.SIGTERM)
}

// again starts the program on the same data and returns how long it took until it gave a key that it must have.
func (v *server) again(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := v.exec(); err != nil {
		return 0, err
	}
	_, err := v.answers(ctx, keyOf(0))
	return time.Since(began), err
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
