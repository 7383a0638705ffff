package store

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/internal/kind"
)

// TestMarkerComesLast: before a marker names a manifest, and before an old marker goes, the directory is synced, so that
// a power cut leaves a marker whose manifest is there whatever else survives.
func TestMarkerComesLast(t *testing.T) {
	unsynced := map[string]bool{} // names that were made since the last sync of the directory
	markers := 0
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		base := op.Path[strings.LastIndexByte(op.Path, '/')+1:]
		marker := strings.HasPrefix(base, "marker.")
		switch op.Kind {
		case errorfs.OpCreate, errorfs.OpRemove:
			for name := range unsynced {
				if marker && (op.Kind == errorfs.OpRemove || !strings.HasPrefix(name, "marker.")) {
					t.Errorf("%s is made or removed while %s may be lost", base, name)
				}
			}
			if op.Kind == errorfs.OpCreate {
				unsynced[base] = true
			}
			if marker {
				markers++
			}
		case errorfs.OpFileSync:
			if base == "s" {
				clear(unsynced)
			}
		}
		return nil
	}))
	id := kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}
	if err := Create(fs, "s", id, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		db, err := Open(fs, "s", id, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(true); err != nil {
			t.Fatal(err)
		}
	}
	if markers < 4 {
		t.Errorf("only %d markers were made or removed", markers)
	}
}
