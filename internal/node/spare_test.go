package node

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A log segment that a cut has left over is as good as a new one: when it is there, the member no longer says that it has
// too little room because one could not be made.
func TestSpareLeftByACut(t *testing.T) {
	defer leaks(t)
	fs := vfs.NewMem()
	r := start(t, fs, nil)
	defer func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	wait := func(what string, is func() bool) {
		t.Helper()
		for !is() {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatal(what)
			}
		}
	}
	// The writer has its spare, so nobody will make another: the failure is told as of one before.
	wait("the writer never got its spare", func() bool {
		names, err := fs.List("log")
		return err == nil && slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".spare") })
	})
	r.space.spareFailed(errors.New("no room"))
	if !r.noRoom() {
		t.Fatal("a failure was told, and there is room")
	}
	wait("there is a spare, and still no room", func() bool {
		r.space.mu.Lock()
		defer r.space.mu.Unlock()
		return r.space.mu.spare == nil
	})
}
