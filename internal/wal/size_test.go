package wal

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

// TestSizeSinceOfAnEmptyLog: of a log that begins after a snapshot and holds nothing yet, nothing lies above any index,
// those from before its beginning included; with one entry all of it does.
func TestSizeSinceOfAnEmptyLog(t *testing.T) {
	l := newLog(t, vfs.NewMem(), Options{SegmentBytes: 8192})
	must(t, l.Append(entriesOf(1, 3, 1, 10), nil))
	must(t, l.Reset(kind.Position{Index: 50, Term: 3}))
	for _, i := range []kind.Index{0, 3, 49, 50, 51} {
		if n := l.SizeSince(i); n != 0 {
			t.Errorf("%d bytes lie above entry %d of an empty log", n, i)
		}
	}
	must(t, l.Append(entriesOf(51, 51, 3, 10), nil))
	for _, i := range []kind.Index{0, 49, 50} {
		if l.SizeSince(i) == 0 || l.SizeSince(i) != l.SizeSince(50) {
			t.Errorf("%d bytes lie above entry %d, and %d above entry 50", l.SizeSince(i), i, l.SizeSince(50))
		}
	}
	must(t, l.Close())
}
