package machine

import (
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/mvcc"
	"holdfast/internal/snapshot"
)

// send builds a store on fs of a snapshot of r, as it stands.
func send(t *testing.T, r *rig, fs vfs.FS) {
	t.Helper()
	source, err := snapshot.Open(r.db, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if err := fs.MkdirAll("store", 0o700); err != nil {
		t.Fatal(err)
	}
	b := snapshot.NewBuilder(fs, "store", testIdentity,
		snapshot.Expected{ID: 1, Cluster: testIdentity.Cluster, Position: source.Header().Position}, snapshot.BuilderOptions{TableBytes: 100_000})
	for n := uint64(0); ; n++ {
		chunk, err := source.Chunk(n)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = b.Write(n, chunk)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Finish(); err != nil {
		t.Fatal(err)
	}
}

// A snapshot that is taken in the middle of a command which does not fit into one batch makes a member that takes it back
// and does it anew, from the entry behind the snapshot, as one does after a crash (I2): it comes to the same state.
func TestSnapshotInTheMiddle(t *testing.T) {
	mo := mvcc.Options{SpillBytes: 24 << 10, PendingRows: 700, EventBytes: 64 << 10}
	type moment struct {
		fs *vfs.MemFS
		at int
	}
	var moments []moment
	var r *rig
	at, spills := 0, 0
	r = createRig(t, vfs.NewMem(), mo, Options{Spilled: func() {
		if spills++; spills%3 == 0 {
			fs := vfs.NewMem()
			send(t, r, fs)
			moments = append(moments, moment{fs, at})
		}
	}})
	var want []string
	entries := bigEntries(r)
	for i, data := range entries {
		at = i
		r.apply(data)
		want = append(want, r.dump())
	}
	state := r.State()
	r.close(false)
	taken := 0
	for n, m := range moments {
		second := openRig(t, m.fs, mo, Options{})
		if second.cursor != nil {
			taken++
		}
		for i := int(second.Applied().Index) - 1; i < len(entries); i++ {
			second.apply(entries[i])
			if i >= m.at {
				if d := second.dump(); d != want[i] {
					t.Fatalf("moment %d: entry %d gives\n%s\nwant\n%s", n, i, d, want[i])
				}
			}
		}
		if second.State() != state {
			t.Errorf("moment %d: the member stands at %+v, the sender at %+v", n, second.State(), state)
		}
		second.close(false)
	}
	if taken < 5 {
		t.Errorf("only %d of %d snapshots were taken in the middle of a command", taken, len(moments))
	}
}
