package machine

import (
	"context"
	"fmt"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/lease"
	"holdfast/internal/mvcc"
	"holdfast/internal/store"
)

// CheckLeases reads all leases, attachments and live keys of a store to which nobody writes meanwhile, and tells report,
// in a sentence each, what does not fit together: a key is attached to the lease that it names and to no other, and
// that lease exists (L1). The error is that of ctx or a failure of the store.
func CheckLeases(ctx context.Context, leases *lease.Table, kv *mvcc.Store, report func(problem string)) (err error) {
	defer func() {
		if e := store.Recovered(recover()); e != nil {
			err = e
		}
	}()
	view, err := kv.View()
	if err != nil {
		return err
	}
	defer view.Close()
	reader := view.Reader(ctx)
	err = leases.Attachments(func(id kind.LeaseID, key []byte) error {
		if _, exists := leases.Get(id); !exists {
			report(fmt.Sprintf("the key %q is attached to lease %v, which does not exist", key, id))
		}
		if row, exists := reader.Get(key); !exists || row.Lease != id {
			report(fmt.Sprintf("the key %q is attached to lease %v, but names lease %v (exists: %v)", key, id, row.Lease, exists))
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	reader.Each(command.NewInterval([]byte{0}, []byte{0}), func(row mvcc.Row) bool {
		if row.Lease == 0 {
			return true
		}
		var attached bool
		if attached, err = leases.Attached(row.Lease, row.Key()); err == nil && !attached {
			report(fmt.Sprintf("the key %q names lease %v and is not attached to it", row.Key(), row.Lease))
		}
		return err == nil
	})
	return err
}
