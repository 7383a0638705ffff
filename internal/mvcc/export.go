package mvcc

import (
	"context"

	"holdfast/internal/kind"
)

// Change is one change of a key, as it leaves for another format or comes from one.
type Change struct {
	Revision kind.Revision
	Sub      uint32 // its place among the changes of the revision
	Key      []byte
	Deleted  bool
	Row      Row // what was put; of a delete the zero Row
}

// EachVersion visits the versions of keys that the view logically holds, in the order of keys, and tells of each its row:
// all that a read at or above the compacted revision can find. Deletes are not among them. What visit is given is
// valid until it returns. The error is that of ctx, of visit, or a failure of the store.
func (v *View) EachVersion(ctx context.Context, visit func(row Row) error) error {
	return v.versions(ctx, func(_ []byte, _ kind.Revision, value []byte) error {
		if len(value) == tombstoneLen {
			return nil
		}
		row, err := decodeRow(value)
		if err != nil {
			return corrupt("a version of a key cannot be read: %v", err)
		}
		return visit(row)
	})
}

// EachChange visits the changes from the compacted revision on, in order. The row of a put is there only if the key
// changed again in the same revision: otherwise it is the version that EachVersion shows. What visit is given is valid
// until it returns. The error is that of ctx, of visit, or a failure of the store.
func (v *View) EachChange(ctx context.Context, visit func(c Change) error) error {
	return v.history(ctx, v.compacted, func(rev kind.Revision, sub uint32, record []byte) error {
		c, sound := decodeChange(record)
		if !sound {
			return corrupt("change %d of revision %d cannot be read", sub, rev)
		}
		out := Change{Revision: rev, Sub: sub, Key: c.key, Deleted: c.deleted}
		if len(c.row) > 0 {
			row, err := decodeRow(c.row)
			if err != nil {
				return corrupt("change %d of revision %d has a row that cannot be read: %v", sub, rev, err)
			}
			out.Row = row
		}
		return visit(out)
	})
}
