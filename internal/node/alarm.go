package node

import "holdfast/internal/kind"

// Alarm is a warning about a member that stands until its cause is gone.
type Alarm struct {
	Member kind.MemberID
	Kind   AlarmKind
}

// AlarmKind says what an alarm is about, with the numbers of the wire.
type AlarmKind int32

const (
	AlarmNoSpace AlarmKind = 1 // the member has no room for writes
	AlarmCorrupt AlarmKind = 2 // the member's state differs from the cluster's
)
