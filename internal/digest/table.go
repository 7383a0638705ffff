package digest

import (
	"slices"
	"time"

	"holdfast/internal/kind"
)

// Mark is a digest at one of the indexes at which members compare.
type Mark struct {
	Index  kind.Index
	Digest uint64
}

// Voters are those whose digests count at an index. Outgoing is the other half of a joint configuration, empty otherwise.
type Voters struct {
	Incoming, Outgoing []kind.MemberID
}

// Standing is what is known of a member's own state.
type Standing uint8

// The standings.
const (
	Unjudged Standing = iota // nobody has contradicted it, and no majority has confirmed it yet
	Agrees                   // at the last index that was decided it has the majority's digest
	Doubtful                 // a majority has spoken at an index, and no majority agrees
	Differs                  // a majority has another digest
)

func (s Standing) String() string {
	switch s {
	case Agrees:
		return "agrees"
	case Doubtful:
		return "doubtful"
	case Differs:
		return "differs"
	}
	return "unjudged"
}

// Verdict is what a Table knows.
type Verdict struct {
	Standing Standing
	At       Mark   // the member's own mark at which Standing was found; zero while Unjudged
	Majority uint64 // what the majority has there, if one agrees
	// Found are other members that a majority contradicts and that were not known to differ at the last verdict, by id.
	Found []Differing
	// Healed are those that were known to differ and have agreed with a majority since, by id.
	Healed []kind.MemberID
}

// Differing is a member whose digest is not the majority's.
type Differing struct {
	Member   kind.MemberID
	Index    kind.Index
	Digest   uint64
	Majority uint64
}

// Rows is how many indexes a Table remembers. At one every half second that is the last minute.
const Rows = 128

// maxReporters bounds who is remembered for one index; a cluster has far fewer members.
const maxReporters = 64

// Patience is how long those who have not spoken are waited for, after a majority has and does not agree.
const Patience = 700 * time.Millisecond

// Table is what one member knows of everybody's digests.
type Table struct {
	self  kind.MemberID
	rows  []*row                       // by index, ascending
	known map[kind.MemberID]kind.Index // who differs, and the last index at which that was found
	fixed Verdict                      // once the member itself differs (D3)
}

// row is one index.
type row struct {
	index    kind.Index
	reached  bool // by this member; then voters are known
	voters   Voters
	digests  map[kind.MemberID]uint64 // this member's own among them, once it has reached the index
	split    bool                     // a majority has spoken and does not agree
	since    time.Duration            // when that was first seen
	decided  bool
	majority uint64
}

// New makes the table of a member.
func New(self kind.MemberID) *Table {
	return &Table{self: self, known: map[kind.MemberID]kind.Index{}}
}

// Reached tells that this member's machine has reached an index, and who votes there.
func (t *Table) Reached(m Mark, voters Voters) {
	r := t.row(m.Index)
	if r == nil {
		return
	}
	r.reached = true
	r.voters = Voters{slices.Clone(voters.Incoming), slices.Clone(voters.Outgoing)}
	r.digests[t.self] = m.Digest
	r.decide()
}

// Heard takes what another member has reported. A later report about an index replaces an earlier one: the member was
// started anew in between.
func (t *Table) Heard(from kind.MemberID, marks []Mark) {
	if from == t.self {
		return
	}
	for _, m := range marks {
		r := t.row(m.Index)
		if r == nil {
			continue
		}
		if _, known := r.digests[from]; !known && len(r.digests) >= maxReporters {
			continue
		}
		r.digests[from] = m.Digest
		r.decide()
	}
}

// Adopted tells that another state has taken the place of this member's own, as after a snapshot: what the member has
// said of its own is about a state that is gone.
func (t *Table) Adopted() {
	t.fixed = Verdict{}
	for _, r := range t.rows {
		r.reached = false
		r.decide()
	}
}

// Forget drops what is known of members that are not in the cluster any more.
func (t *Table) Forget(gone func(kind.MemberID) bool) {
	for id := range t.known {
		if gone(id) {
			delete(t.known, id)
		}
	}
}

// row returns the row of an index, and makes it. It returns nil for one that is older than all that is remembered.
func (t *Table) row(index kind.Index) *row {
	i, found := slices.BinarySearchFunc(t.rows, index, func(r *row, index kind.Index) int {
		switch {
		case r.index < index:
			return -1
		case r.index > index:
			return 1
		}
		return 0
	})
	if found {
		return t.rows[i]
	}
	if len(t.rows) == Rows {
		if i == 0 {
			return nil
		}
		t.rows = slices.Delete(t.rows, 0, 1)
		i--
	}
	r := &row{index: index, digests: map[kind.MemberID]uint64{}}
	t.rows = slices.Insert(t.rows, i, r)
	return r
}

// Recent returns this member's last marks, the newest first, at most n.
func (t *Table) Recent(n int) []Mark {
	var marks []Mark
	for i := len(t.rows) - 1; i >= 0 && len(marks) < n; i-- {
		if r := t.rows[i]; r.reached {
			marks = append(marks, Mark{r.index, r.digests[t.self]})
		}
	}
	return marks
}

// At returns this member's mark at an index, if it is remembered.
func (t *Table) At(index kind.Index) (Mark, bool) {
	for _, r := range t.rows {
		if r.index == index && r.reached {
			return Mark{index, r.digests[t.self]}, true
		}
	}
	return Mark{}, false
}

// Wants returns the newest index that this member has reached and of which nothing is decided yet; 0 if there is none.
// Asking the others at it brings back what was lost.
func (t *Table) Wants() kind.Index {
	for i := len(t.rows) - 1; i >= 0; i-- {
		if r := t.rows[i]; r.reached {
			if r.decided {
				return 0
			}
			return r.index
		}
	}
	return 0
}
