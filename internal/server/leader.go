package server

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// A client may say that it wants a member with a leader. It is turned away while there is none, and its streams end
// when there has been none for some time: making them anew costs more than turning a call away.

// wantsLeader reports whether the client behind ctx wants a leader.
func wantsLeader(ctx context.Context) bool {
	v := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(v) > 0 && v[0] == rpctypes.MetadataHasLeader
}

// leaderWatch notices that the leader is lost, for a stream whose client wants to know.
type leaderWatch struct {
	tick    <-chan time.Time
	ticker  *time.Ticker
	missing int
}

// leaderMissing is after how many election timeouts without a leader a stream ends, as in etcd.
const leaderMissing = 3

func (s *Server) watchLeader(ctx context.Context) *leaderWatch {
	if !wantsLeader(ctx) {
		return &leaderWatch{}
	}
	t := time.NewTicker(s.o.ElectionTimeout)
	return &leaderWatch{tick: t.C, ticker: t}
}

// lost is asked at each tick.
func (l *leaderWatch) lost(s *Server) bool {
	if s.node.Status().Leader != 0 {
		l.missing = 0
		return false
	}
	l.missing++
	return l.missing >= leaderMissing
}

func (l *leaderWatch) stop() {
	if l.ticker != nil {
		l.ticker.Stop()
	}
}

// whileLed runs the handler of a stream, and ends the stream when its client wants a leader and there is none any more.
// The stream ends by returning: the handler, which runs beside then, finds its context ended. over is called when the
// handler has returned. The Watch service looks after the leader by itself, where it waits anyway.
func (s *Server) whileLed(m *method, h grpc.StreamHandler, srv any, stream grpc.ServerStream, over func()) error {
	ctx := stream.Context()
	if m.full == "/etcdserverpb.Watch/Watch" || !wantsLeader(ctx) {
		defer over()
		return h(srv, stream)
	}
	leader := s.watchLeader(ctx)
	defer leader.stop()
	ended := make(chan error, 1)
	go func() {
		defer over()
		defer func() {
			if p := recover(); p != nil {
				ended <- s.panicked(ctx, m, p)
			}
		}()
		ended <- h(srv, stream)
	}()
	for {
		select {
		case err := <-ended:
			return err
		case <-leader.tick:
			if leader.lost(s) {
				return rpctypes.ErrGRPCNoLeader
			}
		}
	}
}
