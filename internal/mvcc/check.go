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
	return s.CheckSlowly(func(int) error { return ctx.Err() }, report)
}

// CheckSlowly is Check that calls pause about every few kilobytes, and ends with its error. It holds a view all the time:
// the space of what is compacted meanwhile comes back when it is over.
func (s *Store) CheckSlowly(pause store.Pause, report func(problem string)) error {
	v, err := s.settledView()
	if err != nil {
		return err
	}
	defer v.Close()
	return v.check(pause, func(format string, args ...any) { report(fmt.Sprintf(format, args...)) })
}

// settledView returns a view that holds nothing which is not published yet, because only then do the counters of its
// applied record count what it shows. The applier publishes right after each batch, so a few attempts find such a moment
// even under load; if not, the counters are not compared this time.
func (s *Store) settledView() (*View, error) {
	for attempt := 1; ; attempt++ {
		v, err := s.View()
		if err != nil {
			return nil, err
		}
		applied, err := v.Applied()
		if err != nil {
			return nil, errors.Join(err, v.Close())
		}
		if applied.Revision == v.revision || attempt == settleAttempts {
			return v, nil
		}
		if err := v.Close(); err != nil {
			return nil, err
		}
	}
}

// settleAttempts is how many views are tried.
const settleAttempts = 100

func (v *View) check(pause store.Pause, report func(string, ...any)) error {
	applied, err := v.Applied()
	if err != nil {
		return err
	}
	at, err := readProgress(v.snapshot)
	if err != nil {
		return err
	}
	c := &checker{view: v, report: report, pause: pause, progress: at}
	if err := c.versions(); err != nil {
		return err
	}
	if err := c.history(); err != nil {
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
	pause    store.Pause
	read     int // bytes since the last pause
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

// checkBytes is about how much is read between two pauses. What a record costs beside its bytes counts as well, in
// bytes that take as long: it is looked up once more, in the other family.
const (
	checkBytes = 8 << 10
	lookUpCost = 512
)

// paused notes bytes that were read.
func (c *checker) paused(bytes int) error {
	if c.read += bytes + lookUpCost; c.read < checkBytes {
		return nil
	}
	bytes, c.read = c.read, 0
	return c.pause(bytes)
}

// versions checks the rows and counts them.
func (c *checker) versions() error {
	changes, err := c.view.snapshot.NewIter(store.FamilyOptions(store.FamilyHistory))
	if err != nil {
		return store.WrapRead("open an iterator over the history", err)
	}
	defer changes.Close()
	it, err := c.view.snapshot.NewIter(store.FamilyOptions(store.FamilyVersion))
	if err != nil {
		return store.WrapRead("open an iterator over versions of keys", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		length := it.LazyValue()
		if err := c.paused(len(it.Key()) + length.Len()); err != nil {
			return err
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
		if err := c.version(changes, mod, value); err != nil {
			return err
		}
	}
	return store.WrapRead("read versions of keys", it.Error())
}

func (c *checker) version(changes *pebble.Iterator, mod kind.Revision, value []byte) error {
	c.live.Versions++
	first := !c.started
	c.started = true
	if mod > c.progress.dropped.revision {
		if known, err := hasChange(changes, mod); err != nil {
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
func hasChange(changes *pebble.Iterator, rev kind.Revision) (bool, error) {
	found := changes.SeekGE(position{revision: rev}.key())
	if found {
		at, _, sound := splitHistoryKey(changes.Key())
		found = sound && at == rev
	}
	return found, store.WrapRead("read the history", changes.Error())
}

// history checks that every change which no compaction has replaced led to the version that it says.
func (c *checker) history() error {
	last := position{}
	return c.view.history(context.Background(), 0, func(rev kind.Revision, sub uint32, record []byte) error {
		if err := c.paused(len(record)); err != nil {
			return err
		}
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
