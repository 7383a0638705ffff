package mvcc

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// cursor is what a scan walks on: an iterator of the store, or of the batch over it.
type cursor interface {
	First() bool
	Last() bool
	SeekGE(key []byte) bool
	SeekLT(key []byte) bool
	Next() bool
	NextPrefix() bool
	Key() []byte
	ValueLen() int // without reading the value
	ValueAndErr() ([]byte, error)
	Error() error
	Close() error
}

// stored is the cursor of an iterator of the store.
type stored struct{ *pebble.Iterator }

// ValueLen returns the length of the value without fetching it.
func (c stored) ValueLen() int {
	v := c.LazyValue()
	return v.Len()
}

// scan walks over the keys of the cursor's bounds as they were at rev: one version per key, no tombstones.
type scan struct {
	it     cursor
	rev    kind.Revision
	prefix []byte        // of the key where the scan stands
	mod    kind.Revision // the version where the scan stands
	seek   []byte
	broken error
}

// nearby is how many versions a scan steps over before it seeks. A step costs a tenth of a seek.
const nearby = 4

func (s *scan) first() bool { return s.settle(s.it.First()) }

// next goes to the following key.
func (s *scan) next() bool { return s.settle(s.skip()) }

// find goes to the version of prefix at rev, if the key was there.
func (s *scan) find(prefix []byte) bool {
	s.seek = appendSuffix(append(s.seek[:0], prefix...), s.rev)
	return s.settle(s.it.SeekGE(s.seek)) && bytes.Equal(s.prefix, prefix)
}

// settle goes forward from any version to the first one that is visible.
func (s *scan) settle(valid bool) bool {
	for valid {
		prefix, rev, ok := splitVersionKey(s.it.Key())
		if !ok {
			return s.fail(corrupt("a key of the versions has no revision: %x", s.it.Key()))
		}
		if rev > s.rev {
			valid = s.older(prefix)
			continue
		}
		s.prefix, s.mod = append(s.prefix[:0], prefix...), rev
		if s.it.ValueLen() != tombstoneLen {
			return true
		}
		valid = s.skip()
	}
	return false
}

// older goes to a version of prefix that is not above rev, or beyond the key.
func (s *scan) older(prefix []byte) bool {
	s.prefix = append(s.prefix[:0], prefix...)
	for range nearby {
		if !s.it.Next() {
			return false
		}
		prefix, rev, ok := splitVersionKey(s.it.Key())
		if !ok || rev <= s.rev || !bytes.Equal(prefix, s.prefix) {
			return true
		}
	}
	s.seek = appendSuffix(append(s.seek[:0], s.prefix...), s.rev)
	return s.it.SeekGE(s.seek)
}

// skip leaves the key where the scan stands.
func (s *scan) skip() bool {
	for range nearby {
		if !s.it.Next() {
			return false
		}
		k := s.it.Key()
		if len(k) != len(s.prefix)+suffixLen || !bytes.Equal(k[:len(s.prefix)], s.prefix) {
			return true
		}
	}
	return s.it.NextPrefix()
}

// last goes to the last key, before to the one before.
func (s *scan) last() bool   { return s.settleBack(s.it.Last()) }
func (s *scan) before() bool { return s.settleBack(s.it.SeekLT(s.prefix)) }

// settleBack goes backwards from the oldest version of a key to the first key that has a visible version.
func (s *scan) settleBack(valid bool) bool {
	for valid {
		prefix, rev, ok := splitVersionKey(s.it.Key())
		if !ok {
			return s.fail(corrupt("a key of the versions has no revision: %x", s.it.Key()))
		}
		s.prefix = append(s.prefix[:0], prefix...)
		if rev <= s.rev {
			s.seek = appendSuffix(append(s.seek[:0], s.prefix...), s.rev)
			if !s.it.SeekGE(s.seek) {
				return s.fail(corrupt("the versions of %q changed during a read", userKey(s.prefix)))
			}
			if s.it.ValueLen() != tombstoneLen {
				_, s.mod, _ = splitVersionKey(s.it.Key())
				return true
			}
		}
		valid = s.it.SeekLT(s.prefix)
	}
	return false
}

func (s *scan) fail(err error) bool {
	s.broken = err
	return false
}

// err says why a scan ended, nil if it came to the end of its bounds.
func (s *scan) err() error {
	if s.broken != nil {
		return s.broken
	}
	return store.WrapRead("read versions of keys", s.it.Error())
}

// encoded returns the row where the scan stands. It is valid until the scan moves.
func (s *scan) encoded() ([]byte, error) {
	b, err := s.it.ValueAndErr()
	return b, store.WrapRead("read the value of a key", err)
}

// row decodes the row where the scan stands. It aliases memory that is valid until the scan moves.
func (s *scan) row() (Row, error) {
	b, err := s.encoded()
	if err != nil {
		return Row{}, err
	}
	r, err := decodeRow(b)
	if err != nil || r.Mod != s.mod || !bytes.Equal(r.Key(), userKey(s.prefix)) {
		return Row{}, corrupt("the row of %q at revision %d is not that of its key", userKey(s.prefix), s.mod)
	}
	return r, nil
}
