package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	valueBytes = 256
	// clientsPerConnection is how etcd's own benchmark is run: 1000 clients on 100 connections.
	clientsPerConnection = 10
)

// keyOf returns the i-th key. Neighbouring numbers lie far apart in the key space, so that counting gives a random order.
func keyOf(i int) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(i)*0x9e3779b97f4a7c15)
	return fmt.Appendf(nil, "/bench/%x", b)
}

// noise is what values are cut from: bytes that do not compress.
var noise = func() []byte {
	b := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

func value(r *rand.Rand) []byte {
	at := r.IntN(len(noise) - valueBytes)
	return noise[at : at+valueBytes]
}

// An api is what a client of a load calls.
type api struct {
	pb.KVClient
	pb.LeaseClient
}

// A client performs the n-th operation of a load.
type client func(ctx context.Context, kv api, r *rand.Rand, n int) error

// A load is a number of operations that clients share.
type load struct {
	clients, operations int
	do                  client
}

// outcome is what a load took.
type outcome struct {
	wall      time.Duration
	latencies []time.Duration
}

// run performs the load on a server, or on several: each has as many connections. The first failure ends it.
func (l load) run(ctx context.Context, servers ...*server) (outcome, error) {
	each := clientsPerConnection * len(servers)
	connections := make([]*grpc.ClientConn, (l.clients+each-1)/each*len(servers))
	for i := range connections {
		var err error
		if connections[i], err = servers[i%len(servers)].dial(); err != nil {
			return outcome{}, err
		}
		defer connections[i].Close()
		// The connection is made before the clock runs.
		if _, err := pb.NewKVClient(connections[i]).Range(ctx, &pb.RangeRequest{Key: []byte("absent")}, grpc.WaitForReady(true)); err != nil {
			return outcome{}, err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	latencies := make([][]time.Duration, l.clients)
	began := time.Now()
	var wait sync.WaitGroup
	for c := range l.clients {
		wait.Go(func() {
			conn := connections[c%len(connections)]
			kv := api{pb.NewKVClient(conn), pb.NewLeaseClient(conn)}
			r := rand.New(rand.NewPCG(uint64(c), 3))
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= l.operations {
					return
				}
				start := time.Now()
				if err := l.do(ctx, kv, r, n); err != nil {
					cancel(fmt.Errorf("operation %d: %w", n, err))
					return
				}
				latencies[c] = append(latencies[c], time.Since(start))
			}
		})
	}
	wait.Wait()
	o := outcome{wall: time.Since(began)}
	for _, some := range latencies {
		o.latencies = append(o.latencies, some...)
	}
	return o, context.Cause(ctx)
}

// puts writes half as many keys as operations, each twice, in random order: every second put overwrites.
func puts(clients, operations int) load {
	order := rand.New(rand.NewPCG(4, 5)).Perm(operations)
	keys := max(1, operations/2)
	return load{clients, operations, func(ctx context.Context, kv api, r *rand.Rand, n int) error {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: keyOf(order[n] % keys), Value: value(r)})
		return err
	}}
}

// fillUp writes each of the keys once, in random order.
func fillUp(keys int) load {
	return load{200, keys, func(ctx context.Context, kv api, r *rand.Rand, n int) error {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: keyOf(n), Value: value(r)})
		return err
	}}
}

// gets reads keys by chance.
func gets(clients, operations, keys int, serializable bool) load {
	return load{clients, operations, func(ctx context.Context, kv api, r *rand.Rand, _ int) error {
		key := keyOf(r.IntN(keys))
		a, err := kv.Range(ctx, &pb.RangeRequest{Key: key, Serializable: serializable})
		if err == nil && len(a.Kvs) != 1 {
			err = fmt.Errorf("key %q is missing", key)
		}
		return err
	}}
}

// lists reads all keys in one answer.
func lists(clients, operations, keys int) load {
	return load{clients, operations, func(ctx context.Context, kv api, _ *rand.Rand, _ int) error {
		a, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("/bench/"), RangeEnd: []byte("/bench0")})
		if err == nil && len(a.Kvs) != keys {
			err = fmt.Errorf("a list has %d keys instead of %d", len(a.Kvs), keys)
		}
		return err
	}}
}

// objects writes as Kubernetes does: each operation creates an object, updates it twice and deletes it, in four transactions.
func objects(clients, operations int) load {
	return load{clients, operations, func(ctx context.Context, kv api, r *rand.Rand, n int) error {
		key := keyOf(n)
		revision := int64(0)
		for step := range transactionsPerObject {
			a, err := kv.Txn(ctx, objectTxn(key, revision, value(r), step))
			if err != nil {
				return err
			}
			if !a.Succeeded {
				return fmt.Errorf("step %d of %q met another revision than %d", step, key, revision)
			}
			revision = a.Header.Revision
		}
		return nil
	}}
}

const transactionsPerObject = 4

// objectTxn is the transaction of one step: a create is guarded by revision 0 and has no else branch, all others read the object there.
func objectTxn(key []byte, revision int64, value []byte, step int) *pb.TxnRequest {
	t := &pb.TxnRequest{Compare: []*pb.Compare{{Key: key, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: revision}}}}
	if step == transactionsPerObject-1 {
		t.Success = []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}}
	} else {
		t.Success = []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value}}}}
	}
	if step > 0 {
		t.Failure = []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}}
	}
	return t
}
