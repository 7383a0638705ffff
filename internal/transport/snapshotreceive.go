package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/internal/kind"
)

// transfer is a snapshot that is being received. It outlives its connections: it is used by one of them at a time (there
// is one connection of the class for each peer), and between two by nobody.
type transfer struct {
	from    kind.MemberID
	id      uint64
	sink    Sink
	first   uint64 // the chunk that the sink wanted first
	whole   total  // of what has been received since
	started time.Time
	ended   bool        // Finish was called
	expiry  *time.Timer // while nobody uses it; under Transport.mu
}

var (
	errReplaced  = errors.New("the sender offers another snapshot")
	errForgotten = errors.New("the sender did not come back to send the rest")
)

// snapshot receives one over a connection, or goes on with one.
func (in *inbound) snapshot() error {
	r := in.reader(maxOfferBytes)
	frameKind, body, err := r.next(false)
	for err == nil && frameKind == frameBusy {
		frameKind, body, err = r.next(false)
	}
	if err != nil {
		return err
	}
	if frameKind != frameOffer {
		return fmt.Errorf("%w: a frame of the kind %#x where a snapshot should be offered", errFrame, frameKind)
	}
	o, err := decodeOffer(body)
	if err != nil {
		return err
	}
	// From here on handling may take long. The sender hears all the while that somebody is there.
	ctx, cancel := context.WithCancel(in.t.ctx)
	var helper sync.WaitGroup
	helper.Go(func() { in.beat(ctx) })
	defer helper.Wait()
	defer cancel()

	remote := in.p.id.String()
	in.t.metrics.snapshotsReceiving.WithLabelValues(remote).Inc()
	defer in.t.metrics.snapshotsReceiving.WithLabelValues(remote).Dec()
	tr, done, err := in.claim(o)
	switch {
	case done:
		_ = in.say(frame(frameDone))
		return in.drain(r)
	case err != nil:
		in.t.metrics.snapshotsFailed.WithLabelValues(remote).Inc()
		in.t.log.Warn("a snapshot was refused", zap.Stringer("peer-id", in.p.id), zap.Uint64("snapshot", o.id), zap.Error(err))
		_ = in.say(failFrame(err))
		return in.drain(r)
	}
	r.max = MaxChunkBytes + chunkHeaderBytes
	final, err := in.chunks(r, tr)
	switch {
	case err == nil:
		in.settle(tr)
		in.t.metrics.snapshotsReceived.WithLabelValues(remote).Inc()
		in.t.metrics.snapshotReceiveSeconds.WithLabelValues(remote).Observe(time.Since(tr.started).Seconds())
		in.t.log.Info("a snapshot was received", zap.Stringer("peer-id", in.p.id), zap.Uint64("snapshot", tr.id),
			zap.Uint64("chunks", tr.whole.chunks), zap.Uint64("bytes", tr.whole.bytes), zap.Duration("took", time.Since(tr.started)))
		_ = in.say(frame(frameDone))
		return in.drain(r)
	case final:
		in.t.metrics.snapshotsFailed.WithLabelValues(remote).Inc()
		in.t.log.Warn("a snapshot could not be received", zap.Stringer("peer-id", in.p.id), zap.Uint64("snapshot", tr.id), zap.Error(err))
		in.t.forgetTransfer(tr, err)
		_ = in.say(failFrame(err))
		return in.drain(r)
	}
	in.t.park(tr)
	return err
}

// beat tells the sender now and then that somebody is there, until ctx ends.
func (in *inbound) beat(ctx context.Context) {
	ticker := time.NewTicker(in.t.limits.ProbeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if in.say(frame(frameBusy)) != nil {
				return
			}
		}
	}
}

// drain reads what the sender still says, until it hangs up: a connection that is closed before would be reset, and the
// last answer lost.
func (in *inbound) drain(r *frameReader) error {
	r.max = MaxChunkBytes + chunkHeaderBytes
	_ = in.conn.SetReadDeadline(time.Now().Add(in.t.limits.DeadAfter))
	r.silence = 0
	for {
		if _, _, err := r.next(true); err != nil {
			return nil
		}
	}
}

