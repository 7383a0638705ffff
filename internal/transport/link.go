package transport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// outbox is what goes over a link, and what comes back. fill, written and lost are called by the link's own goroutine,
// one after another; answer by the one that reads.
type outbox interface {
	// fill appends the frames of what waits, as far as they should leave in one write, to b. It appends nothing if
	// nothing waits.
	fill(b []byte) []byte
	// written says how many bytes of what fill has appended the connection has taken, and that there is an error if
	// it is not all.
	written(n int, err error)
	// answer gets a frame that came back, other than those that belong to the link.
	answer(frameKind byte, body []byte) error
	// lost says that the connection has ended; failed that the peer could not be reached at all.
	lost()
	failed()
	// isEmpty reports whether nothing waits.
	isEmpty() bool
}

// link keeps a connection of one class to a peer open and writes to it what is in its outbox.
type link struct {
	p      *peer
	class  Class
	outbox outbox
	limit  int           // of the bytes of a frame that comes back
	wake   chan struct{} // something waits in the outbox
	kick   chan struct{} // do not wait before the next attempt

	// down is set while the last attempt to reach the peer has failed.
	down atomic.Bool

	mu struct {
		sync.Mutex
		conn net.Conn
	}
}

func (l *link) init(p *peer, class Class, o outbox, limit int) {
	l.p, l.class, l.outbox, l.limit = p, class, o, limit
	l.wake, l.kick = make(chan struct{}, 1), make(chan struct{}, 1)
}

// run connects and writes until ctx ends.
func (l *link) run(ctx context.Context) {
	t := l.p.t
	backoff := newBackoff(t.limits.MinBackoff, t.limits.MaxBackoff)
	for ctx.Err() == nil {
		conn, h, err := t.dial(ctx, l.p.id, l.p.urls(), l.class)
		if err != nil {
			l.down.Store(true)
			l.outbox.failed()
			if ctx.Err() != nil {
				return
			}
			pause := backoff.next()
			if refused := refusalOf(err); refused != nil {
				pause = jitter(t.limits.RefusedBackoff)
				if l.class == ClassUrgent {
					t.handler().Refused(l.p.id, err)
				}
			}
			if l.class == ClassUrgent {
				l.p.complain(err)
				if l.p.isGone() {
					t.forgetGuest(l.p)
				}
			}
			l.pause(ctx, pause)
			continue
		}
		backoff.reset()
		l.p.met(h)
		l.down.Store(false)
		started := time.Now()
		l.use(ctx, conn)
		l.outbox.lost()
		if ctx.Err() == nil && time.Since(started) < t.limits.MinBackoff {
			l.pause(ctx, backoff.next()) // a peer that takes connections only to drop them
		}
	}
}

func refusalOf(err error) error {
	for _, kind := range []error{ErrRemoved, ErrWrongCluster, ErrWrongMember, ErrVersion} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}

func (l *link) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.kick:
	case <-ctx.Done():
	}
}

// probe is a question that waits for its answer.
type probe struct {
	number uint64
	sent   time.Time
}

// use writes to conn what waits, until it breaks or ctx ends.
func (l *link) use(ctx context.Context, conn net.Conn) {
	l.hold(conn)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if l.class == ClassUrgent {
		l.p.up(true)
	}
	var pending atomic.Pointer[probe]
	broken := make(chan struct{})
	var readErr error
	go func() {
		defer close(broken)
		readErr = l.read(conn, &pending)
		_ = conn.Close()
	}()
	err := l.write(ctx, conn, broken, &pending)
	_ = conn.Close()
	<-broken
	l.hold(nil)
	if l.class == ClassUrgent {
		l.p.up(false)
		if errors.Is(err, errDead) {
			l.p.hangUp() // the other connections lead to the same silence
		}
	}
	if ctx.Err() == nil {
		if readErr != nil && !errors.Is(err, errDead) {
			err = readErr
		}
		l.p.t.log.Debug("a connection to a peer was lost", l.fields(err)...)
	}
}

func (l *link) hold(conn net.Conn) {
	l.mu.Lock()
	l.mu.conn = conn
	l.mu.Unlock()
}

