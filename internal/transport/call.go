package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"holdfast/internal/kind"
)

// maxMethodBytes is the length of the longest name of a method.
const maxMethodBytes = 64

// The ways in which a call is answered.
const (
	answerOK    = 0 // the answer follows
	answerError = 1 // the text of an error follows
	answerBusy  = 2 // nothing was done
	answerLarge = 3 // it was done, but the answer is too large
)

// call is a Call that has not been answered yet.
type call struct {
	number   uint64
	method   string
	request  []byte
	deadline time.Time // zero: none
	done     chan struct{}

	// Under the lock of the link until done is closed.
	sent   bool // the frame may have been read
	answer []byte
	err    error
}

// callLink is a link for calls.
type callLink struct {
	link

	calls struct {
		sync.Mutex
		number  uint64
		waiting []*call          // not sent yet, oldest first
		open    map[uint64]*call // all that have no answer yet
		cancels []uint64         // calls that were given up after they were sent
	}
}

func newCallLink(p *peer) *callLink {
	l := &callLink{}
	l.init(p, ClassCall, l, p.t.limits.MaxCallBytes+maxControlBytes)
	l.calls.open = map[uint64]*call{}
	return l
}

// do makes a call and waits for its answer.
func (l *callLink) do(ctx context.Context, method string, request []byte) ([]byte, error) {
	c := &call{method: method, request: request, done: make(chan struct{})}
	c.deadline, _ = ctx.Deadline()
	l.calls.Lock()
	switch {
	case l.p.ctx.Err() != nil:
		l.calls.Unlock()
		return nil, ErrUnknownPeer
	case l.down.Load():
		l.calls.Unlock()
		return nil, fmt.Errorf("call member %v: %w", l.p.id, ErrUnreachable)
	case len(l.calls.open) >= l.p.t.limits.Calls || len(l.calls.cancels) >= l.p.t.limits.Calls:
		l.calls.Unlock()
		return nil, fmt.Errorf("call member %v: %w", l.p.id, ErrBusy)
	}
	l.calls.number++
	c.number = l.calls.number
	l.calls.open[c.number] = c
	l.calls.waiting = append(l.calls.waiting, c)
	l.calls.Unlock()
	signal(l.wake)
	select {
	case <-c.done:
	case <-ctx.Done():
		l.giveUp(c, fmt.Errorf("call member %v: %w", l.p.id, context.Cause(ctx)))
	case <-l.p.ctx.Done():
		l.giveUp(c, l.gone())
	}
	<-c.done
	return c.answer, c.err
}

// gone is why nothing can be heard from a peer that was forgotten.
func (l *callLink) gone() error {
	if l.p.t.ctx.Err() != nil {
		return ErrClosed
	}
	return fmt.Errorf("call member %v: %w", l.p.id, ErrUnknownPeer)
}

// finish ends a call; its caller holds the lock.
func (l *callLink) finish(c *call, answer []byte, err error) {
	if _, open := l.calls.open[c.number]; !open {
		return
	}
	delete(l.calls.open, c.number)
	c.answer, c.err = answer, err
	close(c.done)
}

func (l *callLink) giveUp(c *call, why error) {
	l.calls.Lock()
	defer l.calls.Unlock()
	if _, open := l.calls.open[c.number]; open && c.sent {
		l.calls.cancels = append(l.calls.cancels, c.number)
		signal(l.wake)
	}
	l.finish(c, nil, why)
}

func (l *callLink) fill(b []byte) []byte {
	l.calls.Lock()
	defer l.calls.Unlock()
	for _, number := range l.calls.cancels {
		var start int
		b, start = appendFrame(b, frameCancel)
		b = binary.BigEndian.AppendUint64(b, number)
		endFrame(b, start)
	}
	l.calls.cancels = nil
	before := len(b)
	for len(l.calls.waiting) > 0 && len(b)-before < groupBytes {
		c := l.calls.waiting[0]
		l.calls.waiting = l.calls.waiting[1:]
		if _, open := l.calls.open[c.number]; open {
			b = c.append(b)
			c.sent = true
		}
	}
	return b
}

