package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// alarm carries the failures of one store to its owner.
type alarm struct {
	onFailure func(error)
	raised    chan struct{} // closed at the first failure
	closing   chan struct{} // closed when the store is being closed, or its opening given up
	closeOnce sync.Once
	mu        struct {
		sync.Mutex
		err     error // the first failure
		wrecked bool  // a goroutine of Pebble's was ended; Pebble's own Close would wait for it for ever
	}
}

func newAlarm(onFailure func(error)) *alarm {
	return &alarm{onFailure: onFailure, raised: make(chan struct{}), closing: make(chan struct{})}
}

// raise keeps the first failure and tells the owner about it.
func (a *alarm) raise(err error) {
	a.mu.Lock()
	first := a.mu.err == nil
	if first {
		a.mu.err = err
	}
	a.mu.Unlock()
	if !first {
		return
	}
	close(a.raised)
	if a.onFailure != nil {
		a.onFailure(err)
	}
}

// failed returns the first failure, or nil.
func (a *alarm) failed() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.err
}

// giveUp lets go of what waits for the end; see guardedFS.Create.
func (a *alarm) giveUp() { a.closeOnce.Do(func() { close(a.closing) }) }

// close closes db unless that would never return, and reports the first failure of the store's life.
func (a *alarm) close(db *pebble.DB) error {
	a.giveUp()
	a.mu.Lock()
	wrecked := a.mu.wrecked
	a.mu.Unlock()
	if wrecked {
		return a.failed()
	}
	return errors.Join(WrapRead("close the store", db.Close()), a.failed())
}

// listener returns the events of Pebble that matter to us.
func (a *alarm) listener(o Options) *pebble.EventListener {
	l := &pebble.EventListener{
		BackgroundError: func(err error) {
			a.raise(fmt.Errorf("the store failed in the background: %w", asCorruption(err)))
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			a.raise(&Corruption{File: info.Path, Offset: blockOffset(info.Details), Err: info.Details})
		},
	}
	if o.OnStallBegin != nil {
		l.WriteStallBegin = func(info pebble.WriteStallBeginInfo) { o.OnStallBegin(info.Reason) }
	}
	if o.OnStallEnd != nil {
		l.WriteStallEnd = o.OnStallEnd
	}
	return l
}

// logger is where Pebble writes remarks and ends the process. Its Fatalf ends the caller instead; see fatal.
type logger struct {
	alarm *alarm
	logf  func(format string, args ...any)
}

// Infof implements pebble.Logger; routine remarks are dropped.
func (l *logger) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (l *logger) Errorf(format string, args ...any) {
	if l.logf != nil {
		l.logf(format, args...)
	}
}

// Fatalf implements pebble.Logger.
func (l *logger) Fatalf(format string, args ...any) {
	l.alarm.fatal(fmt.Errorf("the store cannot go on: %w", fatalError(format, args)))
}

// Eventf implements pebble.LoggerAndTracer.
func (l *logger) Eventf(context.Context, string, ...any) {}

// IsTracingEnabled implements pebble.LoggerAndTracer.
func (l *logger) IsTracingEnabled(context.Context) bool { return false }

// fatalError keeps the error among the arguments of Fatalf, so that errors.Is finds a full disk or a corruption.
func fatalError(format string, args []any) error {
	for _, a := range args {
		if err, ok := a.(error); ok {
			return fmt.Errorf("%s: %w", strings.TrimSuffix(strings.TrimSpace(fmt.Sprintf(format, args...)), err.Error()), asCorruption(err))
		}
	}
	return fmt.Errorf(format, args...)
}

// onPebbleGoroutine says whether Pebble started the goroutine that runs: then the outermost function is Pebble's.
func onPebbleGoroutine() bool {
	pcs := make([]uintptr, 256)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs)])
	outermost := ""
	for {
		f, more := frames.Next()
		if f.Function != "" && f.Function != "runtime.goexit" {
			outermost = f.Function
		}
		if !more {
			return strings.HasPrefix(outermost, "github.com/cockroachdb/pebble/")
		}
	}
}

// openPebble opens a database. Opening may flush, and Pebble waits for that flush even if its goroutine has been ended;
// so Pebble opens beside, the one goroutine that this package starts, and is left behind if that happens.
func openPebble(dir string, p *pebble.Options, a *alarm) (*pebble.DB, error) {
	type opened struct {
		db  *pebble.DB
		err error
	}
	done := make(chan opened, 1)
	go func() {
		db, err := openHere(dir, p)
		done <- opened{db, err}
	}()
	select {
	case o := <-done:
		return o.db, o.err
	case <-a.raised:
	}
	a.giveUp()
	a.mu.Lock()
	wrecked := a.mu.wrecked
	a.mu.Unlock()
	if wrecked {
		return nil, a.failed()
	}
	o := <-done
	return o.db, o.err
}

// openHere opens a database. Pebble panics on some bytes that it cannot make sense of; while it opens, that means bytes
// on disk, so it becomes a *Corruption.
func openHere(dir string, p *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case Failure:
			err = r.Err
		default:
			err = corrupted("Pebble cannot read it: %v", r)
		}
	}()
	db, err = pebble.Open(dir, p)
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return nil, ErrAbsent
	case strings.Contains(err.Error(), "lock held by current process"), strings.Contains(err.Error(), "resource temporarily unavailable"):
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	if isNotExist(err) {
		err = corrupted("a file of it is missing: %w", err)
	}
	return nil, asCorruption(err)
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// blockOffset finds the offset in Pebble's message "block <offset>/<length>: … checksum mismatch", or -1.
func blockOffset(err error) int64 {
	if err == nil {
		return -1
	}
	_, rest, ok := strings.Cut(err.Error(), "block ")
	if !ok {
		return -1
	}
	digits, _, ok := strings.Cut(rest, "/")
	if !ok {
		return -1
	}
	offset, perr := strconv.ParseInt(digits, 10, 64)
	if perr != nil {
		return -1
	}
	return offset
}
