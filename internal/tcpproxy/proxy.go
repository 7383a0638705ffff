// Package tcpproxy passes connections of clients on to the members of a cluster, byte by byte: the command "gateway start"
// of etcd. It knows nothing of what is said over them, so TLS is between the client and the member.
//
// Invariants:
//
//	G1  A connection goes to an endpoint that has the lowest priority number among those that are active, by weight
//	    if they have weights and in turn if not (RFC 2782). An endpoint that cannot be dialled is tried again after a
//	    pause; until then it gets no connection.
//	G2  When one side has said all it has to say, the other is told and may still answer. When both have, or one is
//	    broken, both are closed. Nothing of a connection stays behind.
//
// Use:
//
//	p := tcpproxy.New(targets, time.Minute, logger)
//	err := p.Serve(ctx, listener)
package tcpproxy

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Target is an endpoint to which connections go.
type Target struct {
	Address          string // host:port
	Priority, Weight uint16 // as in an SRV record; both 0 for endpoints that were given
}

// dialTimeout is how long an endpoint may take to accept a connection.
const dialTimeout = 5 * time.Second

// Proxy passes connections on.
type Proxy struct {
	pause  time.Duration
	logger *zap.Logger

	mu      sync.Mutex
	remotes []*remote
	turn    int
}

type remote struct {
	Target
	inactive bool
}

// New returns a proxy to the targets; an endpoint that fails is left alone for pause.
func New(targets []Target, pause time.Duration, logger *zap.Logger) *Proxy {
	p := &Proxy{pause: pause, logger: logger}
	for _, t := range targets {
		p.remotes = append(p.remotes, &remote{Target: t})
	}
	return p
}

// Serve takes connections until ctx ends or the listener fails. It closes the listener, ends all connections and waits
// for them.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	group.Go(func() { p.revive(ctx) })
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case isTemporary(err):
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		case err != nil:
			return err
		default:
			group.Go(func() { p.pass(ctx, conn) })
		}
	}
}

// isTemporary tells a lack of file descriptors and the like from the end of the listener.
func isTemporary(err error) bool {
	if err == nil || errors.Is(err, net.ErrClosed) {
		return false
	}
	failure, ok := errors.AsType[net.Error](err)
	return ok && !failure.Timeout()
}

// pass connects a client with an endpoint (G1, G2).
func (p *Proxy) pass(ctx context.Context, in net.Conn) {
	defer func() { _ = in.Close() }()
	out := p.dial(ctx)
	if out == nil {
		p.logger.Warn("no endpoint takes connections; a client was sent away", zap.Stringer("client", in.RemoteAddr()))
		return
	}
	defer func() { _ = out.Close() }()
	defer context.AfterFunc(ctx, func() {
		_ = in.Close()
		_ = out.Close()
	})()
	var group sync.WaitGroup
	group.Go(func() { copyHalf(in, out) })
	copyHalf(out, in)
	group.Wait()
}

// copyHalf copies one direction, and then tells the receiver that no more will come. After an error both directions end.
func copyHalf(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = from.Close()
		_ = to.Close()
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// dial returns a connection to an endpoint, nil if there is none that takes it.
func (p *Proxy) dial(ctx context.Context) net.Conn {
	for {
		r := p.pick()
		if r == nil || ctx.Err() != nil {
			return nil
		}
		conn, err := dial(ctx, r.Address)
		if err == nil {
			return conn
		}
		p.mu.Lock()
		r.inactive = true
		p.mu.Unlock()
		p.logger.Warn("deactivated endpoint", zap.String("address", r.Address), zap.Duration("interval", p.pause), zap.Error(err))
	}
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, "tcp", address)
}

// pick chooses an active endpoint, nil if there is none.
func (p *Proxy) pick() *remote {
	p.mu.Lock()
	defer p.mu.Unlock()
	var best []*remote
	weights := 0
	for _, r := range p.remotes {
		switch {
		case r.inactive || len(best) > 0 && r.Priority > best[0].Priority:
			continue
		case len(best) > 0 && r.Priority < best[0].Priority:
			best, weights = nil, 0
		}
		best = append(best, r)
		weights += int(r.Weight)
	}
	switch {
	case len(best) == 0:
		return nil
	case weights == 0:
		p.turn++
		return best[p.turn%len(best)]
	}
	// One without a weight has a small chance beside those that have one.
	chance := func(r *remote) int { return int(r.Weight) * 100 }
	total := weights * 100
	for _, r := range best {
		if r.Weight == 0 {
			total++
		}
	}
	at := rand.IntN(total)
	for _, r := range best {
		if at -= max(chance(r), 1); at < 0 {
			return r
		}
	}
	return best[len(best)-1]
}

// revive tries the inactive endpoints again, at the same pause, until ctx ends.
func (p *Proxy) revive(ctx context.Context) {
	tick := time.NewTicker(p.pause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		p.mu.Lock()
		var tired []*remote
		for _, r := range p.remotes {
			if r.inactive {
				tired = append(tired, r)
			}
		}
		p.mu.Unlock()
		for _, r := range tired {
			conn, err := dial(ctx, r.Address)
			if err != nil {
				p.logger.Warn("failed to activate endpoint (stay inactive for another interval)", zap.String("address", r.Address), zap.Duration("interval", p.pause), zap.Error(err))
				continue
			}
			_ = conn.Close()
			p.mu.Lock()
			r.inactive = false
			p.mu.Unlock()
			p.logger.Info("activated", zap.String("address", r.Address))
		}
	}
}
