package mvcc

import (
	"errors"
	"fmt"

	"holdfast/internal/store"
)

// Refusals of a read or a compaction. They are values to be matched with errors.Is.
var (
	// ErrCompacted says that the revision asked for is below the compacted revision, or, for a compaction, not
	// above it.
	ErrCompacted = errors.New("required revision has been compacted")
	// ErrFutureRevision says that the revision asked for does not exist yet.
	ErrFutureRevision = errors.New("required revision is a future revision")
	// ErrAnswerTooLarge says that a whole answer would be larger than the budget for all answers together. The
	// error that wraps it names both sizes and what to do.
	ErrAnswerTooLarge = errors.New("answer is too large")
	// ErrClosed says that a view was used after its Close.
	ErrClosed = errors.New("view is closed")
)

// corrupt returns an error of the store's kind of corruption, for records that Pebble's checksums let pass.
func corrupt(format string, args ...any) error {
	return &store.Corruption{Offset: -1, Err: fmt.Errorf(format, args...)}
}
