package sim

import (
	"errors"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// file is an open file of a disk.
type file struct {
	d             *disk
	n             *inode
	name          string
	at            int
	reads, writes bool
	closed        bool
}

// Close closes it; a second time is a mistake of the caller.
func (f *file) Close() error {
	if f.closed {
		return os.ErrClosed
	}
	f.closed = true
	return nil
}

// Read reads on.
func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, int64(f.at))
	f.at += n
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// ReadAt reads at a place.
func (f *file) ReadAt(p []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if !f.reads || f.n.dir {
		return 0, &os.PathError{Op: "read", Path: f.name, Err: syscall.EINVAL}
	}
	if at >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Write writes on.
func (f *file) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, int64(f.at))
	f.at += n
	return n, err
}

// WriteAt writes at a place. What was written is seen at once and durable later.
func (f *file) WriteAt(p []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if !f.writes {
		return 0, &os.PathError{Op: "write", Path: f.name, Err: syscall.EBADF}
	}
	end := int(at) + len(p)
	grow := max(end-len(f.n.data), 0)
	if err := f.d.mayWrite(f.name, int64(grow)); err != nil {
		return 0, err
	}
	n := f.n
	n.touched = time.Now()
	n.writes++
	if grow > 0 {
		n.mark(len(n.data), end)
		n.data = append(n.data, make([]byte, grow)...)
		f.d.mu.used += int64(grow)
	}
	copy(n.data[at:end], p)
	n.mark(int(at), end)
	return len(p), nil
}

// mark notes that the bytes from low to high are not durable.
func (n *inode) mark(low, high int) {
	for s := low / sectorBytes; s*sectorBytes < high; s++ {
		n.dirty[s] = n.writes
	}
}

// Preallocate and Prefetch promise nothing.
func (f *file) Preallocate(int64, int64) error { return nil }
func (f *file) Prefetch(int64, int64) error    { return nil }

// Stat describes it.
func (f *file) Stat() (vfs.FileInfo, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.n.info(f.name), nil
}

// Sync makes durable what was written before.
func (f *file) Sync() error { return f.d.sync(f.n, f.name) }

// SyncData makes durable what was written before.
func (f *file) SyncData() error { return f.Sync() }

// SyncTo only begins to write back.
func (f *file) SyncTo(int64) (fullSync bool, err error) { return false, nil }

// Fd says that there is no descriptor.
func (f *file) Fd() uintptr { return vfs.InvalidFd }

// sync takes as long as the disk needs; what is written while it is under way is not part of it.
func (d *disk) sync(n *inode, name string) error {
	d.mu.Lock()
	sectors := make(map[int]uint64, len(n.dirty))
	var order []int
	for s, write := range n.dirty {
		sectors[s] = write
		order = append(order, s)
	}
	slices.Sort(order)
	data := make([]byte, 0, len(order)*sectorBytes)
	for _, s := range order {
		data = append(data, n.sector(s)...)
	}
	size, changes := len(n.data), len(n.pending)
	d.mu.Unlock()

	d.wait(name)

	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.mu.left && d.mu.fault.failSyncs && d.mu.fault.about(name) {
		return &os.PathError{Op: "sync", Path: name, Err: syscall.EIO}
	}
	if n.dir {
		for _, c := range n.pending[:changes] {
			c.apply(n.durable)
		}
		n.pending = slices.Clone(n.pending[changes:])
		return nil
	}
	if grow := size - len(n.synced); grow > 0 {
		n.synced = append(n.synced, make([]byte, grow)...)
	}
	for _, s := range order {
		k := copy(n.synced[s*sectorBytes:min((s+1)*sectorBytes, size)], data)
		data = data[k:]
		if n.dirty[s] == sectors[s] {
			delete(n.dirty, s)
		}
	}
	return nil
}

func (c dirChange) apply(names map[string]*inode) {
	if c.node == nil {
		delete(names, c.name)
	} else {
		names[c.name] = c.node
	}
}

func (n *inode) sector(s int) []byte {
	return n.data[s*sectorBytes : min((s+1)*sectorBytes, len(n.data))]
}

// wait takes the time of a sync.
func (d *disk) wait(name string) {
	if d.life == nil || !d.life.timed(name) {
		return
	}
	// Each file has dice of its own: two of the member's goroutines may come here at the same time.
	s := d.w.source("sync " + d.host.name + " " + name)
	took := s.between(50*time.Microsecond, 2*time.Millisecond)
	d.mu.Lock()
	if d.mu.left {
		d.mu.Unlock()
		return
	}
	if f := &d.mu.fault; f.slow > 0 && f.about(name) {
		d.mu.Unlock()
		took += s.between(0, f.slow)
		d.mu.Lock()
	}
	done := make(chan struct{})
	d.mu.stuck = append(d.mu.stuck, done)
	d.mu.Unlock()
	s.after(took, d.life, "synced", func() { d.synced(name, done) })
	<-done
}

// synced lets a sync go on, unless the disk hangs.
func (d *disk) synced(name string, done chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.fault.hangs && d.mu.fault.about(name) {
		return
	}
	if i := slices.Index(d.mu.stuck, done); i >= 0 {
		d.mu.stuck = slices.Delete(d.mu.stuck, i, i+1)
		close(done)
	}
}

// release lets all syncs go on.
func (d *disk) release() {
	for _, done := range d.mu.stuck {
		close(done)
	}
	d.mu.stuck = nil
}
