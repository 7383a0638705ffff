package etcdfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/kind"
)

// The refusals of this package.
var (
	// ErrNotSnapshot: the file is none of etcd's.
	ErrNotSnapshot = errors.New("it is no snapshot or backend of etcd's")
	// ErrChecksum: the file is not what was written.
	ErrChecksum = errors.New("its checksum does not match: it was changed or cut short; take another copy")
	// ErrNoChecksum: the file has none, as a copy of a data directory's has not.
	ErrNoChecksum = errors.New("it has no checksum behind it, so it was not made by \"snapshot save\"; if it is a copy of a stopped member's file, use --skip-hash-check")
)

// OpenOptions say how a file is opened.
type OpenOptions struct {
	// SkipChecksum takes a file without the SHA-256 that a snapshot has behind it.
	SkipChecksum bool
}

// File is a bbolt file of etcd's, open for reading.
type File struct {
	path string
	db   *bolt.DB
}

// Open opens a snapshot or a backend file and checks that it is one. The errors are ErrNotSnapshot, ErrChecksum,
// ErrNoChecksum, and those of the operating system.
func Open(path string, o OpenOptions) (_ *File, err error) {
	if !o.SkipChecksum {
		if err := checkSum(path); err != nil {
			return nil, fmt.Errorf("read the snapshot %s: %w", path, err)
		}
	}
	if err := checkMagic(path); err != nil {
		return nil, fmt.Errorf("read the snapshot %s: %w", path, err)
	}
	f := &File{path: path}
	err = f.guard(func() error {
		if f.db, err = bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true}); err != nil {
			return err
		}
		return f.db.View(func(tx *bolt.Tx) error {
			for _, name := range [][]byte{bucketKey, bucketMeta} {
				if tx.Bucket(name) == nil {
					return fmt.Errorf("%w: it has no bucket %q", ErrNotSnapshot, name)
				}
			}
			return nil
		})
	})
	if err != nil {
		if f.db != nil {
			_ = f.db.Close()
		}
		return nil, err
	}
	return f, nil
}

// Close closes the file.
func (f *File) Close() error { return f.db.Close() }

// guard runs what reads the file. A damaged file makes bbolt panic or read beyond what is mapped; both come out as
// ErrNotSnapshot.
func (f *File) guard(read func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read %s: %w: %v", f.path, ErrNotSnapshot, p)
		}
	}()
	if err := read(); err != nil {
		return fmt.Errorf("read %s: %w", f.path, err)
	}
	return nil
}

// boltMagic stands in the first page of a bbolt file, behind the 16 bytes of the page's head.
const boltMagic = 0xED0CDAED

// checkMagic keeps what is obviously something else away from bbolt.
func checkMagic(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var head [20]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || binary.NativeEndian.Uint32(head[16:]) != boltMagic {
		return ErrNotSnapshot
	}
	return nil
}

// checkSum compares the file with the SHA-256 behind it. A bbolt file's length is a multiple of 512.
func checkSum(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	length := info.Size() - sha256.Size
	if info.Size()%512 == 0 {
		return ErrNoChecksum
	}
	if length <= 0 || length%512 != 0 {
		return ErrChecksum
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, f, length); err != nil {
		return err
	}
	want, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return ErrChecksum
	}
	return nil
}

// Status is what etcdutl says of a snapshot.
type Status struct {
	Hash      uint32 // CRC-32C over all buckets, names, keys and values
	Revision  kind.Revision
	TotalKey  int // keys that are not deleted
	TotalSize int64
	Version   string // of the storage, such as 3.7.0; empty for a file older than 3.6
}

// Status reads the whole file and checks its pages.
func (f *File) Status(ctx context.Context) (s Status, err error) {
	err = f.guard(func() error {
		return f.db.View(func(tx *bolt.Tx) error {
			for problem := range tx.Check() {
				return fmt.Errorf("%w: its pages do not fit together: %w", ErrNotSnapshot, problem)
			}
			r := statusReader{ctx: ctx, hash: crc32.New(crc32.MakeTable(crc32.Castagnoli)), live: map[[16]byte]struct{}{}}
			if err := tx.ForEach(r.bucket); err != nil {
				return err
			}
			s = Status{r.hash.Sum32(), r.revision, len(r.live), tx.Size(), string(tx.Bucket(bucketMeta).Get(keyStorageVersion))}
			return nil
		})
	})
	return s, err
}

// statusReader takes in the records of a file in order.
type statusReader struct {
	ctx      context.Context
	hash     hash.Hash32
	revision kind.Revision
	live     map[[16]byte]struct{} // the keys that are not deleted so far, by their hashes
	steps    int
}

func (r *statusReader) bucket(name []byte, b *bolt.Bucket) error {
	_, _ = r.hash.Write(name)
	isKeys := bytes.Equal(name, bucketKey)
	return b.ForEach(func(k, v []byte) error {
		if r.steps++; r.steps%1024 == 0 && r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		_, _ = r.hash.Write(k)
		_, _ = r.hash.Write(v)
		if !isKeys {
			return nil
		}
		rev, _, deleted, err := splitRevision(k)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotSnapshot, err)
		}
		var kv mvccpb.KeyValue
		if err := proto.Unmarshal(v, &kv); err != nil {
			return fmt.Errorf("%w: revision %d: %w", ErrNotSnapshot, rev, err)
		}
		r.revision = rev
		sum := sha256.Sum256(kv.Key)
		id := [16]byte(sum[:])
		if deleted {
			delete(r.live, id)
		} else {
			r.live[id] = struct{}{}
		}
		return nil
	})
}

// Backend returns the path of the backend file within an etcd data directory, and whether path is one.
func Backend(path string) (backend string, ok bool) {
	backend = filepath.Join(path, "member", "snap", "db")
	info, err := os.Stat(backend)
	return backend, err == nil && info.Mode().IsRegular()
}
