package server

import (
	"context"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// BenchmarkPut is a put of 256 bytes through the whole server, with a node that answers at once, from 100 clients
// at a time over 10 connections. cpu-µs/op is what client and server together took of the processors.
func BenchmarkPut(b *testing.B) {
	value := make([]byte, 256)
	benchmark(b, func(ctx context.Context, kv pb.KVClient) error {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("benchmark"), Value: value})
		return err
	})
}

func benchmark(b *testing.B, call func(context.Context, pb.KVClient) error, options ...grpc.ServerOption) {
	_, address := serve(b, newFakeNode(b), Options{GRPC: options})
	clients := make(chan pb.KVClient, 10)
	for range cap(clients) {
		clients <- pb.NewKVClient(dial(b, address))
	}
	b.SetParallelism(50)
	b.ReportAllocs()
	before := cpu(b)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		kv := <-clients
		clients <- kv
		for p.Next() {
			if err := call(context.Background(), kv); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
