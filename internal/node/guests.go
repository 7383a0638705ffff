package node

import (
	"slices"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// The bounds of what a leader holds for one other member before it is packed. A member sends less than that ahead.
const (
	maxGuestCount = 1 << 16
	maxGuestBytes = 64 << 20
)

// guests are the commands of other members that wait with the leader, and belong to one term of its office. Each
// member has a lane of its own, and an entry takes from all lanes alike, so that no member's share falls to zero. They
// are the loop's.
//
// Which forwards have come is remembered beyond the term, until the member leads in another.
type guests struct {
	term  kind.Term // the last in which this member has taken forwards, 0 if there is none
	over  bool      // it does not lead in that term any more
	lanes []*lane   // ordered by member, those of members that have sent something in this term
	seen  map[life]*window
	count int
	bytes int
}

// life is one life of one member.
type life struct {
	member kind.MemberID
	boot   uint64
}

// lane is what one member has sent.
type lane struct {
	member kind.MemberID
	waits  []command.Command // oldest first
	bytes  int
}

// begin starts a term with empty lanes.
func (g *guests) begin(term kind.Term) {
	*g = guests{term: term, seen: make(map[life]*window)}
}

// leave empties the lanes at the end of a term of office.
func (g *guests) leave() {
	*g = guests{term: g.term, over: true, seen: g.seen}
}

// first reports whether the forward with this number is not known yet. One that comes twice must not be taken twice,
// nor refused: its first copy may be in the log.
func (g *guests) first(from life, number uint64) bool {
	w := g.seen[from]
	if w == nil {
		w = new(window)
		g.seen[from] = w
	}
	return w.add(number)
}

// room reports whether a lane has room for one more forward.
func (g *guests) room(member kind.MemberID) bool {
	l := g.lane(member)
	return len(l.waits) < maxGuestCount && l.bytes < maxGuestBytes
}

func (g *guests) lane(member kind.MemberID) *lane {
	i, found := slices.BinarySearchFunc(g.lanes, member, func(l *lane, id kind.MemberID) int {
		switch {
		case l.member < id:
			return -1
		case l.member > id:
			return 1
		}
		return 0
	})
	if !found {
		g.lanes = slices.Insert(g.lanes, i, &lane{member: member})
	}
	return g.lanes[i]
}

// put lets a member's command wait.
func (g *guests) put(member kind.MemberID, c command.Command) {
	l := g.lane(member)
	l.waits = append(l.waits, c)
	l.bytes += len(c.Payload)
	g.count++
	g.bytes += len(c.Payload)
}

// busy is how many members have commands that wait.
func (g *guests) busy() (lanes int) {
	for _, l := range g.lanes {
		if len(l.waits) > 0 {
			lanes++
		}
	}
	return lanes
}

// take moves commands into batch, from each lane at least one and otherwise up to about share bytes.
func (g *guests) take(batch []command.Command, share int) []command.Command {
	for _, l := range g.lanes {
		bytes, i := 0, 0
		for ; i < len(l.waits); i++ {
			n := len(l.waits[i].Payload)
			if i > 0 && bytes+n > share {
				break
			}
			bytes += n
			batch = append(batch, l.waits[i])
		}
		rest := copy(l.waits, l.waits[i:])
		clear(l.waits[rest:])
		l.waits = l.waits[:rest]
		l.bytes -= bytes
		g.count -= i
		g.bytes -= bytes
	}
	return batch
}

// window remembers which numbers of an ascending series have come. What lies further back than it reaches counts as
// known: better lost than taken twice.
type window struct {
	highest uint64
	before  uint64 // bit i: highest-1-i has come
}

const windowReach = 64

// add notes a number and reports whether it is new.
func (w *window) add(number uint64) bool {
	switch {
	case number > w.highest:
		step := number - w.highest
		if step > windowReach {
			w.before = 0
		} else {
			w.before = w.before<<step | 1<<(step-1)
		}
		if w.highest == 0 {
			w.before = 0 // nothing had come before
		}
		w.highest = number
		return true
	case number == w.highest || w.highest-number > windowReach:
		return false
	}
	bit := uint64(1) << (w.highest - number - 1)
	if w.before&bit != 0 {
		return false
	}
	w.before |= bit
	return true
}
