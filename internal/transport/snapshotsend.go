package transport

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/kind"
)

// SendSnapshot sends a snapshot to the member that its message is addressed to, and closes it. It returns at once;
// Handler.SnapshotSent is called when the transfer is over, with ErrBusy if another one to the member is under way. After
// Close the snapshot is closed, and nobody is told.
func (t *Transport) SendSnapshot(src Source) {
	to := kind.MemberID(src.Message().GetTo())
	p := t.peer(to)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.closed || !t.mu.started {
		_ = src.Close()
		return
	}
	t.work.Go(func() {
		err := t.sendSnapshot(p, src)
		if closeErr := src.Close(); closeErr != nil {
			t.log.Warn("closing a snapshot that was sent failed", zap.Stringer("peer-id", to), zap.Error(closeErr))
		}
		if t.ctx.Err() == nil {
			t.handler().SnapshotSent(to, err)
		}
	})
}

func (t *Transport) sendSnapshot(p *peer, src Source) error {
	if p == nil {
		return fmt.Errorf("send a snapshot: %w", ErrUnknownPeer)
	}
	p.mu.Lock()
	busy := p.mu.sending
	p.mu.sending = true
	p.mu.Unlock()
	if busy {
		return fmt.Errorf("send a snapshot to member %v: another one is on its way: %w", p.id, ErrBusy)
	}
	defer func() {
		p.mu.Lock()
		p.mu.sending = false
		p.mu.Unlock()
	}()
	remote := p.id.String()
	t.metrics.snapshotsSending.WithLabelValues(remote).Inc()
	defer t.metrics.snapshotsSending.WithLabelValues(remote).Dec()
	s := &sending{t: t, p: p, src: src, started: time.Now()}
	t.log.Info("sending a snapshot", zap.Stringer("peer-id", p.id), zap.Uint64("snapshot", src.ID()), zap.Int64("bytes", src.Size()))
	err := s.run(p.ctx)
	took := time.Since(s.started)
	if err != nil {
		t.metrics.snapshotsUnsent.WithLabelValues(remote).Inc()
		t.log.Warn("a snapshot could not be sent", zap.Stringer("peer-id", p.id), zap.Uint64("snapshot", src.ID()), zap.Error(err))
		return fmt.Errorf("send a snapshot to member %v: %w", p.id, err)
	}
	t.metrics.snapshotsSent.WithLabelValues(remote).Inc()
	t.metrics.snapshotSendSeconds.WithLabelValues(remote).Observe(took.Seconds())
	t.log.Info("a snapshot was sent", zap.Stringer("peer-id", p.id), zap.Uint64("snapshot", src.ID()),
		zap.Int("chunks", len(s.chunks)), zap.Duration("took", took))
	return nil
}

// sending is one snapshot on its way, over as many connections as it takes.
type sending struct {
	t       *Transport
	p       *peer
	src     Source
	started time.Time

	chunks []sentChunk // of those that were read; their number is that of the next one
	buffer []byte

	mu struct {
		sync.Mutex
		arrived uint64 // chunks that the receiver has; it only grows
	}
}

// errFinal is what ends a transfer for good: another attempt would end in the same way.
type errFinal struct{ error }

func (e errFinal) Unwrap() error { return e.error }

// run tries until the snapshot has arrived, or until too many attempts in a row have brought nothing.
func (s *sending) run(ctx context.Context) error {
	limits := s.t.limits
	pause := newBackoff(limits.MinBackoff, limits.MaxBackoff)
	for failures := 0; ; {
		before := s.arrived()
		err := s.attempt(ctx)
		if err == nil {
			return nil
		}
		if final := (errFinal{}); errors.As(err, &final) {
			return final.error
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the member is no longer a peer of this one: %w", ErrUnknownPeer)
		}
		if s.arrived() > before {
			failures = 0
			pause.reset()
		}
		if failures++; failures >= limits.SnapshotAttempts {
			return fmt.Errorf("given up after %d attempts in a row without progress: %w", failures, err)
		}
		s.t.log.Info("the transfer of a snapshot broke; trying again", zap.Stringer("peer-id", s.p.id),
			zap.Uint64("chunks", s.arrived()), zap.Error(err))
		s.p.urgent.pause(ctx, pause.next())
	}
}

func (s *sending) arrived() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.arrived
}

// attempt makes one connection and sends over it what the receiver does not have yet.
func (s *sending) attempt(ctx context.Context) error {
	announced, err := offer{s.src.ID(), uint64(max(s.src.Size(), 0)), s.src.Message()}.encode()
	if err != nil {
		return errFinal{err}
	}
	conn, h, err := s.t.dial(ctx, s.p.id, s.p.urls(), ClassSnapshot)
	if err != nil {
		return err
	}
	s.p.met(h)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	w := &snapshotConn{conn: conn, sent: func(n int) { s.p.metrics.sentBytes.Add(float64(n)) }}
	answers := make(chan snapshotAnswer, 1)
	attempt, cancel := context.WithCancelCause(ctx)
	var helpers sync.WaitGroup
	helpers.Go(func() { cancel(s.listen(conn, answers)) })
	helpers.Go(func() { w.beat(attempt, s.t.limits.ProbeInterval) })
	defer helpers.Wait()
	defer conn.Close()
	defer cancel(nil)
	return s.talk(attempt, w, announced, answers)
}

