package holdfast_test

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast"
)

// TestCloseDoesNotWaitForEver: a member has failed while a goroutine hangs in its disk. The failure is told at once, and
// Close gives up after a while and says that the files are still open.
func TestCloseDoesNotWaitForEver(t *testing.T) {
	var hang, fail atomic.Bool
	over := make(chan struct{})
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch {
		case hang.Load() && isSync(op) && inLog(op):
			<-over
		case fail.Load() && needsRoom(op) && !inLog(op):
			return syscall.EIO
		}
		return nil
	}))
	m := start(t, settings(), inMemory(disk))
	c := client(t, m.ClientEndpoints()[0])
	for range 10 { // enough for the store to want to flush
		if _, err := c.Put(within(t), "a", string(make([]byte, 8<<10))); err != nil {
			t.Fatal(err)
		}
	}
	hang.Store(true)
	go func() { _, _ = c.Put(within(t), "b", "never answered") }()
	fail.Store(true)
	select {
	case <-m.Done():
	case <-time.After(patience):
		t.Fatal("the failure is not told while a goroutine hangs")
	}
	if !errors.Is(m.Err(), syscall.EIO) {
		t.Errorf("Err: %v", m.Err())
	}
	began := time.Now()
	err := m.Close()
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("Close took %v", took)
	}
	if !errors.Is(err, holdfast.ErrStillOpen) || !errors.Is(err, syscall.EIO) {
		t.Errorf("Close: %v", err)
	}
	close(over)
}
