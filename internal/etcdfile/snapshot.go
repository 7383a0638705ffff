package etcdfile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// Snapshot is a snapshot that Export has made: first the file, then its SHA-256. It is read once, from beginning to end.
type Snapshot struct {
	dir  string
	file *os.File
	left int64 // bytes of the file that have not been read
	size int64
	sum  hash.Hash
	tail []byte // what is left of the checksum, once the file has been read
}

func openSnapshot(dir, path string, size int64) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the snapshot: %w", err), os.RemoveAll(dir))
	}
	return &Snapshot{dir: dir, file: f, left: size, size: size, sum: sha256.New()}, nil
}

// Size is how many bytes the file has, without its checksum.
func (s *Snapshot) Size() int64 { return s.size }

// Remaining is how many bytes of the file have not been read.
func (s *Snapshot) Remaining() int64 { return s.left }

// Read reads the file and then its checksum, never both at once. It returns io.EOF behind them.
func (s *Snapshot) Read(p []byte) (int, error) {
	if s.left > 0 {
		n, err := s.file.Read(p[:min(int64(len(p)), s.left)])
		s.sum.Write(p[:n])
		s.left -= int64(n)
		if s.left == 0 {
			s.tail = s.sum.Sum(nil)
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			return n, fmt.Errorf("read the snapshot: %w", err)
		}
		return n, nil
	}
	if len(s.tail) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.tail)
	s.tail = s.tail[n:]
	return n, nil
}

// Close removes the snapshot.
func (s *Snapshot) Close() error { return errors.Join(s.file.Close(), os.RemoveAll(s.dir)) }
