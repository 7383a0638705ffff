package command

import (
	"bytes"
	"slices"
)

// One branch of a transaction must not write a key twice: put it twice, or put it and delete it. The rule is
// etcd's to the letter, in these points too:
//
//   - two branches of one transaction exclude each other and may put the same key;
//   - what a nested transaction puts collides with the deletions of the level round it and of the transactions
//     nested there before it, not with those of the later ones;
//   - a deletion without an upper bound collides with nothing. Clients replace everything with
//     [delete from "\x00" on, put x]; the operations run in order.

func (t *Txn) checkOverlap() error {
	for _, branch := range [2][]Op{t.Success, t.Failure} {
		if simple(branch) {
			if twice(branch) {
				return ErrDuplicateKey
			}
			continue
		}
		if _, _, err := writes(branch); err != nil {
			return err
		}
	}
	return nil
}

// simple reports whether a branch is short and flat, so that comparing every pair is the quickest way.
func simple(branch []Op) bool {
	const few = 8
	if len(branch) > few {
		return false
	}
	for i := range branch {
		if branch[i].Txn != nil {
			return false
		}
	}
	return true
}

// twice is the rule for a simple branch.
func twice(branch []Op) bool {
	for i := range branch {
		put := branch[i].Put
		if put == nil {
			continue
		}
		for j := range branch {
			switch o := &branch[j]; {
			case o.Put != nil && j < i && bytes.Equal(o.Put.Key, put.Key):
				return true
			case o.Delete != nil && o.Delete.Interval.Shape != From && o.Delete.Interval.Contains(put.Key):
				return true
			}
		}
	}
	return false
}

// writes collects what a branch puts and deletes, nested transactions included, and refuses it where that
// collides.
func writes(branch []Op) (puts map[string]struct{}, deletes spans, err error) {
	for i := range branch {
		if d := branch[i].Delete; d != nil {
			deletes = append(deletes, spanOf(d.Interval)...)
		}
	}
	deletes = deletes.normal()

	puts = make(map[string]struct{})
	for i := range branch {
		nested := branch[i].Txn
		if nested == nil {
			continue
		}
		putsThen, deletesThen, err := writes(nested.Success)
		if err != nil {
			return nil, nil, err
		}
		putsElse, deletesElse, err := writes(nested.Failure)
		if err != nil {
			return nil, nil, err
		}
		for _, side := range [2]map[string]struct{}{putsThen, putsElse} {
			for key := range side {
				if _, ok := puts[key]; ok || deletes.contain(key) {
					return nil, nil, ErrDuplicateKey
				}
			}
		}
		puts = union(puts, putsThen)
		puts = union(puts, putsElse)
		deletes = slices.Concat(deletes, deletesThen, deletesElse).normal()
	}

	for i := range branch {
		put := branch[i].Put
		if put == nil {
			continue
		}
		key := string(put.Key)
		if _, ok := puts[key]; ok || deletes.contain(key) {
			return nil, nil, ErrDuplicateKey
		}
		puts[key] = struct{}{}
	}
	return puts, deletes, nil
}

// union adds the smaller set to the larger, so that a deep nest costs no more than its keys.
func union(a, b map[string]struct{}) map[string]struct{} {
	if len(a) < len(b) {
		a, b = b, a
	}
	for key := range b {
		a[key] = struct{}{}
	}
	return a
}

// keySpan is the keys from start up to, and without, end.
type keySpan struct{ start, end string }

// spans are in order and apart from each other after normal.
type spans []keySpan

// spanOf returns the keys that a deletion collides on: none for one without an upper bound.
func spanOf(i Interval) spans {
	switch {
	case i.Shape == Point:
		return spans{{string(i.Start), string(i.Start) + "\x00"}}
	case i.Shape == From || i.Empty():
		return nil
	}
	return spans{{string(i.Start), string(i.End)}}
}

func (s spans) normal() spans {
	if len(s) < 2 {
		return s
	}
	slices.SortFunc(s, func(a, b keySpan) int {
		switch {
		case a.start < b.start:
			return -1
		case a.start > b.start:
			return 1
		}
		return 0
	})
	merged := s[:1]
	for _, next := range s[1:] {
		if last := &merged[len(merged)-1]; next.start <= last.end {
			last.end = max(last.end, next.end)
		} else {
			merged = append(merged, next)
		}
	}
	return merged
}

func (s spans) contain(key string) bool {
	i, found := slices.BinarySearchFunc(s, key, func(a keySpan, key string) int {
		switch {
		case a.start < key:
			return -1
		case a.start > key:
			return 1
		}
		return 0
	})
	return found || i > 0 && key < s[i-1].end
}
