package sim

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// sectorBytes is what a disk writes whole or not at all.
const sectorBytes = 512

// disk is a host's disk with the file system on it, as one life of the member sees it. Its fault model:
//
//	D1  A file's bytes are durable, sector by sector, once a sync that began after they were written has returned. Of the
//	    others a power cut leaves any subset of the sectors, in the middle of one write as well.
//	D2  An entry of a directory is durable once the directory was synced. Of what was done to a directory since, a power
//	    cut leaves the first part, in order.
//	D3  The death of the process alone loses nothing.
//	D4  A full disk refuses what makes a file longer, and new files; a failing one refuses writes or syncs, and what was to
//	    be synced is then lost by the next power cut, or not, like anything else that was not.
//	D5  A sync takes time, more on a slow disk, and for ever on one that hangs, until it is well again.
//	D6  A bit of what is durable may flip.
//
// It is not the engine's file system in memory, because that one draws in the order of Go's maps what a crash leaves, and
// tears at 4096 bytes.
type disk struct {
	w    *World
	host *host
	life *life // who uses it

	mu struct {
		sync.Mutex
		root     *inode
		locked   map[string]bool
		used     int64
		capacity int64 // 0 has no bound
		left     bool  // its life is over: whatever is still done to it comes to nothing, at once
		fault    diskFault
		stuck    []chan struct{} // syncs that hang
	}
}

// diskFault is what is wrong with a disk.
type diskFault struct {
	slow       time.Duration // a sync takes up to so much longer
	hangs      bool
	failSyncs  bool
	failWrites bool
	only       string // part of the names of the files that it is about; "" is all
}

func (f *diskFault) about(name string) bool { return f.only == "" || strings.Contains(name, f.only) }

// inode is a file or a directory.
type inode struct {
	dir     bool
	links   int
	touched time.Time

	data   []byte
	synced []byte
	dirty  map[int]uint64 // sectors that differ from synced, with the count of the write that made them so
	writes uint64

	children map[string]*inode
	durable  map[string]*inode
	pending  []dirChange // what was done to children since durable
}

// dirChange is that a name came to stand for a file, or for none.
type dirChange struct {
	name string
	node *inode // nil: removed
}

func newDir() *inode {
	return &inode{dir: true, links: 1, children: map[string]*inode{}, durable: map[string]*inode{}}
}

func newDisk(h *host) *disk {
	d := &disk{w: h.w, host: h}
	d.mu.root = newDir()
	d.mu.locked = map[string]bool{}
	return d
}

func (n *inode) set(name string, child *inode) {
	if child == nil {
		delete(n.children, name)
	} else {
		n.children[name] = child
	}
	n.pending = append(n.pending, dirChange{name, child})
}

// find walks to a name.
func (d *disk) find(name string) (parent *inode, base string, node *inode, err error) {
	name = path.Clean("/" + name)
	if name == "/" {
		return nil, "", d.mu.root, nil
	}
	parent = d.mu.root
	parts := strings.Split(name[1:], "/")
	for _, part := range parts[:len(parts)-1] {
		parent = parent.children[part]
		if parent == nil || !parent.dir {
			return nil, "", nil, &os.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
	}
	base = parts[len(parts)-1]
	return parent, base, parent.children[base], nil
}

func missing(op, name string) error { return &os.PathError{Op: op, Path: name, Err: fs.ErrNotExist} }

// mayWrite says why a write of so many more bytes fails.
func (d *disk) mayWrite(name string, grow int64) error {
	switch {
	case d.mu.left:
	case d.mu.fault.failWrites && d.mu.fault.about(name):
		return &os.PathError{Op: "write", Path: name, Err: syscall.EIO}
	case grow > 0 && d.mu.capacity > 0 && d.mu.used+grow > d.mu.capacity:
		return &os.PathError{Op: "write", Path: name, Err: syscall.ENOSPC}
	}
	return nil
}

func (d *disk) create(name string, truncate bool) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	parent, base, node, err := d.find(name)
	if err != nil {
		return nil, err
	}
	if node != nil && node.dir {
		return nil, &os.PathError{Op: "create", Path: name, Err: syscall.EISDIR}
	}
	if node == nil || truncate {
		if err := d.mayWrite(name, 1); err != nil {
			return nil, err
		}
		d.unlink(node)
		node = &inode{links: 1, dirty: map[int]uint64{}, touched: time.Now()}
		parent.set(base, node)
	}
	return &file{d: d, n: node, name: name, reads: true, writes: true}, nil
}

func (d *disk) unlink(n *inode) {
	if n == nil {
		return
	}
	if n.links--; n.links == 0 && !n.dir {
		d.mu.used -= int64(len(n.data))
	}
}

// Create makes a file, in the place of one that is there.
func (d *disk) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return d.create(name, true)
}

// OpenReadWrite opens a file, or makes it.
func (d *disk) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return d.create(name, false)
}

// Open opens a file for reading.
func (d *disk) Open(name string, _ ...vfs.OpenOption) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, node, err := d.find(name)
	if err != nil {
		return nil, err
	}
	if node == nil {
		return nil, missing("open", name)
	}
	return &file{d: d, n: node, name: name, reads: true}, nil
}

