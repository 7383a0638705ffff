package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/kind"
)

// inboundKey names a connection that a peer has opened: there is one of each class.
type inboundKey struct {
	from  kind.MemberID
	class Class
}

// inbound is a connection that a peer has opened.
type inbound struct {
	t     *Transport
	p     *peer
	conn  net.Conn
	class Class
	ended chan struct{} // closed when nothing that came over it is being handled any more

	writing sync.Mutex // one frame at a time
}

// silence is how long nothing may come from a peer that has opened a connection. It probes more often, and closes the
// connection itself when it gets no answer.
func (t *Transport) silence() time.Duration { return 6 * t.limits.DeadAfter }

// say writes a frame. A peer that does not read it loses the connection.
func (in *inbound) say(b []byte) error {
	in.writing.Lock()
	defer in.writing.Unlock()
	n, err := writeAll(in.conn, b, in.t.limits.WriteTimeout)
	in.p.metrics.sentBytes.Add(float64(n))
	if err != nil {
		_ = in.conn.Close()
	}
	return err
}

// serve handles what comes over a connection until it ends. An older one of the peer and class is ended first, so that
// messages stay in order (P2).
func (t *Transport) serve(conn net.Conn, h hello, p *peer) {
	in := &inbound{t: t, p: p, conn: conn, class: h.class, ended: make(chan struct{})}
	key := inboundKey{h.from, h.class}
	t.mu.Lock()
	if t.mu.closed {
		t.mu.Unlock()
		return
	}
	older := t.mu.inbound[key]
	t.mu.inbound[key] = in
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		if t.mu.inbound[key] == in {
			delete(t.mu.inbound, key)
		}
		t.mu.Unlock()
		close(in.ended)
	}()
	if older != nil {
		_ = older.conn.Close()
		if !in.await(older) {
			return
		}
	}
	if h.class == ClassUrgent {
		p.calledBy(1)
		defer p.calledBy(-1)
	}
	var err error
	switch h.class {
	case ClassUrgent, ClassData:
		err = in.messages()
	case ClassCall:
		err = in.requests()
	case ClassSnapshot:
		err = in.snapshot()
	}
	if t.ctx.Err() == nil && err != nil && !errors.Is(err, io.EOF) {
		if !errors.Is(err, net.ErrClosed) {
			p.metrics.recvFailures.Inc()
		}
		t.log.Debug("a connection from a peer has ended", zap.Stringer("peer-id", p.id), zap.Stringer("class", h.class), zap.Error(err))
		if errors.Is(err, errFrame) {
			p.complainOf(err)
		}
	}
}

// await waits until an older connection has ended. A snapshot's may take long, so the peer is told to be patient.
func (in *inbound) await(older *inbound) bool {
	beat := time.NewTicker(in.t.limits.ProbeInterval)
	defer beat.Stop()
	for {
		select {
		case <-older.ended:
			return true
		case <-in.t.ctx.Done():
			return false
		case <-beat.C:
			if in.class == ClassSnapshot && in.say(frame(frameBusy)) != nil {
				return false
			}
		}
	}
}

// complainOf logs a peer that violates the protocol.
func (p *peer) complainOf(err error) {
	p.t.log.Warn("a connection from a peer was closed because of what came over it", zap.Stringer("peer-id", p.id), zap.Error(err))
}

func (in *inbound) reader(limit int) *frameReader {
	return newFrameReader(in.conn, limit, in.t.silence(), func(n int) { in.p.metrics.receivedBytes.Add(float64(n)) })
}

// answerProbe answers a probe.
func (in *inbound) answerProbe(body []byte) error {
	number, ok := decodeProbe(body)
	if !ok {
		return fmt.Errorf("%w: a probe of %d bytes", errFrame, len(body))
	}
	return in.say(probeAnswer(number, in.t.wall()))
}

// messages hands messages to the handler. On the urgent connection a frame is small and is copied out of one buffer; on
// the other one, what is decoded refers to the frame's own bytes, so that those of an entry are not copied again.
func (in *inbound) messages() error {
	share := in.class == ClassUrgent
	r := in.reader(in.t.limits.MaxMessageBytes + 2*writeBytes)
	d := messagesDecoder{from: in.p.id, to: in.t.self, steady: !share}
	h := in.t.handler()
	for {
		frameKind, body, err := r.next(share)
		if err != nil {
			return err
		}
		switch frameKind {
		case frameMessages:
			ms, err := d.decode(body)
			if err != nil {
				return err
			}
			if len(ms) > 0 {
				h.Receive(ms)
			}
		case frameProbe:
			if err := in.answerProbe(body); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: a frame of the kind %#x on a connection for messages", errFrame, frameKind)
		}
	}
}

// requests has the handler answer calls, several at a time.
func (in *inbound) requests() error {
	ctx, cancel := context.WithCancel(in.t.ctx)
	var under sync.WaitGroup
	defer under.Wait()
	defer cancel()
	var mu sync.Mutex
	open := map[uint64]context.CancelFunc{}
	r := in.reader(in.t.limits.MaxCallBytes + maxControlBytes)
	for {
		frameKind, body, err := r.next(false)
		if err != nil {
			return err
		}
		switch frameKind {
		case frameRequest:
			q, ok := decodeRequest(body)
			if !ok {
				return fmt.Errorf("%w: a request that is not understood", errFrame)
			}
			mu.Lock()
			_, twice := open[q.number]
			full := len(open) >= in.t.limits.Calls
			call, done := context.WithCancel(ctx)
			if q.left > 0 {
				done()
				call, done = context.WithTimeout(ctx, q.left)
			}
			if !twice && !full {
				open[q.number] = done
			}
			mu.Unlock()
			if twice {
				done()
				return fmt.Errorf("%w: two requests of the number %d", errFrame, q.number)
			}
			if full {
				done()
				if err := in.say(appendAnswer(nil, q.number, answerBusy, nil)); err != nil {
					return err
				}
				continue
			}
			under.Go(func() {
				defer done()
				b, failed := in.reply(call, q)
				// The number is free before the answer can be read.
				mu.Lock()
				delete(open, q.number)
				mu.Unlock()
				if !failed || call.Err() == nil { // otherwise the caller has given up, and knows best why
					_ = in.say(b)
				}
			})
		case frameCancel:
			number, ok := decodeProbe(body)
			if !ok {
				return fmt.Errorf("%w: a cancellation of %d bytes", errFrame, len(body))
			}
			mu.Lock()
			if done := open[number]; done != nil {
				done()
			}
			mu.Unlock()
		case frameProbe:
			if err := in.answerProbe(body); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: a frame of the kind %#x on a connection for calls", errFrame, frameKind)
		}
	}
}

// reply returns the frame that answers a request, and whether it is an error of the handler's.
func (in *inbound) reply(ctx context.Context, q request) (b []byte, failed bool) {
	answer, err := in.t.handler().Call(ctx, in.p.id, q.method, q.body)
	switch {
	case err != nil:
		text := err.Error()
		return appendAnswer(nil, q.number, answerError, []byte(text[:min(len(text), maxControlBytes/2)])), true
	case len(answer) > in.t.limits.MaxCallBytes:
		return appendAnswer(nil, q.number, answerLarge, nil), false
	}
	return appendAnswer(make([]byte, 0, frameHeaderBytes+9+len(answer)), q.number, answerOK, answer), false
}
