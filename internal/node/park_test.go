package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// The writer parks the applier only when that has done all that it was handed, however long that takes; what comes
// meanwhile waits until it goes on.
func TestPark(t *testing.T) {
	leaks(t)
	busy, goOn := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	core := hooked{zapcore.NewNopCore(), func(e zapcore.Entry) {
		if first.Load() && e.Message == "apply request took too long" {
			first.Store(false)
			close(busy)
			<-goOn
		}
	}}
	r := start(t, vfs.NewMem(), func(c *Config) { c.Logger, c.SlowApply = zap.New(core), time.Nanosecond })
	first.Store(true) // not the entries of the start
	answered := make(chan error, 1)
	go func() {
		for i := range 3 {
			if _, err := r.Propose(context.Background(), put(fmt.Sprint("key", i), "value")); err != nil {
				answered <- err
				return
			}
		}
		answered <- nil
	}()
	<-busy
	parked := make(chan func(), 1)
	go func() {
		resume, err := r.park()
		check(t, err)
		parked <- resume
	}()
	select {
	case <-parked:
		t.Fatal("the applier is parked in the middle of its work")
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	resume := <-parked
	at := r.Replica.Machine().Applied()
	if r.applier.handed != at.Index {
		t.Errorf("the applier was handed up to %d and has applied up to %d", r.applier.handed, at.Index)
	}
	if len(answered) == 0 { // the rest waits
		select {
		case err := <-answered:
			t.Errorf("all is answered although the applier rests: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		if now := r.Replica.Machine().Applied(); now != at {
			t.Errorf("the applier rests, and went from %v to %v", at, now)
		}
	}
	resume()
	check(t, <-answered)
	check(t, r.stop())
}

// hooked is a log that somebody listens to.
type hooked struct {
	zapcore.Core
	hear func(zapcore.Entry)
}

func (h hooked) Enabled(zapcore.Level) bool        { return true }
func (h hooked) With([]zapcore.Field) zapcore.Core { return h }
func (h hooked) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, h)
}
func (h hooked) Write(e zapcore.Entry, _ []zapcore.Field) error {
	h.hear(e)
	return nil
}