// hangUp breaks the connections to the peer, so that they are made anew.
func (p *peer) hangUp() {
	for _, l := range []*link{&p.urgent.link, &p.data.link, &p.calls.link} {
		l.mu.Lock()
		if l.mu.conn != nil {
			_ = l.mu.conn.Close()
		}
		l.mu.Unlock()
	}
}

// errDead means that a peer has left a probe without an answer for too long.
var errDead = errors.New("the peer does not answer")

// write writes what waits, and probes, until the connection breaks or ctx ends.
func (l *link) write(ctx context.Context, conn net.Conn, broken <-chan struct{}, pending *atomic.Pointer[probe]) error {
	limits := l.p.t.limits
	patience := limits.DeadAfter
	if l.class != ClassUrgent {
		patience *= 4 // the answer may have to wait until what was sent before has arrived
	}
	ticker := time.NewTicker(limits.ProbeInterval)
	defer ticker.Stop()
	var buffer []byte
	numbers := rand.Uint64() // nobody can answer a probe before it is sent
	due := true
	for {
		buffer = buffer[:0]
		if due {
			due = false
			if p := pending.Load(); p == nil {
				numbers++
				pending.Store(&probe{numbers, time.Now()})
				buffer = appendProbe(buffer, numbers)
			} else if time.Since(p.sent) > patience {
				return errDead
			}
		}
		head := len(buffer)
		if buffer = l.outbox.fill(buffer); len(buffer) == 0 {
			select {
			case <-l.wake:
			case <-ticker.C:
				due = true
			case <-broken:
				return nil
			case <-ctx.Done():
				return nil
			}
			continue
		}
		n, err := writeAll(conn, buffer, limits.WriteTimeout)
		l.p.metrics.sentBytes.Add(float64(n))
		if len(buffer) > head {
			l.outbox.written(max(n-head, 0), err)
		}
		if err != nil {
			return fmt.Errorf("write to a peer: %w", err)
		}
		if cap(buffer) > 2*writeBytes {
			buffer = nil
		}
		select {
		case <-ticker.C:
			due = true
		case <-broken:
			return nil
		case <-ctx.Done():
			return nil
		default:
		}
	}
}

// writeAll writes b, in parts of a MiB so that patience bounds each of them, and returns how much conn has taken.
func writeAll(conn net.Conn, b []byte, patience time.Duration) (n int, err error) {
	for n < len(b) && err == nil {
		if err = conn.SetWriteDeadline(time.Now().Add(patience)); err == nil {
			var m int
			m, err = conn.Write(b[n:min(len(b), n+writeBytes+groupBytes)])
			n += m
		}
	}
	return n, err
}

// read reads what comes back until the connection breaks.
func (l *link) read(conn net.Conn, pending *atomic.Pointer[probe]) error {
	r := newFrameReader(conn, l.limit, 0, func(n int) { l.p.metrics.receivedBytes.Add(float64(n)) })
	for {
		frameKind, body, err := r.next(false)
		if err != nil {
			return err
		}
		switch frameKind {
		case frameProbeAnswer:
			number, wall, ok := decodeProbeAnswer(body)
			p := pending.Load()
			if !ok || p == nil || p.number != number {
				return fmt.Errorf("%w: an answer to a probe that was not sent", errFrame)
			}
			roundTrip := time.Since(p.sent)
			pending.Store(nil)
			if l.class == ClassUrgent {
				l.p.answers(p.sent, roundTrip, wall)
			}
		case frameBye:
			if len(body) == 1 && status(body[0]) == statusRemoved {
				l.p.t.handler().Refused(l.p.id, fmt.Errorf("member %v says: %w", l.p.id, ErrRemoved))
			}
			return errors.New("the peer has hung up")
		default:
			if err := l.outbox.answer(frameKind, body); err != nil {
				return err
			}
		}
	}
}

// backoff is the pause between attempts that fail, doubled each time.
type backoff struct{ least, most, current time.Duration }

func newBackoff(least, most time.Duration) *backoff { return &backoff{least, max(least, most), least} }

func (b *backoff) next() time.Duration {
	d := b.current
	b.current = min(2*b.current, b.most)
	return jitter(d)
}

func (b *backoff) reset() { b.current = b.least }

// jitter varies d by a half, so that members that were cut off together do not come back together.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d)
}
