package lease

import (
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// Each calls yield for the keys of a lease in order, own changes included, until it returns false. A key is valid only
// during its call, and nothing may be written meanwhile.
func (w *Writer) Each(id kind.LeaseID, yield func(key []byte) bool) {
	it := w.batch.Iter(appendAttachment(nil, id, nil), attachmentsEnd(id))
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		_, key, sound := splitAttachment(it.Key())
		if !sound {
			store.Fail("read the keys of a lease", ErrRecord)
		}
		if !yield(key) {
			return
		}
	}
}