// append appends the request: its number, the microseconds that are left for it (0: no end), the method and the bytes.
func (c *call) append(b []byte) []byte {
	b, start := appendFrame(b, frameRequest)
	b = binary.BigEndian.AppendUint64(b, c.number)
	left := time.Duration(0)
	if !c.deadline.IsZero() {
		left = max(time.Until(c.deadline), time.Microsecond)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(left.Microseconds()))
	b = append(b, byte(len(c.method)))
	b = append(b, c.method...)
	b = append(b, c.request...)
	endFrame(b, start)
	return b
}

type request struct {
	number uint64
	left   time.Duration
	method string
	body   []byte
}

func decodeRequest(body []byte) (r request, ok bool) {
	d := &decoder{rest: body}
	r.number = d.fixed(8)
	left := d.fixed(8)
	r.left = time.Duration(min(left, uint64(24*time.Hour/time.Microsecond))) * time.Microsecond
	r.method = string(d.bytes(uint64(d.octet())))
	r.body = d.rest
	return r, !d.bad && len(r.method) <= maxMethodBytes
}

func appendAnswer(b []byte, number uint64, how byte, body []byte) []byte {
	b, start := appendFrame(b, frameAnswer)
	b = binary.BigEndian.AppendUint64(b, number)
	b = append(b, how)
	b = append(b, body...)
	endFrame(b, start)
	return b
}

func (l *callLink) written(int, error) {}

// answer gives an answer to whom it belongs; one that nobody waits for any more is dropped.
func (l *callLink) answer(frameKind byte, body []byte) error {
	if frameKind != frameAnswer {
		return fmt.Errorf("%w: a frame of the kind %#x came back", errFrame, frameKind)
	}
	d := &decoder{rest: body}
	number, how := d.fixed(8), d.octet()
	if d.bad || how > answerLarge {
		return fmt.Errorf("%w: an answer that is not understood", errFrame)
	}
	l.calls.Lock()
	defer l.calls.Unlock()
	c := l.calls.open[number]
	if c == nil {
		return nil
	}
	switch how {
	case answerOK:
		l.finish(c, d.rest, nil)
	case answerError:
		l.finish(c, nil, &RemoteError{string(d.rest)})
	case answerBusy:
		l.finish(c, nil, fmt.Errorf("call member %v: %w", l.p.id, ErrBusy))
	case answerLarge:
		l.finish(c, nil, fmt.Errorf("call member %v: the answer is %w", l.p.id, ErrTooLarge))
	}
	return nil
}

// lost ends the calls that were sent: their answers will not come.
func (l *callLink) lost() {
	l.calls.Lock()
	defer l.calls.Unlock()
	l.calls.cancels = nil
	for _, c := range l.calls.open {
		if c.sent {
			l.finish(c, nil, fmt.Errorf("call member %v: %w", l.p.id, ErrLost))
		}
	}
}

// failed ends the calls that wait.
func (l *callLink) failed() {
	l.calls.Lock()
	defer l.calls.Unlock()
	l.calls.waiting, l.calls.cancels = nil, nil
	for _, c := range l.calls.open {
		l.finish(c, nil, fmt.Errorf("call member %v: %w", l.p.id, ErrUnreachable))
	}
}

func (l *callLink) isEmpty() bool {
	l.calls.Lock()
	defer l.calls.Unlock()
	return len(l.calls.open) == 0
}

// Call asks a peer and waits for the answer until ctx ends. A method's name has at most 64 bytes. The error is a
// *RemoteError if the peer's Handler returned one, ErrUnknownPeer, ErrUnreachable, ErrBusy or ErrTooLarge if nothing
// was sent or the answer is too large, ErrLost if the request may have been received, ErrClosed, or that of ctx. The request must not be changed
// afterwards if Call has returned an error.
func (t *Transport) Call(ctx context.Context, to kind.MemberID, method string, request []byte) ([]byte, error) {
	if len(method) > maxMethodBytes {
		return nil, errors.New("the name of the method has more than 64 bytes")
	}
	if len(request) > t.limits.MaxCallBytes {
		return nil, fmt.Errorf("call member %v: a request of %d bytes is %w", to, len(request), ErrTooLarge)
	}
	if t.ctx.Err() != nil {
		return nil, ErrClosed
	}
	p := (*t.peers.Load())[to]
	if p == nil {
		return nil, fmt.Errorf("call member %v: %w", to, ErrUnknownPeer)
	}
	return p.calls.do(ctx, method, request)
}
