package digest

import (
	"reflect"
	"testing"
	"time"

	"holdfast/internal/kind"
)

var three = Voters{Incoming: []kind.MemberID{1, 2, 3}}

// reach lets members reach an index with these digests and tell everybody.
func reach(tables map[kind.MemberID]*Table, voters Voters, index kind.Index, digests map[kind.MemberID]uint64) {
	for id, d := range digests {
		for other, t := range tables {
			if other == id {
				t.Reached(Mark{index, d}, voters)
			} else {
				t.Heard(id, []Mark{{index, d}})
			}
		}
	}
}

func tables(ids ...kind.MemberID) map[kind.MemberID]*Table {
	m := map[kind.MemberID]*Table{}
	for _, id := range ids {
		m[id] = New(id)
	}
	return m
}

func standings(now time.Duration, all map[kind.MemberID]*Table) map[kind.MemberID]Standing {
	m := map[kind.MemberID]Standing{}
	for id, t := range all {
		m[id] = t.Judge(now).Standing
	}
	return m
}

func expect(t *testing.T, title string, got, want map[kind.MemberID]Standing) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, want %v", title, got, want)
	}
}

// The one of three that differs knows it as soon as it has heard the two others, and they know who it is.
func TestOneOfThree(t *testing.T) {
	all := tables(1, 2, 3)
	reach(all, three, 10, map[kind.MemberID]uint64{1: 5, 2: 5, 3: 5})
	expect(t, "all alike", standings(0, all), map[kind.MemberID]Standing{1: Agrees, 2: Agrees, 3: Agrees})
	reach(all, three, 20, map[kind.MemberID]uint64{1: 6, 2: 7, 3: 6})
	v := all[1].Judge(0)
	if want := []Differing{{2, 20, 7, 6}}; v.Standing != Agrees || !reflect.DeepEqual(v.Found, want) {
		t.Errorf("member 1 finds %+v", v)
	}
	if v := all[1].Judge(0); len(v.Found) != 0 {
		t.Errorf("it finds %+v again", v.Found)
	}
	expect(t, "one differs", standings(0, all), map[kind.MemberID]Standing{1: Agrees, 2: Differs, 3: Agrees})
	reach(all, three, 30, map[kind.MemberID]uint64{1: 8, 2: 9, 3: 8})
	if v := all[1].Judge(0); len(v.Found) != 0 {
		t.Errorf("it finds %+v again", v.Found)
	}
	// It stays so until it has taken another state over (D3); what it said before is forgotten then.
	if v := all[2].Judge(time.Hour); v.Standing != Differs || v.At != (Mark{20, 7}) || v.Majority != 6 {
		t.Errorf("member 2 stands at %+v", v)
	}
	all[2].Adopted()
	if v := all[2].Judge(0); v.Standing != Unjudged || len(all[2].Recent(9)) != 0 {
		t.Errorf("after it has adopted another state: %+v", v)
	}
	reach(all, three, 40, map[kind.MemberID]uint64{1: 10, 2: 10, 3: 10})
	if v := all[1].Judge(0); !reflect.DeepEqual(v.Healed, []kind.MemberID{2}) {
		t.Errorf("member 1 finds healed %v", v.Healed)
	}
	expect(t, "repaired", standings(0, all), map[kind.MemberID]Standing{1: Agrees, 2: Agrees, 3: Agrees})
}

// Two that disagree wait for the third a while, and no longer; when it comes it decides.
func TestThirdDecides(t *testing.T) {
	all := tables(1, 2)
	reach(all, three, 10, map[kind.MemberID]uint64{1: 5, 2: 6})
	expect(t, "at once", standings(0, all), map[kind.MemberID]Standing{1: Unjudged, 2: Unjudged})
	expect(t, "a moment before", standings(Patience-1, all), map[kind.MemberID]Standing{1: Unjudged, 2: Unjudged})
	expect(t, "after a while", standings(Patience, all), map[kind.MemberID]Standing{1: Doubtful, 2: Doubtful})
	if all[1].Wants() != 10 {
		t.Errorf("it asks at %d", all[1].Wants())
	}
	for _, table := range all {
		table.Heard(3, []Mark{{10, 5}})
	}
	expect(t, "the third has come", standings(Patience, all), map[kind.MemberID]Standing{1: Agrees, 2: Differs})
	// The third is slow again. What 2 says counts no more.
	reach(all, three, 20, map[kind.MemberID]uint64{1: 7, 2: 8})
	standings(2*Patience, all)
	expect(t, "known to differ", standings(9*Patience, all), map[kind.MemberID]Standing{1: Agrees, 2: Differs})
}

// Of two, or where all have spoken, nobody is waited for.
func TestHopeless(t *testing.T) {
	all := tables(1, 2)
	reach(all, Voters{Incoming: []kind.MemberID{1, 2}}, 10, map[kind.MemberID]uint64{1: 5, 2: 6})
	expect(t, "two", standings(0, all), map[kind.MemberID]Standing{1: Doubtful, 2: Doubtful})
}

// A joint configuration decides by both halves; a learner is judged and does not judge.
func TestJoint(t *testing.T) {
	all := tables(1, 2, 3, 4)
	joint := Voters{Incoming: []kind.MemberID{1}, Outgoing: []kind.MemberID{2, 3}}
	reach(all, joint, 10, map[kind.MemberID]uint64{1: 5, 2: 5, 4: 6})
	expect(t, "half of the outgoing is missing", standings(0, all), map[kind.MemberID]Standing{1: Unjudged, 2: Unjudged, 3: Unjudged, 4: Unjudged})
	reach(all, joint, 10, map[kind.MemberID]uint64{3: 5})
	expect(t, "both halves", standings(0, all), map[kind.MemberID]Standing{1: Agrees, 2: Agrees, 3: Agrees, 4: Differs})
}

// A report that comes before the member itself is there counts when it gets there.
func TestCatchUp(t *testing.T) {
	table := New(3)
	for i := range kind.Index(Rows * 3) {
		for _, id := range []kind.MemberID{1, 2} {
			table.Heard(id, []Mark{{i + 1, uint64(i)}})
		}
	}
	table.Reached(Mark{5, 77}, three) // older than all that is remembered
	if v := table.Judge(0); v.Standing != Unjudged {
		t.Errorf("%+v", v)
	}
	table.Reached(Mark{Rows * 3, 77}, three)
	if v := table.Judge(0); v.Standing != Differs {
		t.Errorf("%+v", v)
	}
	table.Forget(func(kind.MemberID) bool { return true })
	if len(table.known) != 0 {
		t.Error("who has gone is remembered")
	}
}
