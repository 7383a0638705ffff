package store

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// FormatMajorVersion is the format of Pebble's own files. It is a constant of our format: it rises only with
// FormatVersion, by a committed entry, when every member can read the new one (I5).
const FormatMajorVersion = pebble.FormatValueSeparation

// The defaults of Options.
const (
	DefaultBlockCacheBytes = 64 << 20
	DefaultMemTableBytes   = 16 << 20 // what applying costs has its minimum there: docs/performance.md
	DefaultMaxOpenFiles    = 1000
)

// Options of an open store. The zero value of each field stands for its default. No callback may call the store or
// wait for anything, because Pebble may hold its locks; sending on a channel with room is the intended use.
type Options struct {
	BlockCacheBytes int64  // memory for blocks of tables
	MemTableBytes   uint64 // the size at which a memtable is flushed; up to six may exist
	MaxOpenFiles    int    // open table files

	// ManualCompactions leaves it to the caller when tables are merged, by Compact: then nothing happens in the engine that
	// nobody has asked for, as long as no memtable is full.
	ManualCompactions bool

	Logf         func(format string, args ...any) // Pebble's rare remarks; dropped if nil
	OnFailure    func(error)                      // the store has failed and the member must stop; called once
	OnStallBegin func(reason string)              // writes wait from now on, for flushes or compactions
	OnStallEnd   func()                           // writes go on
}

// pebbleOptions returns the settings of Pebble that go with o. BenchmarkSettings compares block sizes and compressions;
// the first levels live too briefly to be worth compressing.
func pebbleOptions(fs vfs.FS, o Options, a *alarm) *pebble.Options {
	if o.BlockCacheBytes == 0 {
		o.BlockCacheBytes = DefaultBlockCacheBytes
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = DefaultMemTableBytes
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = DefaultMaxOpenFiles
	}
	p := &pebble.Options{
		FS:                          guardedFS{fs, a},
		Comparer:                    Comparer,
		FormatMajorVersion:          FormatMajorVersion,
		DisableWAL:                  true,
		CacheSize:                   o.BlockCacheBytes,
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: 6,
		MaxOpenFiles:                o.MaxOpenFiles,
		L0CompactionThreshold:       4,
		L0CompactionFileThreshold:   500,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		BytesPerSync:                1 << 20,
		EventListener:               a.listener(o),
		LoggerAndTracer:             &logger{alarm: a, logf: o.Logf},
		DisableAutomaticCompactions: o.ManualCompactions,
	}
	p.DisableTableStats = o.ManualCompactions
	for i := range p.Levels {
		p.Levels[i] = pebble.LevelOptions{
			BlockSize:      16 << 10,
			IndexBlockSize: 64 << 10,
			FilterPolicy:   bloom.FilterPolicy(10),
			FilterType:     pebble.TableFilter,
			Compression:    func() *sstable.CompressionProfile { return sstable.MinLZCompression },
		}
		if i < 2 {
			p.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
		}
	}
	p.TargetFileSizes[0] = 4 << 20
	for i := 1; i < len(p.TargetFileSizes); i++ {
		p.TargetFileSizes[i] = min(2*p.TargetFileSizes[i-1], 64<<20)
	}
	p.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy { return pebble.ValueSeparationPolicy{} }
	return p
}
