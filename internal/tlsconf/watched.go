package tlsconf

import (
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// watched is a file whose content is read again when it has changed.
type watched struct {
	fs   vfs.FS
	path string // empty: there is no such file, and content stays nil

	content []byte
	read    bool
	sum     [sha256.Size]byte // of content; it stays when content is taken
	modTime time.Time
	size    int64
	settled bool // the time of change was long past when the file was read
}

// settleTime is how old a time of change must be before it is trusted to tell two contents apart: file systems keep
// it in steps, and a file may be written twice within one.
const settleTime = 2 * time.Second

// maxFileBytes bounds a file. A list of a million revoked certificates takes 40 MB.
const maxFileBytes = 256 << 20

// look reads the file if it may have changed since the last look, and reports whether its content has. A file that
// cannot be read counts as unchanged.
func (w *watched) look() (changed bool, err error) {
	if w.path == "" {
		return false, nil
	}
	info, err := w.fs.Stat(w.path)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", w.path, err)
	}
	if w.read && w.settled && info.ModTime().Equal(w.modTime) && info.Size() == w.size {
		return false, nil
	}
	now := time.Now()
	content, err := w.load()
	if err != nil {
		return false, fmt.Errorf("read %s: %w", w.path, err)
	}
	w.modTime, w.size = info.ModTime(), info.Size()
	age := now.Sub(w.modTime)
	w.settled = age > settleTime || age < -settleTime // a time in the future never settles otherwise
	sum := sha256.Sum256(content)
	if w.read && sum == w.sum {
		return false, nil
	}
	w.read, w.sum, w.content = true, sum, content
	return true, nil
}

// take returns the content, read anew if it was taken before, and forgets it.
func (w *watched) take() (content []byte, err error) {
	if w.path == "" {
		return nil, nil
	}
	content, w.content = w.content, nil
	if content == nil {
		if content, err = w.load(); err != nil {
			return nil, fmt.Errorf("read %s: %w", w.path, err)
		}
	}
	return content, nil
}

func (w *watched) load() ([]byte, error) {
	f, err := w.fs.Open(w.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(content) > maxFileBytes {
		err = fmt.Errorf("it is larger than %d bytes", maxFileBytes)
	}
	return content, err
}
