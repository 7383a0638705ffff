package mvcc

import "holdfast/internal/kind"

// Event is one change of a key, encoded once for all who watch.
type Event struct {
	Revision kind.Revision
	Sub      uint32        // its place within the revision
	Deleted  bool          // Row has the key and the mod revision only
	Row      Row           // never to be changed; it may be kept
	Previous kind.Revision // of the version that was live before this revision, 0 for none
	Before   Row           // that version, where it was at hand; never to be changed either
}

// Changes are the events of a batch in the order of (revision, sub) (M4). A revision is listed with all its events
// or not at all: those from Unlisted up to Last are too many to be kept and are to be read from the history.
type Changes struct {
	Events   []Event
	Unlisted kind.Revision // 0 if everything is listed
	Last     kind.Revision // the last revision of the batch
}

// arena hands out bytes that are never used again, in few allocations. What is handed out lives as long as anybody
// holds it; blocks are small in a small batch, so that an event that is kept does not keep much beside it.
type arena struct {
	block []byte
	size  int
}

// take returns n bytes, the first len of them unused: a slice of length 0 and capacity n.
func (a *arena) take(n int) []byte {
	if cap(a.block)-len(a.block) < n {
		a.size = min(max(2*a.size, 1<<10), 64<<10)
		a.block = make([]byte, 0, max(a.size, n))
	}
	at := len(a.block)
	return a.block[at : at : at+n]
}

// keep marks the first n bytes of what take has returned last as used.
func (a *arena) keep(n int) { a.block = a.block[:len(a.block)+n] }
