package mvcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// Check reads every version and the whole history and tells report, in a sentence each, what does not fit together:
// rows that are not those of their keys, versions that do not follow from each other, changes without a version and
// versions without a change, counters that are wrong. The error is that of ctx or a failure of the store, a checksum
// that does not match included.
func (s *Store) Check(ctx context.Context, report func(problem string)) error {
	v, err := s.View()
	if err != nil {
		return err
	}
	defer v.Close()
	return v.check(ctx, func(format string, args ...any) { report(fmt.Sprintf(format, args...)) })
}

func (v *View) check(ctx context.Context, report func(string, ...any)) error {
	applied, err := v.Applied()
	if err != nil {
		return err
	}
	at, err := readProgress(v.snapshot)
	if err != nil {
		return err
	}
	c := &checker{view: v, report: report, progress: at}
	if err := c.versions(ctx); err != nil {
		return err
	}
	if err := c.history(ctx); err != nil {
		return err
	}
	if at.done > v.compacted {
		report("deleting has reached revision %d, but the store is compacted only to %d", at.done, v.compacted)
	}
	if applied.Revision == v.revision && !c.ahead {
		c.compare("live keys", c.live.LiveKeys, applied.LiveKeys)
		c.compare("live bytes", c.live.LiveBytes, applied.LiveBytes)
		c.compare("versions", c.live.Versions, applied.Versions-at.removed)
	}
	return nil
}

type checker struct {
	view     *View
	report   func(string, ...any)
	progress progress
	live     Counts
	ahead    bool // the store holds changes above the revision of the view

	key     []byte
	started bool // a version of key at or below the view's revision was met
	newer   Row  // the version of key above the one that is looked at, if it was a row
}

func (c *checker) compare(what string, have, want int64) {
	if have != want {
		c.report("the store holds %d %s, but its record says %d", have, what, want)
	}
}

// versions checks the rows and counts them.
func (c *checker) versions(ctx context.Context) error {
	it, err := c.view.snapshot.NewIter(store.FamilyOptions(store.FamilyVersion))
	if err != nil {
		return store.WrapRead("open an iterator over versions of keys", err)
	}
	defer it.Close()
	steps := 0
	for ok := it.First(); ok; ok = it.Next() {
		if steps++; steps%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		prefix, mod, sound := splitVersionKey(it.Key())
		if !sound {
			c.report("a key of the versions has no revision: %x", it.Key())
			continue
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return store.WrapRead("read the value of a key", err)
		}
		if !bytes.Equal(userKey(prefix), c.key) || c.key == nil {
			c.key, c.started, c.newer = bytes.Clone(userKey(prefix)), false, Row{}
		}
		if mod > c.view.revision {
			c.ahead = true
			continue
		}
		if err := c.version(mod, value); err != nil {
			return err
		}
	}
	return store.WrapRead("read versions of keys", it.Error())
}

func (c *checker) version(mod kind.Revision, value []byte) error {
	c.live.Versions++
	first := !c.started
	c.started = true
	if mod > c.progress.dropped.revision {
		if known, err := c.hasChange(mod); err != nil {
			return err
		} else if !known {
			c.report("the version of %q at revision %d has no change in the history", c.key, mod)
		}
	}
	if len(value) == tombstoneLen {
		if c.newer.Exists() && c.newer.Create <= mod {
			c.report("the version of %q at revision %d was created before the delete at %d", c.key, c.newer.Mod, mod)
		}
		c.newer = Row{}
		return nil
	}
	row, err := decodeRow(value)
	if err != nil || row.Mod != mod || !bytes.Equal(row.Key(), c.key) {
		c.report("the row of %q at revision %d is not that of its key", c.key, mod)
		return nil
	}
	if n := c.newer; n.Exists() && n.Create <= mod && (n.Create != row.Create || n.Version <= row.Version) {
		c.report("version %d of %q at revision %d does not follow version %d at %d", n.Version, c.key, n.Mod, row.Version, mod)
	}
	if first {
		c.live.LiveKeys++
		c.live.LiveBytes += row.size()
	}
	row.Encoded = bytes.Clone(row.Encoded)
	c.newer = row
	return nil
}

// hasChange reports whether the history has changes at rev at all; history checks the other direction one by one.
func (c *checker) hasChange(rev kind.Revision) (bool, error) {
	it, err := c.view.snapshot.NewIter(&pebble.IterOptions{
		LowerBound: position{revision: rev}.key(), UpperBound: position{revision: rev + 1}.key(),
	})
	if err != nil {
		return false, store.WrapRead("open an iterator over the history", err)
	}
	defer it.Close()
	found := it.First()
	return found, store.WrapRead("read the history", it.Error())
}

// history checks that every change which no compaction has replaced led to the version that it says.
func (c *checker) history(ctx context.Context) error {
	last := position{}
	return c.view.history(ctx, 0, func(rev kind.Revision, sub uint32, record []byte) error {
		if last.revision > 0 && rev > last.revision+1 && last.revision > c.view.compacted {
			c.report("the history leads from revision %d to %d", last.revision, rev)
		}
		expected := uint32(0)
		if rev == last.revision {
			expected = last.sub + 1
		}
		if sub != expected && rev > c.progress.dropped.revision {
			c.report("the changes of revision %d have a gap before number %d", rev, sub)
		}
		last = position{rev, sub}
		ch, sound := decodeChange(record)
		if !sound {
			c.report("change %d of revision %d is not what was written", sub, rev)
			return nil
		}
		if ch.superseded || rev <= c.view.compacted {
			return nil
		}
		value, closer, err := c.view.snapshot.Get(appendVersionKey(nil, ch.key, rev))
		if errors.Is(err, pebble.ErrNotFound) {
			c.report("change %d of revision %d has no version of %q", sub, rev, ch.key)
			return nil
		}
		if err != nil {
			return store.WrapRead("read a version", err)
		}
		defer closer.Close()
		if (len(value) == tombstoneLen) != ch.deleted {
			c.report("change %d of revision %d and the version of %q disagree whether it was a delete", sub, rev, ch.key)
		}
		return nil
	})
}
