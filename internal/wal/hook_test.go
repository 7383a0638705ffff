package wal

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// hookFS calls a function before each change of the file system beneath, and keeps what the log files were written since
// their last sync, so that a crash can tear a write at sectors. The fault model: names as vfs.MemFS has them; each
// sector of 512 bytes holds what was synced or what one of the later writes left there.
type hookFS struct {
	*vfs.MemFS
	before  func(op, path string)
	pending map[string][]write // by path
	open    []*string          // paths of open files, which a rename changes
}

type write struct {
	off  int64
	data []byte
}

const sector = 512

func newHookFS() *hookFS {
	return &hookFS{MemFS: vfs.NewCrashableMem(), pending: map[string][]write{}}
}

func (h *hookFS) hook(op, path string) {
	if h.before != nil {
		h.before(op, path)
	}
}

func (h *hookFS) OpenReadWrite(path string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	h.hook("open", path)
	f, err := h.MemFS.OpenReadWrite(path, c, o...)
	if err != nil {
		return nil, err
	}
	h.open = append(h.open, &path)
	return &hookFile{f, h, &path}, nil
}

func (h *hookFS) OpenDir(path string) (vfs.File, error) {
	f, err := h.MemFS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return &hookFile{f, h, &path}, nil
}

func (h *hookFS) Rename(from, to string) error {
	h.hook("rename", from)
	for _, p := range h.open {
		if *p == from {
			*p = to
		}
	}
	h.pending[to] = h.pending[from]
	delete(h.pending, from)
	return h.MemFS.Rename(from, to)
}

func (h *hookFS) Remove(path string) error {
	h.hook("remove", path)
	delete(h.pending, path)
	return h.MemFS.Remove(path)
}

type hookFile struct {
	vfs.File
	fs   *hookFS
	path *string
}

func (f *hookFile) WriteAt(b []byte, off int64) (int, error) {
	f.fs.hook("write", *f.path)
	p := f.fs.pending
	p[*f.path] = append(p[*f.path], write{off, bytes.Clone(b)})
	return f.File.WriteAt(b, off)
}

func (f *hookFile) SyncData() error {
	f.fs.hook("sync", *f.path)
	delete(f.fs.pending, *f.path)
	return f.File.SyncData()
}

func (f *hookFile) Sync() error {
	f.fs.hook("sync", *f.path)
	delete(f.fs.pending, *f.path)
	return f.File.Sync()
}

// torn is the disk after a power cut now: what was synced, and a random half of the sectors written since.
func (h *hookFS) torn(t testing.TB, rng *rand.Rand, log string) *vfs.MemFS {
	out := h.CrashClone(vfs.CrashCloneCfg{})
	f, err := out.Open(log)
	if err != nil {
		return out // its name was not durable yet
	}
	f.Close()
	f, err = out.OpenReadWrite(log, category)
	must(t, err)
	defer f.Close()
	pieces := map[int64][]write{} // by sector
	for _, w := range h.pending[log] {
		for at, end := w.off, w.off+int64(len(w.data)); at < end; {
			next := min((at/sector+1)*sector, end)
			pieces[at/sector] = append(pieces[at/sector], write{at, w.data[at-w.off : next-w.off]})
			at = next
		}
	}
	for _, n := range slices.Sorted(maps.Keys(pieces)) {
		for _, w := range pieces[n][:rng.IntN(len(pieces[n])+1)] {
			_, err := f.WriteAt(w.data, w.off)
			must(t, err)
		}
	}
	must(t, f.Sync())
	return out
}