// OpenDir opens a directory for syncing.
func (d *disk) OpenDir(name string) (vfs.File, error) { return d.Open(name) }

// Link gives a file a second name.
func (d *disk) Link(oldname, newname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, node, err := d.find(oldname)
	if err != nil {
		return err
	}
	if node == nil {
		return missing("link", oldname)
	}
	parent, base, there, err := d.find(newname)
	if err != nil {
		return err
	}
	if there != nil {
		return &os.PathError{Op: "link", Path: newname, Err: fs.ErrExist}
	}
	if err := d.mayWrite(newname, 1); err != nil {
		return err
	}
	node.links++
	parent.set(base, node)
	return nil
}

// Remove removes a file or an empty directory.
func (d *disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	parent, base, node, err := d.find(name)
	if err != nil {
		return err
	}
	if node == nil || parent == nil {
		return missing("remove", name)
	}
	if len(node.children) > 0 {
		return &os.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	parent.set(base, nil)
	d.unlink(node)
	return nil
}

// RemoveAll removes a file or a directory with all that is in it.
func (d *disk) RemoveAll(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	parent, base, node, err := d.find(name)
	if err != nil || node == nil || parent == nil {
		return nil
	}
	parent.set(base, nil)
	d.forget(node)
	return nil
}

func (d *disk) forget(n *inode) {
	for _, child := range n.children {
		d.forget(child)
	}
	d.unlink(n)
}

// Rename gives a file another name, in the place of what has it.
func (d *disk) Rename(oldname, newname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, oldBase, node, err := d.find(oldname)
	if err != nil {
		return err
	}
	if node == nil || from == nil {
		return missing("rename", oldname)
	}
	to, newBase, there, err := d.find(newname)
	if err != nil {
		return err
	}
	if there == node {
		return nil
	}
	d.unlink(there)
	// The new name comes first: a cut between the two leaves both, as a link would, and never neither.
	to.set(newBase, node)
	from.set(oldBase, nil)
	return nil
}

// ReuseForWrite renames a file and opens it for writing.
func (d *disk) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return d.OpenReadWrite(newname, c)
}

// MkdirAll makes a directory with its parents.
func (d *disk) MkdirAll(dir string, _ os.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.mu.root
	for _, part := range strings.Split(path.Clean("/" + dir)[1:], "/") {
		if part == "" {
			continue
		}
		next := at.children[part]
		if next == nil {
			if err := d.mayWrite(dir, 1); err != nil {
				return err
			}
			next = newDir()
			at.set(part, next)
		}
		if !next.dir {
			return &os.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
		at = next
	}
	return nil
}

// Lock takes the lock of a name for the life that uses the disk.
func (d *disk) Lock(name string) (io.Closer, error) {
	f, err := d.create(name, false)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.locked[name] {
		return nil, fmt.Errorf("lock %s: it is locked", name)
	}
	d.mu.locked[name] = true
	return &fileLock{d, name, f}, nil
}

type fileLock struct {
	d    *disk
	name string
	f    vfs.File
}

// Close gives the lock back.
func (l *fileLock) Close() error {
	l.d.mu.Lock()
	delete(l.d.mu.locked, l.name)
	l.d.mu.Unlock()
	return l.f.Close()
}

// List returns the names in a directory, in order.
func (d *disk) List(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, node, err := d.find(dir)
	if err != nil {
		return nil, err
	}
	if node == nil || !node.dir {
		return nil, missing("list", dir)
	}
	return slices.Sorted(maps.Keys(node.children)), nil
}

// Stat describes a file.
func (d *disk) Stat(name string) (vfs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, node, err := d.find(name)
	if err != nil {
		return nil, err
	}
	if node == nil {
		return nil, missing("stat", name)
	}
	return node.info(name), nil
}

// PathBase, PathJoin and PathDir are those of package path.
func (d *disk) PathBase(p string) string           { return path.Base(p) }
func (d *disk) PathJoin(elements ...string) string { return path.Join(elements...) }
func (d *disk) PathDir(p string) string            { return path.Dir(p) }

// GetDiskUsage says how full the disk is.
func (d *disk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	total := int64(1) << 34
	if d.mu.capacity > 0 {
		total = d.mu.capacity
	}
	free := max(total-d.mu.used, 0)
	return vfs.DiskUsage{AvailBytes: uint64(free), TotalBytes: uint64(total), UsedBytes: uint64(total - free)}, nil
}

// Unwrap returns nil: there is nothing below.
func (d *disk) Unwrap() vfs.FS { return nil }

type fileInfo struct {
	name    string
	size    int64
	dir     bool
	touched time.Time
}

func (n *inode) info(name string) vfs.FileInfo {
	return &fileInfo{path.Base(name), int64(len(n.data)), n.dir, n.touched}
}

func (i *fileInfo) Name() string           { return i.name }
func (i *fileInfo) Size() int64            { return i.size }
func (i *fileInfo) ModTime() time.Time     { return i.touched }
func (i *fileInfo) IsDir() bool            { return i.dir }
func (i *fileInfo) Sys() any               { return nil }
func (i *fileInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
func (i *fileInfo) Mode() os.FileMode {
	if i.dir {
		return os.ModeDir | 0o700
	}
	return 0o600
}
