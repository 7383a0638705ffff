package command

import "holdfast/internal/kind"

// The requests of the KV service as values: decoded once, checked, authorised, executed. Byte slices alias the
// bytes they were decoded from; whoever keeps one longer than those bytes copies it.

// Order is the order of a Range's answer, with the numbers of the wire.
type Order int32

// Target is what a Range is sorted by, with the numbers of the wire.
type Target int32

const (
	OrderNone Order = iota
	OrderAscend
	OrderDescend
)

const (
	TargetKey Target = iota
	TargetVersion
	TargetCreate
	TargetMod
	TargetValue
)

// Range reads the keys of an interval.
type Range struct {
	Interval     Interval
	Limit        int64         // at most so many keys; 0 means all
	Revision     kind.Revision // read as of this revision; 0 or less means the latest
	Order        Order
	Target       Target
	Serializable bool // the member's own state will do
	KeysOnly     bool
	CountOnly    bool
	MinMod       kind.Revision // the four filters; 0 means none
	MaxMod       kind.Revision
	MinCreate    kind.Revision
	MaxCreate    kind.Revision
}

// Put writes one key.
type Put struct {
	Key         []byte
	Value       []byte
	Lease       kind.LeaseID
	PrevKV      bool
	IgnoreValue bool
	IgnoreLease bool
}

// DeleteRange deletes the keys of an interval.
type DeleteRange struct {
	Interval Interval
	PrevKV   bool
}

// CompareResult and CompareTarget have the numbers of the wire.
type CompareResult int32

// CompareTarget is the property of a key that a Compare looks at.
type CompareTarget int32

const (
	Equal CompareResult = iota
	Greater
	Less
	NotEqual
)

const (
	CompareVersion CompareTarget = iota
	CompareCreate
	CompareMod
	CompareValue
	CompareLease
)

// Compare is one condition of a transaction; over an interval it holds only if it holds for every key in it.
type Compare struct {
	Interval Interval
	Result   CompareResult
	Target   CompareTarget
	Number   int64  // the operand of every target but CompareValue
	Value    []byte // the operand of CompareValue
}

// Op is one operation of a transaction: exactly one field is set, or none when the client sent an empty one.
type Op struct {
	Range  *Range
	Put    *Put
	Delete *DeleteRange
	Txn    *Txn
}

// Txn is a transaction: if all compares hold, Success runs, otherwise Failure.
type Txn struct {
	Compares []Compare
	Success  []Op
	Failure  []Op
}

// Compaction drops the history below Revision.
type Compaction struct {
	Revision kind.Revision
	Physical bool // the caller waits until the space is free
}
