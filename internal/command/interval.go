package command

import "bytes"

// Interval is a normalised range of keys. The wire's (key, range_end) pair is turned into one exactly once, by
// NewInterval; whoever authorises, reads or deletes sees this value and nothing else, so that what is checked is
// what is done (etcd's advisory GHSA-xg4h-6gfc-h4m8 came from two readings of one range_end).
type Interval struct {
	Shape Shape
	Start []byte // the only key of a Point, otherwise the first key that may be inside
	End   []byte // the first key outside; only a Span has one
}

// Shape tells how an Interval is bounded.
type Shape uint8

const (
	Point Shape = iota // exactly Start
	Span               // Start <= key < End; empty when End <= Start
	From               // Start <= key
)

// NewInterval reads the wire's pair: no end means the key alone, an end of one zero byte means every key from
// key on, anything else is exclusive. A nil and an empty end are the same thing.
func NewInterval(key, end []byte) Interval {
	switch {
	case len(end) == 0:
		return Interval{Shape: Point, Start: key}
	case len(end) == 1 && end[0] == 0:
		return Interval{Shape: From, Start: key}
	default:
		return Interval{Shape: Span, Start: key, End: end}
	}
}

// Wire returns the pair that NewInterval would read as i.
func (i Interval) Wire() (key, end []byte) {
	switch i.Shape {
	case From:
		return i.Start, []byte{0}
	case Span:
		return i.Start, i.End
	default:
		return i.Start, nil
	}
}

// Contains reports whether key lies inside.
func (i Interval) Contains(key []byte) bool {
	switch i.Shape {
	case Point:
		return bytes.Equal(key, i.Start)
	case From:
		return bytes.Compare(key, i.Start) >= 0
	default:
		return bytes.Compare(key, i.Start) >= 0 && bytes.Compare(key, i.End) < 0
	}
}

// Empty reports whether no key at all can lie inside.
func (i Interval) Empty() bool { return i.Shape == Span && bytes.Compare(i.End, i.Start) <= 0 }