// claim returns the transfer that an offer goes on with, or a new one; done means that it was received before.
func (in *inbound) claim(o offer) (tr *transfer, done bool, err error) {
	t := in.t
	t.mu.Lock()
	id, any := t.mu.finished[in.p.id]
	done = any && id == o.id
	tr = t.mu.transfers[in.p.id]
	if tr != nil && tr.expiry != nil {
		tr.expiry.Stop()
		tr.expiry = nil
	}
	if tr != nil && (done || tr.id != o.id) {
		delete(t.mu.transfers, in.p.id)
	}
	t.mu.Unlock()
	if tr != nil && (done || tr.id != o.id) {
		tr.sink.Abort(errReplaced)
		tr = nil
	}
	if done || tr != nil {
		return tr, done, nil
	}
	sink, err := t.handler().Snapshot(in.p.id, o.message, o.id)
	if err != nil {
		return nil, false, err
	}
	tr = &transfer{from: in.p.id, id: o.id, sink: sink, first: sink.Next(), started: time.Now()}
	t.log.Info("receiving a snapshot", zap.Stringer("peer-id", in.p.id), zap.Uint64("snapshot", o.id),
		zap.Uint64("bytes", o.size), zap.Uint64("first-chunk", tr.first))
	t.mu.Lock()
	t.mu.transfers[in.p.id] = tr
	t.mu.Unlock()
	return tr, false, nil
}

// chunks receives the rest of a snapshot. An error that is final ends the transfer and not only the connection.
func (in *inbound) chunks(r *frameReader, tr *transfer) (final bool, err error) {
	next := tr.sink.Next()
	if err := in.say(numbersFrame(frameNext, tr.first, next)); err != nil {
		return false, err
	}
	for {
		frameKind, body, err := r.next(true)
		if err != nil {
			return false, err
		}
		switch frameKind {
		case frameBusy:
		case frameChunk:
			n, sum, chunk, err := decodeChunk(body)
			if err != nil {
				return false, err
			}
			if n != next {
				return false, fmt.Errorf("%w: chunk %d where chunk %d should be", errFrame, n, next)
			}
			if err := tr.sink.Write(n, chunk); err != nil {
				return true, fmt.Errorf("keep chunk %d: %w", n, err)
			}
			tr.whole.add(sum, len(chunk))
			if next++; tr.sink.Next() != next {
				return true, fmt.Errorf("the receiver wants chunk %d after chunk %d", tr.sink.Next(), n)
			}
			if err := in.say(numbersFrame(frameNext, tr.first, next)); err != nil {
				return false, err
			}
		case frameEnd:
			var count, bytes, sum uint64
			if err := decodeNumbers(body, &count, &bytes, &sum); err != nil {
				return false, err
			}
			if count != next || bytes != tr.whole.bytes || uint32(sum) != tr.whole.sum {
				return true, fmt.Errorf("the whole snapshot: %d chunks of %d with %d bytes of %d have arrived: %w",
					next, count, tr.whole.bytes, bytes, ErrCorrupt)
			}
			tr.ended = true
			if err := tr.sink.Finish(); err != nil {
				return true, fmt.Errorf("finish: %w", err)
			}
			return true, nil
		case frameFail:
			return true, fmt.Errorf("the sender has given up: %w", &RemoteError{string(body)})
		default:
			return false, fmt.Errorf("%w: a frame of the kind %#x on a connection for a snapshot", errFrame, frameKind)
		}
	}
}

// settle notes that a transfer was finished.
func (in *inbound) settle(tr *transfer) {
	in.t.mu.Lock()
	defer in.t.mu.Unlock()
	delete(in.t.mu.transfers, tr.from)
	in.t.mu.finished[tr.from] = tr.id
}

// forgetTransfer gives up a transfer that will not be finished.
func (t *Transport) forgetTransfer(tr *transfer, why error) {
	t.mu.Lock()
	delete(t.mu.transfers, tr.from)
	t.mu.Unlock()
	if !tr.ended {
		tr.sink.Abort(why)
	}
}

// park keeps a transfer whose connection broke until its sender comes back, for a while.
func (t *Transport) park(tr *transfer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.closed {
		return // Close aborts it
	}
	t.log.Info("the transfer of a snapshot broke; waiting for its sender", zap.Stringer("peer-id", tr.from), zap.Uint64("snapshot", tr.id), zap.Uint64("chunks", tr.whole.chunks))
	var expiry *time.Timer
	expiry = time.AfterFunc(t.limits.SnapshotPatience, func() {
		t.mu.Lock()
		if t.mu.closed || tr.expiry != expiry {
			t.mu.Unlock()
			return // somebody goes on with it, or Close aborts it
		}
		delete(t.mu.transfers, tr.from)
		t.work.Add(1)
		t.mu.Unlock()
		defer t.work.Done()
		t.metrics.snapshotsFailed.WithLabelValues(tr.from.String()).Inc()
		tr.sink.Abort(errForgotten)
	})
	tr.expiry = expiry
}

// abortTransfers gives up what was being received.
func (t *Transport) abortTransfers(why error) {
	t.mu.Lock()
	var left []*transfer
	for _, tr := range t.mu.transfers {
		if tr.expiry != nil {
			tr.expiry.Stop()
			tr.expiry = nil
		}
		left = append(left, tr)
	}
	clear(t.mu.transfers)
	t.mu.Unlock()
	for _, tr := range left {
		tr.sink.Abort(why)
	}
}
