package mvcc

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// Importer fills a store that holds no keys yet with changes that happened elsewhere, and keeps their revisions. It has
// one caller, and the store no other.
type Importer struct {
	db    *store.DB
	batch *pebble.Batch
	group []Change // of the revision under way
	last  kind.Revision
}

// importBatch is how many bytes of records the Importer gives to the engine at a time.
const importBatch = 4 << 20

// NewImporter returns an Importer into db. It must be finished or closed.
func NewImporter(db *store.DB) *Importer { return &Importer{db: db, batch: db.NewIndexedBatch()} }

// Add takes the next change: revisions must not fall, and the changes of one come in their order, whatever their Sub says.
// The Importer keeps what it is given. An error says what is wrong with the change, or is a failure of the store.
func (i *Importer) Add(c Change) error {
	switch {
	case c.Revision < FirstRevision || c.Revision < i.last:
		return fmt.Errorf("a change at revision %d comes after revision %d", c.Revision, i.last)
	case len(c.Key) == 0:
		return fmt.Errorf("a change at revision %d has no key", c.Revision)
	case !c.Deleted && (c.Row.Create <= 0 || c.Row.Create > c.Revision || c.Row.Version <= 0):
		return fmt.Errorf("the version of %q at revision %d was created at revision %d and has number %d", c.Key, c.Revision, c.Row.Create, c.Row.Version)
	}
	if c.Revision > i.last {
		if err := i.endRevision(); err != nil {
			return err
		}
		i.last = c.Revision
	}
	i.group = append(i.group, c)
	return nil
}

// NewRow returns the version of a key that a put at revision mod made.
func NewRow(key, value []byte, create, mod kind.Revision, version int64, lease kind.LeaseID) Row {
	_, row := appendRow(make([]byte, 0, rowSize(key, value)), key, value, create, mod, version, lease)
	return row
}

// endRevision writes the changes of the revision under way.
func (i *Importer) endRevision() error {
	last := make(map[string]int, len(i.group)) // the last change of each key
	for sub, c := range i.group {
		last[string(c.Key)] = sub
	}
	for sub, c := range i.group {
		h := change{deleted: c.Deleted, key: c.Key, superseded: last[string(c.Key)] != sub}
		var err error
		if h.previous, err = i.before(c, len(last) == len(i.group)); err != nil {
			return err
		}
		if h.superseded && !c.Deleted {
			h.row = c.Row.Encoded
		}
		if err := i.batch.Set(appendHistoryKey(nil, c.Revision, uint32(sub)), appendChange(nil, h), nil); err != nil {
			return store.WrapRead("write a change", err)
		}
		value := c.Row.Encoded
		if c.Deleted {
			value = binary.BigEndian.AppendUint32(nil, uint32(sub))
		}
		if h.superseded {
			continue
		}
		if err := i.batch.Set(appendVersionKey(nil, c.Key, c.Revision), value, nil); err != nil {
			return store.WrapRead("write a version", err)
		}
	}
	i.group = i.group[:0]
	if i.batch.Len() < importBatch {
		return nil
	}
	return i.flush()
}

// before returns the revision of the version of the key that was live before the revision of c, 0 for none. A version
// with number 1 has none before it, if the key does not change twice in the revision.
func (i *Importer) before(c Change, once bool) (kind.Revision, error) {
	if once && !c.Deleted && c.Row.Version == 1 {
		return 0, nil
	}
	prefix := appendPrefix(nil, c.Key)
	it, err := i.batch.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: append(appendPrefix(nil, c.Key), 0)})
	if err != nil {
		return 0, store.WrapRead("look a version up", err)
	}
	defer it.Close()
	if !it.SeekGE(appendVersionKey(nil, c.Key, c.Revision-1)) {
		return 0, store.WrapRead("look a version up", it.Error())
	}
	_, mod, sound := splitVersionKey(it.Key())
	value, err := it.ValueAndErr()
	if err != nil {
		return 0, store.WrapRead("look a version up", err)
	}
	if !sound || len(value) == tombstoneLen {
		return 0, nil
	}
	return mod, nil
}

func (i *Importer) flush() error {
	if err := i.batch.Commit(pebble.NoSync); err != nil {
		return store.WrapRead("write a batch", err)
	}
	if err := i.batch.Close(); err != nil {
		return store.WrapRead("close a batch", err)
	}
	i.batch = i.db.NewIndexedBatch()
	return nil
}

// Close gives up what was not finished.
func (i *Importer) Close() error { return i.batch.Close() }

// Finish writes what is left, counts what is live, and calls attached with each live key that names a lease, in the order
// of keys; its argument is valid until it returns.
func (i *Importer) Finish(ctx context.Context, attached func(row Row) error) (Counts, error) {
	if err := i.endRevision(); err != nil {
		return Counts{}, err
	}
	if err := i.flush(); err != nil {
		return Counts{}, err
	}
	it, err := i.db.NewIter(store.FamilyOptions(store.FamilyVersion))
	if err != nil {
		return Counts{}, store.WrapRead("count the versions", err)
	}
	defer it.Close()
	var counts Counts
	var key []byte
	for ok := it.First(); ok; ok = it.Next() {
		if counts.Versions++; counts.Versions%1024 == 0 && ctx.Err() != nil {
			return Counts{}, ctx.Err()
		}
		prefix, _, sound := splitVersionKey(it.Key())
		if !sound {
			return Counts{}, corrupt("a key of the versions has no revision: %x", it.Key())
		}
		if bytes.Equal(key, prefix) {
			continue // an older version
		}
		key = append(key[:0], prefix...)
		value, err := it.ValueAndErr()
		if err != nil {
			return Counts{}, store.WrapRead("count the versions", err)
		}
		if len(value) == tombstoneLen {
			continue
		}
		row, err := decodeRow(value)
		if err != nil {
			return Counts{}, corrupt("the version of %q cannot be read: %v", userKey(prefix), err)
		}
		counts.LiveKeys++
		counts.LiveBytes += row.size()
		if row.Lease != 0 {
			if err := attached(row); err != nil {
				return Counts{}, err
			}
		}
	}
	return counts, store.WrapRead("count the versions", it.Error())
}
