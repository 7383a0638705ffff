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
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// watchersPerStream is how real clients do it: the official one sends all watches of a client over one stream.
	watchersPerStream    = 100
	streamsPerConnection = 10
)

// Watchers are watches on many streams, and what has come over them.
type watchers struct {
	number  int
	created atomic.Int64
	events  atomic.Int64
	wanted  atomic.Int64  // of created and events together
	enough  chan struct{} // has an element when wanted is reached
	failed  context.CancelCauseFunc
	ctx     context.Context
	ends    []func()
	wait    sync.WaitGroup

	// delays are by stream, and belong to its receiver until close: from the stamp in a value to its arrival.
	delays [][]time.Duration
}

// epoch is what stamps count from.
var epoch = time.Now()

// stamp makes a value that says when it was made, or, if it is not timed, that this does not count.
func stamp(r *rand.Rand, timed bool) []byte {
	v := append([]byte(nil), value(r)...)
	binary.LittleEndian.PutUint64(v, 0)
	if timed {
		binary.LittleEndian.PutUint64(v, uint64(time.Since(epoch)))
	}
	return v
}

// watch opens a watch for each request, watchersPerStream on each stream, and does not wait for the answers. Delays are taken if the
// values are stamps.
func (v *server) watch(ctx context.Context, requests []*pb.WatchCreateRequest, perStream int, stamps bool) (*watchers, error) {
	w := &watchers{number: len(requests), enough: make(chan struct{}, 1)}
	w.ctx, w.failed = context.WithCancelCause(ctx)
	var conn *grpc.ClientConn
	for first := 0; first < len(requests); first += perStream {
		if first/perStream%streamsPerConnection == 0 {
			var err error
			if conn, err = v.dial(); err != nil {
				w.close()
				return nil, err
			}
			w.ends = append(w.ends, func() { conn.Close() })
		}
		stream, err := conn.NewStream(w.ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/etcdserverpb.Watch/Watch",
			grpc.ForceCodecV2(rawCodec{}), grpc.WaitForReady(true))
		if err != nil {
			w.close()
			return nil, err
		}
		some := requests[first:min(first+perStream, len(requests))]
		number := len(w.delays)
		w.delays = append(w.delays, nil)
		w.wait.Go(func() { w.send(stream, some) })
		w.wait.Go(func() { w.receive(stream, number, stamps) })
	}
	return w, nil
}

func (w *watchers) send(stream grpc.ClientStream, requests []*pb.WatchCreateRequest) {
	for _, r := range requests {
		b, err := proto.Marshal(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
		if err == nil {
			err = stream.SendMsg(b)
		}
		if err != nil {
			w.failed(fmt.Errorf("open a watch: %w", err))
			return
		}
	}
}

func (w *watchers) receive(stream grpc.ClientStream, number int, stamps bool) {
	var delays []time.Duration
	defer func() { w.delays[number] = delays }()
	var message []byte
	for {
		if err := stream.RecvMsg(&message); err != nil {
			w.failed(fmt.Errorf("a watch ended: %w", err))
			return
		}
		a, err := parseWatchAnswer(message)
		if err == nil && a.canceled {
			err = fmt.Errorf("a watch was cancelled: %q", message)
		}
		if err != nil {
			w.failed(err)
			return
		}
		if stamps && len(a.last) >= 8 {
			if made := time.Duration(binary.LittleEndian.Uint64(a.last)); made != 0 {
				delays = append(delays, time.Since(epoch)-made)
			}
		}
		if a.created {
			w.created.Add(1)
		}
		w.events.Add(int64(a.events))
		if wanted := w.wanted.Load(); wanted > 0 && w.created.Load()+w.events.Load() >= wanted {
			select {
			case w.enough <- struct{}{}:
			default:
			}
		}
	}
}

// await returns when all watches are open and so many events have come.
func (w *watchers) await(events int) error {
	wanted := int64(w.number + events)
	w.wanted.Store(wanted)
	for w.created.Load()+w.events.Load() < wanted {
		select {
		case <-w.enough:
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		case <-time.After(watchTimeout):
			return fmt.Errorf("%d of %d watches are open and %d of %d events came", w.created.Load(), w.number, w.events.Load(), events)
		}
	}
	return nil
}

// watchTimeout bounds the wait for events.
const watchTimeout = 5 * time.Minute

// close ends the watches and returns the delays.
func (w *watchers) close() []time.Duration {
	w.failed(nil)
	for _, end := range w.ends {
		end()
	}
	w.wait.Wait()
	var all []time.Duration
	for _, d := range w.delays {
		all = append(all, d...)
	}
	return all
}
