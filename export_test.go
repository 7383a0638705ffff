package holdfast

import "holdfast/internal/assembly"

// SmallFiles returns o with a log of small segments and a store of small memtables, so that a short run rolls the log,
// flushes the store and cuts the log many times.
func SmallFiles(o Options) Options {
	o.sizes = assembly.Sizes{SegmentBytes: 32 << 10, MemTableBytes: 256 << 10, FlushLogBytes: 48 << 10}
	return o
}