// snapshotAnswer is what the receiver says: the chunk that it wants next and the first one that it has wanted, or how it
// has ended.
type snapshotAnswer struct {
	first, next uint64
	done        bool
}

// listen hears the receiver until it has done, or the connection breaks.
func (s *sending) listen(conn net.Conn, answers chan<- snapshotAnswer) error {
	r := newFrameReader(conn, maxControlBytes, 3*s.t.limits.DeadAfter, func(n int) { s.p.metrics.receivedBytes.Add(float64(n)) })
	started := false
	for {
		frameKind, body, err := r.next(true)
		if err != nil {
			_ = conn.Close() // what is being written is not read by anybody
			return fmt.Errorf("hear the receiver: %w", err)
		}
		switch frameKind {
		case frameBusy:
		case frameNext:
			var a snapshotAnswer
			if err := decodeNumbers(body, &a.first, &a.next); err != nil {
				return errFinal{err}
			}
			s.mu.Lock()
			s.mu.arrived = max(s.mu.arrived, a.next)
			s.mu.Unlock()
			if !started {
				started = true
				answers <- a
			}
		case frameDone:
			if !started {
				answers <- snapshotAnswer{done: true}
				return nil
			}
			return errDone
		case frameFail:
			return errFinal{fmt.Errorf("the receiver refuses it: %w", &RemoteError{string(body)})}
		case frameBye:
			return errFinal{errors.New("the member was removed")}
		default:
			return errFinal{fmt.Errorf("%w: a frame of the kind %#x on a connection for a snapshot", errFrame, frameKind)}
		}
	}
}

// errDone means that the receiver has everything.
var errDone = errors.New("the snapshot has arrived")

// talk sends the offer, the chunks and the end, and waits until the receiver has done.
func (s *sending) talk(ctx context.Context, w *snapshotConn, announced []byte, answers <-chan snapshotAnswer) error {
	if err := w.write(announced); err != nil {
		return s.cause(ctx, err)
	}
	var a snapshotAnswer
	select {
	case a = <-answers:
	case <-ctx.Done():
		// Both may have happened: the receiver has it already.
		select {
		case a = <-answers:
		default:
			return s.cause(ctx, ctx.Err())
		}
	}
	if a.done {
		return nil
	}
	if a.next < a.first {
		return errFinal{fmt.Errorf("%w: the receiver wants chunk %d after it began at %d", errFrame, a.next, a.first)}
	}
	for n := uint64(0); ; n++ {
		if n < a.next && n < uint64(len(s.chunks)) {
			continue // read before, and received
		}
		chunk, err := s.chunk(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if w.write(failFrame(err)) == nil {
				_ = s.cause(ctx, err) // hanging up at once could reset the connection before this is read
			}
			return errFinal{fmt.Errorf("read chunk %d: %w", n, err)}
		}
		if n < a.next {
			continue
		}
		if err := s.t.rate.take(ctx, len(chunk)); err != nil {
			return s.cause(ctx, err)
		}
		s.buffer = appendChunk(s.buffer[:0], n, s.chunks[n].sum, chunk)
		if err := w.write(s.buffer); err != nil {
			return s.cause(ctx, err)
		}
	}
	if a.first > uint64(len(s.chunks)) {
		return errFinal{fmt.Errorf("%w: the receiver began at chunk %d of %d", errFrame, a.first, len(s.chunks))}
	}
	whole := totalOf(s.chunks[a.first:])
	if err := w.write(numbersFrame(frameEnd, uint64(len(s.chunks)), whole.bytes, uint64(whole.sum))); err != nil {
		return s.cause(ctx, err)
	}
	<-ctx.Done()
	return s.cause(ctx, ctx.Err())
}

// chunk reads chunk n and notes its checksum. A chunk that is read again must be the same as before.
func (s *sending) chunk(n uint64) ([]byte, error) {
	chunk, err := s.src.Chunk(n)
	if err != nil {
		return nil, err
	}
	if len(chunk) > MaxChunkBytes {
		return nil, fmt.Errorf("a chunk of %d bytes is %w", len(chunk), ErrTooLarge)
	}
	c := sentChunk{crc32.Checksum(chunk, castagnoli), uint32(len(chunk))}
	switch {
	case n == uint64(len(s.chunks)):
		s.chunks = append(s.chunks, c)
	case s.chunks[n] != c:
		return nil, fmt.Errorf("it is not what it was before: %w", ErrCorrupt)
	}
	return chunk, nil
}

// cause is why a conversation ended: what the receiver has said counts more than that writing failed, so it is given the
// time to be heard. nil means that the receiver has everything.
func (s *sending) cause(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
	case <-time.After(s.t.limits.DeadAfter):
		return err
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, errDone) {
		return nil
	}
	return cause
}

func failFrame(err error) []byte {
	text := err.Error()
	return frame(frameFail, []byte(text[:min(len(text), maxControlBytes/2)])...)
}

// snapshotConn writes frames, one at a time, and something in between so that the other side knows that it is there.
type snapshotConn struct {
	conn net.Conn
	sent func(n int)
	mu   sync.Mutex
}

// write writes without a deadline: the receiver may take its time, as long as something is heard from it.
func (w *snapshotConn) write(b []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.conn.Write(b)
	w.sent(n)
	return err
}

// beat writes frameBusy until ctx ends.
func (w *snapshotConn) beat(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if w.write(frame(frameBusy)) != nil {
				return
			}
		}
	}
}
