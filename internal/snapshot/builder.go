package snapshot

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// tableBytes is where a table of a new store is large enough.
const tableBytes = 64 << 20

// incoming is where the tables lie until they are moved into the store.
const incoming = "incoming"

// The refusals of a Builder, beside those of a chunk.
var (
	// ErrNoRoom means that the disk has no room for the snapshot.
	ErrNoRoom = errors.New("there is no room on the disk for the snapshot")
	// ErrOther means that the chunks are not of the snapshot that was announced.
	ErrOther = errors.New("this is not the snapshot that was announced")
)

// Expected is what is known of a snapshot before its first chunk.
type Expected struct {
	ID       uint64
	Cluster  kind.ClusterID
	Position kind.Position
}

// BuilderOptions of a Builder.
type BuilderOptions struct {
	// Reserve is how many bytes have to stay free on the disk; with it the room is checked before anything is written.
	// A disk that cannot tell its free space is taken to have enough.
	Reserve uint64
	// TableBytes is where a table is large enough; 0 means 64 MiB.
	TableBytes uint64
}

// Builder makes a store of the chunks of a snapshot (Z4, Z5).
type Builder struct {
	fs      vfs.FS
	dir     string
	id      kind.Identity
	want    Expected
	options BuilderOptions

	header Header
	next   uint64
	ended  bool
	failed error
	totals totals
	last   []byte // the last key
	table  *store.TableWriter
	tables []string
}

// NewBuilder returns a Builder of a store in dir, an empty directory, which gets the identity id.
func NewBuilder(fs vfs.FS, dir string, id kind.Identity, want Expected, o BuilderOptions) *Builder {
	if o.TableBytes == 0 {
		o.TableBytes = tableBytes
	}
	return &Builder{fs: fs, dir: dir, id: id, want: want, options: o}
}

// Next is the number of the chunk that Write takes next.
func (b *Builder) Next() uint64 { return b.next }

// Header is what the snapshot says of itself, once the first chunk was taken.
func (b *Builder) Header() Header { return b.header }

// Write takes the next chunk. After an error the Builder is of no more use.
func (b *Builder) Write(number uint64, chunk []byte) error {
	if b.failed == nil {
		b.failed = b.write(number, chunk)
	}
	return b.failed
}

func (b *Builder) write(number uint64, chunk []byte) error {
	if number != b.next || b.ended {
		return fmt.Errorf("%w: chunk %d comes where chunk %d is wanted", ErrChunk, number, b.next)
	}
	what, payload, err := openChunk(chunk, number)
	if err != nil {
		return err
	}
	switch {
	case (number == 0) != (what == kindHead) || what < kindHead || what > kindEnd:
		return fmt.Errorf("%w: chunk %d is of kind %d", ErrChunk, number, what)
	case what == kindHead:
		err = b.head(payload)
	case what == kindRecords:
		err = b.records(payload)
	default:
		err = b.end(payload)
	}
	if err != nil {
		return err
	}
	b.totals.chain(payload)
	b.next++
	return nil
}

// head holds the snapshot against what was announced and what this member can take.
func (b *Builder) head(payload []byte) error {
	h, err := decodeHeader(payload)
	if err != nil {
		return err
	}
	if h.StoreFormat > store.FormatVersion {
		return fmt.Errorf("%w: its store has format %d, this program reads %d", ErrNewer, h.StoreFormat, store.FormatVersion)
	}
	if have := (Expected{h.ID, h.Cluster, h.Position}); have != b.want {
		return fmt.Errorf("%w: it is %+v, and %+v was", ErrOther, have, b.want)
	}
	if usage, err := b.fs.GetDiskUsage(b.dir); err == nil && (usage.AvailBytes < b.options.Reserve || usage.AvailBytes-b.options.Reserve < h.Bytes) {
		return fmt.Errorf("%w: it takes about %d bytes and %d have to stay free, but only %d are; make room at %s, or move the "+
			"data directory to a larger disk", ErrNoRoom, h.Bytes, b.options.Reserve, usage.AvailBytes, b.dir)
	}
	if err := b.fs.MkdirAll(b.fs.PathJoin(b.dir, incoming), 0o700); err != nil {
		return fmt.Errorf("make room for a snapshot: %w", err)
	}
	b.header = h
	return nil
}

func (b *Builder) records(payload []byte) error {
	return eachRecord(payload, func(key, value []byte) error {
		if err := store.ValidateKey(key); err != nil || store.Split(key) == 0 {
			return fmt.Errorf("%w: the key %x cannot be one of a store", ErrChunk, key)
		}
		if store.IsLocal(key) || b.last != nil && store.Compare(b.last, key) >= 0 {
			return fmt.Errorf("%w: the key %x does not belong behind %x", ErrChunk, key, b.last)
		}
		b.last = append(b.last[:0], key...)
		b.totals.records++
		b.totals.bytes += uint64(len(key) + len(value))
		return b.add(key, value)
	})
}

func (b *Builder) add(key, value []byte) (err error) {
	if b.table == nil {
		path := b.fs.PathJoin(b.dir, incoming, fmt.Sprintf("%06d.table", len(b.tables)))
		if b.table, err = store.CreateTable(b.fs, path); err != nil {
			return err
		}
		b.tables = append(b.tables, path)
	}
	if err := b.table.Add(key, value); err != nil {
		return err
	}
	if b.table.Size() < b.options.TableBytes {
		return nil
	}
	return b.closeTable()
}

func (b *Builder) closeTable() error {
	if b.table == nil {
		return nil
	}
	err := b.table.Close()
	b.table = nil
	return err
}

func (b *Builder) end(payload []byte) error {
	want, err := decodeEnd(payload)
	if err != nil {
		return err
	}
	if want != b.totals {
		return fmt.Errorf("%w: its end counts %d records, %d bytes, checksum %016x, and there came %d, %d, %016x", ErrChunk,
			want.records, want.bytes, want.sum, b.totals.records, b.totals.bytes, b.totals.sum)
	}
	b.ended = true
	return nil
}

// Finish makes the store of what was taken. It is complete and durable when Finish returns without an error; the entry of
// the directory in its parent is the caller's to make durable.
func (b *Builder) Finish() error {
	if b.failed == nil {
		b.failed = b.finish()
	}
	return b.failed
}

func (b *Builder) finish() error {
	if !b.ended {
		return fmt.Errorf("%w: it ends before chunk %d", ErrChunk, b.next)
	}
	if err := b.closeTable(); err != nil {
		return err
	}
	if err := store.Assemble(b.fs, b.dir, b.id, b.tables); err != nil {
		return err
	}
	if err := b.fs.RemoveAll(b.fs.PathJoin(b.dir, incoming)); err != nil {
		return fmt.Errorf("remove what a snapshot was assembled of: %w", err)
	}
	d, err := b.fs.OpenDir(b.dir)
	if err != nil {
		return fmt.Errorf("sync the new store: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync the new store: %w", err)
	}
	return nil
}

// Abandon closes what is open of an unfinished store; the caller then removes its directory.
func (b *Builder) Abandon() {
	_ = b.closeTable()
	if b.failed == nil {
		b.failed = errors.New("the snapshot was given up")
	}
}
