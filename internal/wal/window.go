package wal

import (
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const windowBytes = 1 << 20

// window reads a file through one buffer, mostly forward. It reads nothing at or beyond limit.
type window struct {
	file  vfs.File
	limit int64
	buf   []byte // holds the bytes from at on
	at    int64
}

// bytes returns the n bytes at off, valid until the next call. The caller has checked that they lie below limit.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	if off >= w.at && off+int64(n) <= w.at+int64(len(w.buf)) {
		return w.buf[off-w.at:][:n], nil
	}
	want := min(max(int64(n), windowBytes), w.limit-off)
	if int64(cap(w.buf)) < want {
		w.buf = make([]byte, want)
	}
	w.buf, w.at = w.buf[:want], off
	if err := readFull(w.file, w.buf, off); err != nil {
		w.buf = w.buf[:0]
		return nil, err
	}
	return w.buf[:n], nil
}

// sum returns the CRC-32C of the n bytes at off, without holding more than a window of them.
func (w *window) sum(off, n int64) (uint32, error) {
	var crc uint32
	for n > 0 {
		part := min(n, windowBytes)
		b, err := w.bytes(off, int(part))
		if err != nil {
			return 0, err
		}
		crc = crc32.Update(crc, castagnoli, b)
		off, n = off+part, n-part
	}
	return crc, nil
}

func readFull(f vfs.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at offset %d: %w", len(b), off, err)
}
