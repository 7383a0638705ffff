package node

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// A cut of the log that was asked for because of one store is not made for another: a store that was fetched anew may
// stand, on the disk, before the place of the cut.
func TestCutIsForOneStore(t *testing.T) {
	r := start(t, vfs.NewMem(), nil)
	for i := range 300 {
		if _, err := r.Propose(t.Context(), put(fmt.Sprint("key ", i), string(make([]byte, 1000)))); err != nil {
			t.Fatal(err)
		}
	}
	first, applied := r.log.FirstIndex(), r.Status().Applied
	cutTo := func(db *store.DB) bool {
		r.Node.writer.truncate.put(cut{applied, db})
		for range 20 {
			if r.log.FirstIndex() > first {
				return true
			}
			<-time.After(10 * time.Millisecond)
		}
		return false
	}
	if cutTo(new(store.DB)) {
		t.Errorf("the log was cut to %d because of another store", r.log.FirstIndex())
	}
	if !cutTo(r.DB()) {
		t.Error("the log was not cut, so the test shows nothing")
	}
	check(t, r.stop())
}

// A member that stops when a snapshot has arrived and is not adopted yet stops as any other: nobody finds a bug of ours in
// the snapshot that is gone.
func TestStopBeforeAdoption(t *testing.T) {
	r := start(t, vfs.NewMem(), nil)
	check(t, r.stop())
	at := kind.Position{Index: 50, Term: 3}
	meta := &raftpb.SnapshotMetadata{Index: new(uint64(at.Index)), Term: new(uint64(at.Term))}
	if err := r.adoptSnapshot(meta); !errors.Is(err, errStopping) {
		t.Errorf("adopting a snapshot that the stop has taken: %v", err)
	}
}
