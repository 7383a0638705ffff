package server

import (
	"context"
	"net/netip"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// streams counts the streaming calls under way. Each holds memory for as long as its client likes, so all together are
// bounded, and one address may have three quarters of them: the rest is for the others.
type streams struct {
	most, share int

	mu struct {
		sync.Mutex
		open int
		of   map[netip.Addr]int
	}
}

func newStreams(most int) *streams {
	s := &streams{most: most, share: max(1, most/4*3)}
	s.mu.of = map[netip.Addr]int{}
	return s
}

// begin notes a call. The caller calls end when it is over, unless begin refuses.
func (s *streams) begin(ctx context.Context) (end func(), err error) {
	from := callerAddress(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.open >= s.most {
		return nil, status.Errorf(codes.ResourceExhausted, "too many open streams: this member serves %d at a time; "+
			"close some, or put several watches on one stream", s.most)
	}
	if from.IsValid() && s.mu.of[from] >= s.share {
		return nil, status.Errorf(codes.ResourceExhausted, "too many open streams from this address: one address may have %d of the %d "+
			"that this member serves; close some, or put several watches on one stream", s.share, s.most)
	}
	s.mu.open++
	s.mu.of[from]++
	return func() { s.end(from) }, nil
}

func (s *streams) end(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.open--
	if s.mu.of[from]--; s.mu.of[from] == 0 {
		delete(s.mu.of, from)
	}
}

// callerAddress returns the IP address that a call comes from; it is invalid where there is none.
func callerAddress(ctx context.Context) netip.Addr {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.Addr{}
	}
	if a, ok := p.Addr.(peerAddress); ok {
		return addressOf(a.Addr)
	}
	return addressOf(p.Addr)
}
