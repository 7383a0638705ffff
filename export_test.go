package holdfast

// SmallFiles returns o with a log of small segments and a store of small memtables, so that a short run rolls the log,
// flushes the store and cuts the log many times.
func SmallFiles(o Options) Options {
	o.sizes = sizes{segmentBytes: 32 << 10, memTableBytes: 256 << 10, flushLogBytes: 48 << 10}
	return o
}
