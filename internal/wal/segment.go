package wal

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	logSuffix   = ".log"
	spareSuffix = ".spare"
	newName     = "new.tmp"   // a file that the writer is making
	aheadName   = "ahead.tmp" // one that MakeSpare is making beside it

	// maxSpares is how many spare files are kept: what one flush of the store sets free at the default sizes.
	maxSpares = 4

	category = vfs.DiskWriteCategory("raft-log")
)

// segment is one file of the log that bears its final name.
type segment struct {
	header
	path string
	file vfs.File
	seed uint32
	base int64 // what an offset in this segment adds to, so that positions grow through the whole log

	// Guarded by Log.mu.
	pins int  // readers that are in the file
	gone bool // no longer part of the log; the last reader closes the file
}

// spare is a file of full size that waits to become a segment.
type spare struct {
	path     string
	recycled bool
}

func segmentName(sequence uint64) string { return fmt.Sprintf("%016x%s", sequence, logSuffix) }

// number reads the number in a name with the given suffix.
func number(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, err == nil && fmt.Sprintf("%016x", n) == digits
}

// files is what a log directory holds.
type files struct {
	segments []uint64 // in order
	spares   []string
	unfinish []string // what the making of a file has left
}

func listFiles(fs vfs.FS, dir string) (files, error) {
	names, err := fs.List(dir)
	if oserror.IsNotExist(err) {
		return files{}, nil
	} else if err != nil {
		return files{}, fmt.Errorf("list the log directory %s: %w", dir, err)
	}
	slices.Sort(names)
	var out files
	for _, name := range names {
		if n, ok := number(name, logSuffix); ok {
			out.segments = append(out.segments, n)
		} else if _, ok := number(name, spareSuffix); ok {
			out.spares = append(out.spares, name)
		} else if name == newName || name == aheadName {
			out.unfinish = append(out.unfinish, name)
		}
	}
	return out, nil
}

// openSegment opens the file and reads its header. write asks for a file that can be written.
func openSegment(fs vfs.FS, dir string, sequence uint64, write bool) (*segment, error) {
	path := fs.PathJoin(dir, segmentName(sequence))
	var f vfs.File
	var err error
	if write {
		f, err = fs.OpenReadWrite(path, category)
	} else {
		f, err = fs.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open log segment: %w", err)
	}
	s, err := readHeader(f, path, sequence)
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func readHeader(f vfs.File, path string, sequence uint64) (*segment, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at log segment %s: %w", path, err)
	}
	if info.Size() < headerSize {
		return nil, &Corruption{path, 0, fmt.Sprintf("the file has %d bytes, fewer than a header", info.Size())}
	}
	b := make([]byte, headerSize)
	if err := readFull(f, b, 0); err != nil {
		return nil, fmt.Errorf("log segment %s: %w", path, err)
	}
	h, err := decodeHeader(b)
	switch {
	case errors.Is(err, ErrNewerFormat):
		return nil, fmt.Errorf("log segment %s: %w", path, err)
	case err != nil:
		return nil, &Corruption{path, 0, err.Error()}
	case h.sequence != sequence:
		return nil, &Corruption{path, 0, fmt.Sprintf("the file is segment %016x under another name", h.sequence)}
	case info.Size() < h.size:
		return nil, &Corruption{path, info.Size(), fmt.Sprintf("the file ends here, but was made with %d bytes", h.size)}
	}
	return &segment{header: h, path: path, file: f, seed: placeSeed(h.id.Incarnation, h.sequence)}, nil
}

// fill writes zeros from offset from up to offset to.
func fill(f vfs.File, from, to int64) error {
	zeros := make([]byte, min(to-from, windowBytes))
	for from < to {
		n := min(to-from, int64(len(zeros)))
		if _, err := f.WriteAt(zeros[:n], from); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// makeFile makes a file with size bytes of written zeros, synced, and leaves nothing behind if it fails. step bytes
// are written before each sync: a file made beside a log in use must not put one large write before the log's own.
func (l *Log) makeFile(name string, size, step int64) (path string, err error) {
	path = l.fs.PathJoin(l.dir, name)
	if err := l.fs.Remove(path); err != nil && !oserror.IsNotExist(err) {
		return "", err
	}
	f, err := l.fs.OpenReadWrite(path, category)
	if err != nil {
		return "", err
	}
	for from := int64(0); from < size && err == nil; from += step {
		if err = fill(f, from, min(from+step, size)); err == nil {
			err = l.syncFile(f)
		}
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = l.fs.Remove(path) // The space is wanted back; the first error is the one to report.
		return "", err
	}
	return path, nil
}

// syncFile makes the file's data durable.
func (l *Log) syncFile(f vfs.File) error {
	if l.opts.NoSync {
		return nil
	}
	return f.SyncData()
}

// syncDir makes names in the log's directory durable.
func (l *Log) syncDir() error { return syncDir(l.fs, l.dir, l.opts.NoSync) }

func syncDir(fs vfs.FS, dir string, noSync bool) error {
	if noSync {
		return nil
	}
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open the directory %s: %w", dir, err)
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return fmt.Errorf("sync the directory %s: %w", dir, err)
	}
	return d.Close()
}
