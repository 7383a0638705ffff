package auth

import (
	"slices"

	"holdfast/internal/command"
)

// keySpan is the keys from start up to, and without, end; all keys from start on if open.
type keySpan struct {
	start, end string
	open       bool
}

// spans are in order and apart from each other: no two touch, so an interval is covered by one of them or not at all.
type spans []keySpan

// add appends the keys of a permission; normal must follow.
func (s spans) add(i command.Interval) spans {
	switch {
	case len(i.Start) == 0 || i.Empty():
		return s
	case i.Shape == command.Point:
		return append(s, keySpan{start: string(i.Start), end: string(i.Start) + "\x00"})
	case i.Shape == command.From:
		return append(s, keySpan{start: string(i.Start), open: true})
	}
	return append(s, keySpan{start: string(i.Start), end: string(i.End)})
}

// normal sorts and merges.
func (s spans) normal() spans {
	slices.SortFunc(s, func(a, b keySpan) int {
		switch {
		case a.start < b.start:
			return -1
		case a.start > b.start:
			return 1
		}
		return 0
	})
	merged := s[:0]
	for _, next := range s {
		if n := len(merged); n > 0 && (merged[n-1].open || next.start <= merged[n-1].end) {
			last := &merged[n-1]
			last.open = last.open || next.open
			last.end = max(last.end, next.end)
			continue
		}
		merged = append(merged, next)
	}
	return slices.Clip(merged)
}

// find returns the one span that may cover keys from key on: the last that does not start above it.
func (s spans) find(key []byte) *keySpan {
	low, high := 0, len(s)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if s[middle].start <= string(key) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == 0 {
		return nil
	}
	return &s[low-1]
}

// cover reports whether every key that may lie in i is in one of the spans. An interval that can hold no key counts
// as its start.
func (s spans) cover(i command.Interval) bool {
	span := s.find(i.Start)
	switch {
	case span == nil:
		return false
	case span.open:
		return true
	case i.Shape == command.From || string(i.Start) >= span.end:
		return false
	}
	return i.Shape == command.Point || string(i.End) <= span.end
}
