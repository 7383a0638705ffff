package mvcc

import (
	"context"
	"encoding/binary"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// HashKV hashes what the store logically holds at rev, 0 for the latest: every version above the compacted revision
// and up to rev, and of each key the one that a read at the compacted revision finds. Members that agree on these
// two revisions and on the content agree on the hash, however far each has come with deleting (V5). hashed is the
// revision that was hashed, compacted the compacted revision, NeverCompacted if there is none. As etcd does, it
// takes a negative revision for one at which there was nothing. The errors are ErrCompacted, ErrFutureRevision, that
// of ctx, or a failure of the store.
func (s *Store) HashKV(ctx context.Context, rev kind.Revision) (hash uint32, compacted, hashed kind.Revision, err error) {
	v, err := s.View()
	if err != nil {
		return 0, 0, 0, err
	}
	defer v.Close()
	if rev >= 0 {
		if rev, err = admit(rev, v.revision, v.compacted); err != nil {
			return 0, 0, 0, err
		}
	}
	hash, err = v.hashVersions(ctx, rev)
	return hash, v.compacted, rev, err
}

// Hash hashes all versions and the history that the store logically holds. The errors are that of ctx or a failure of
// the store.
func (s *Store) Hash(ctx context.Context) (uint32, error) {
	v, err := s.View()
	if err != nil {
		return 0, err
	}
	defer v.Close()
	hash, err := v.hashVersions(ctx, v.revision)
	if err != nil {
		return 0, err
	}
	err = v.history(ctx, v.compacted, func(rev kind.Revision, sub uint32, record []byte) error {
		hash = hashRecord(hash, byte(sub), rev, record)
		return nil
	})
	return hash, err
}

// hashRecord takes a record into a hash. Every field has a known place or its length before it.
func hashRecord(hash uint32, what byte, rev kind.Revision, record []byte) uint32 {
	var head [1 + 8 + 4]byte
	head[0] = what
	binary.BigEndian.PutUint64(head[1:], uint64(rev))
	binary.BigEndian.PutUint32(head[9:], uint32(len(record)))
	return crc32.Update(crc32.Update(hash, castagnoli, head[:]), castagnoli, record)
}

func (v *View) hashVersions(ctx context.Context, rev kind.Revision) (hash uint32, err error) {
	err = v.versions(ctx, func(key []byte, mod kind.Revision, row []byte) error {
		if mod > rev {
			return nil
		}
		if len(row) == tombstoneLen {
			hash = hashRecord(hash, 'd', mod, key)
		} else {
			hash = hashRecord(hash, 'p', mod, row)
		}
		return nil
	})
	return hash, err
}

// versions visits what the view logically holds: of each key the versions above the compacted revision, newest
// first, and then the one that a read at the compacted revision finds. Key and row are valid until visit returns.
func (v *View) versions(ctx context.Context, visit func(key []byte, mod kind.Revision, row []byte) error) error {
	it, err := v.snapshot.NewIter(store.FamilyOptions(store.FamilyVersion))
	if err != nil {
		return store.WrapRead("open an iterator over versions of keys", err)
	}
	defer it.Close()
	steps := 0
	for ok := it.First(); ok; {
		if steps++; steps%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		prefix, mod, sound := splitVersionKey(it.Key())
		if !sound {
			return corrupt("a key of the versions has no revision: %x", it.Key())
		}
		if mod <= v.revision {
			row, err := it.ValueAndErr()
			if err != nil {
				return store.WrapRead("read the value of a key", err)
			}
			if mod > v.compacted || len(row) != tombstoneLen {
				if err := visit(userKey(prefix), mod, row); err != nil {
					return err
				}
			}
		}
		if mod <= v.compacted {
			ok = it.NextPrefix()
		} else {
			ok = it.Next()
		}
	}
	return store.WrapRead("read versions of keys", it.Error())
}

// history visits the changes of the view from a revision on, in order.
func (v *View) history(ctx context.Context, from kind.Revision, visit func(rev kind.Revision, sub uint32, record []byte) error) error {
	it, err := v.snapshot.NewIter(&pebble.IterOptions{
		LowerBound: position{revision: max(from, 0)}.key(),
		UpperBound: position{revision: v.revision + 1}.key(),
	})
	if err != nil {
		return store.WrapRead("open an iterator over the history", err)
	}
	defer it.Close()
	steps := 0
	for ok := it.First(); ok; ok = it.Next() {
		if steps++; steps%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		rev, sub, sound := splitHistoryKey(it.Key())
		if !sound {
			return corrupt("a key of the history has no revision: %x", it.Key())
		}
		record, err := it.ValueAndErr()
		if err != nil {
			return store.WrapRead("read a change of the history", err)
		}
		if err := visit(rev, sub, record); err != nil {
			return err
		}
	}
	return store.WrapRead("read the history", it.Error())
}
