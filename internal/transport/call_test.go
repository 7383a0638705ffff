package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// answering makes a member answer calls.
func answering(answer func(ctx context.Context, method string, request []byte) ([]byte, error)) option {
	return func(_ *Config, m *member) { m.onCall = answer }
}

// Calls are answered, many at a time, each with its own answer; errors come as the other side's text.
func TestCalls(t *testing.T) {
	a, b := start(t, 1), start(t, 2, answering(func(_ context.Context, method string, request []byte) ([]byte, error) {
		if method == "fail" {
			return nil, fmt.Errorf("no %s", request)
		}
		return append([]byte(method+":"), request...), nil
	}))
	acquaint(a, b)
	var work sync.WaitGroup
	for i := range 200 {
		work.Go(func() {
			request := bytes.Repeat([]byte{byte(i)}, i*100)
			got, err := a.Transport.Call(t.Context(), 2, "echo", request)
			if err != nil || !bytes.Equal(got, append([]byte("echo:"), request...)) {
				t.Errorf("call %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	work.Wait()
	_, err := a.Transport.Call(t.Context(), 2, "fail", []byte("luck"))
	var remote *RemoteError
	if !errors.As(err, &remote) || err.Error() != "no luck" {
		t.Error(err)
	}
	if got, err := a.Transport.Call(t.Context(), 2, "", nil); err != nil || string(got) != ":" {
		t.Errorf("an empty call: %q, %v", got, err)
	}
}

// The ways in which a call fails are told apart, and each says whether it may have been received.
func TestCallFailures(t *testing.T) {
	entered := make(chan context.Context, 10)
	deadlines := make(chan time.Duration, 10)
	var block atomic.Bool
	a, b := start(t, 1, limited(func(l *Limits) { l.MaxCallBytes, l.Calls = 100_000, 4 })), start(t, 2, limited(func(l *Limits) { l.MaxCallBytes = 100_000 }),
		answering(func(ctx context.Context, method string, _ []byte) ([]byte, error) {
			if method == "large" {
				return make([]byte, 100_001), nil
			}
			if at, ok := ctx.Deadline(); ok {
				deadlines <- time.Until(at)
			}
			entered <- ctx
			if block.Load() {
				<-ctx.Done()
			}
			return nil, ctx.Err()
		}))
	p := newProxy(t, b.listener.Addr())
	a.SetPeers([]Peer{b.peer(p.url)}, nil)
	b.SetPeers([]Peer{a.peer()}, nil)
	ctx := t.Context()

	if _, err := a.Transport.Call(ctx, 9, "m", nil); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := a.Transport.Call(ctx, 2, "m", make([]byte, 100_001)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large request: %v", err)
	}
	if _, err := a.Transport.Call(ctx, 2, "large", nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large answer: %v", err)
	}
	if _, err := a.Transport.Call(ctx, 2, strings.Repeat("m", 65), nil); err == nil {
		t.Error("a long name")
	}

	// The deadline travels, and giving up does too.
	block.Store(true)
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	_, err := a.Transport.Call(short, 2, "m", nil)
	cancel()
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a deadline: %v", err)
	}
	if left := <-deadlines; left <= 0 || left > 300*time.Millisecond {
		t.Errorf("the other side is given %v", left)
	}
	<-(<-entered).Done()
	given, cancel := context.WithCancel(ctx)
	result := make(chan error, 1)
	go func() { _, err := a.Transport.Call(given, 2, "m", nil); result <- err }()
	remote := <-entered
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	<-remote.Done()

	// Too many at a time, and a connection that breaks.
	results := make(chan error, 4)
	for range 4 {
		go func() { _, err := a.Transport.Call(ctx, 2, "m", nil); results <- err }()
		<-entered
	}
	if _, err := a.Transport.Call(ctx, 2, "m", nil); !errors.Is(err, ErrBusy) {
		t.Errorf("too many: %v", err)
	}
	p.breakUp(true)
	for range 4 {
		if err := <-results; !errors.Is(err, ErrLost) {
			t.Errorf("the connection broke: %v", err)
		}
	}
	eventually(t, "it is known that the peer cannot be reached", func() bool {
		brief, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		_, err := a.Transport.Call(brief, 2, "m", nil)
		return errors.Is(err, ErrUnreachable)
	})
	p.breakUp(false)
	block.Store(false)
	eventually(t, "it can be reached again", func() bool { _, err := a.Transport.Call(ctx, 2, "m", nil); return err == nil })
	a.SetPeers(nil, nil)
	if _, err := a.Transport.Call(ctx, 2, "m", nil); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("forgotten: %v", err)
	}
	a.Close()
	if _, err := a.Transport.Call(ctx, 2, "m", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// A call that is reported as unreachable was not received: the receiver counts.
func TestCallsAreNotMadeTwice(t *testing.T) {
	var received atomic.Int64
	a, b := start(t, 1), start(t, 2, answering(func(context.Context, string, []byte) ([]byte, error) {
		received.Add(1)
		return nil, nil
	}))
	p := newProxy(t, b.listener.Addr())
	a.SetPeers([]Peer{b.peer(p.url)}, nil)
	var certain, possible int64
	for i := range 300 {
		if i%20 == 10 {
			go p.cut()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := a.Transport.Call(ctx, 2, "m", nil)
		cancel()
		switch {
		case err == nil:
			certain++
		case errors.Is(err, ErrLost):
			possible++
		case !errors.Is(err, ErrUnreachable):
			t.Fatal(err)
		}
	}
	if n := received.Load(); n < certain || n > certain+possible {
		t.Errorf("%d were received; %d were answered, of %d nobody knows", n, certain, possible)
	}
}
