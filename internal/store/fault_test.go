package store

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// stopFS takes a clone of a crashable file system as a power cut would leave it, before the n-th change that a sync
// could have made durable.
type stopFS struct {
	vfs.FS
	mu    sync.Mutex
	left  int
	clone *vfs.MemFS
}

func (s *stopFS) count() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.left == 0 {
		s.clone = s.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	}
}

func (s *stopFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	return s.wrap(f), err
}

func (s *stopFS) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	return s.wrap(f), err
}

func (s *stopFS) Unwrap() vfs.FS { return s.FS }

func (s *stopFS) wrap(f vfs.File) vfs.File {
	if f == nil {
		return nil
	}
	return &stopFile{File: f, fs: s}
}

type stopFile struct {
	vfs.File
	fs *stopFS
}

func (f *stopFile) Sync() error {
	f.fs.count()
	return f.File.Sync()
}

func (f *stopFile) SyncData() error {
	f.fs.count()
	return f.File.SyncData()
}
