// Package batch is one pending change of the store.
package batch

import (
	"holdfast/internal/store"
)

// Batch is one pending change of the store: an ordered overlay that reads see, over a Pebble batch.
type Batch struct{}

// New returns an empty batch.
func New(db *store.DB) *Batch { return nil }
