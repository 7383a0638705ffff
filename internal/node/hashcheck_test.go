package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/store"
	"holdfast/internal/transport"
)

var sampleHash = keyHash{hash: 0xdeadbeef, compacted: 77, revision: 1 << 40}

// The questions and answers are frozen: members of different builds ask each other during an upgrade.
func TestHashMessageGolden(t *testing.T) {
	golden(t, "hash-question-v1", appendHashQuestion(1<<40))
	golden(t, "hash-answer-v1", appendHashAnswer(sampleHash))
	if got, err := decodeHashAnswer(appendHashAnswer(sampleHash)); err != nil || got != sampleHash {
		t.Errorf("read as %+v, %v", got, err)
	}
	if got, err := decodeHashQuestion(appendHashQuestion(1 << 40)); err != nil || got != 1<<40 {
		t.Errorf("read as %d, %v", got, err)
	}
}

// Whatever is cut, longer, of another version or has a bit that differs is refused.
func TestHashMessageBroken(t *testing.T) {
	question, answer := appendHashQuestion(12), appendHashAnswer(sampleHash)
	refused := func(what string, question, answer []byte) {
		t.Helper()
		if _, err := decodeHashQuestion(question); !errors.Is(err, errHashMessage) {
			t.Errorf("a question %s: %v", what, err)
		}
		if _, err := decodeHashAnswer(answer); !errors.Is(err, errHashMessage) {
			t.Errorf("an answer %s: %v", what, err)
		}
	}
	refused("that is missing", nil, nil)
	refused("in the place of the other", answer, question)
	refused("with a byte more", append(bytes.Clone(question), 0), append(bytes.Clone(answer), 0))
	another := func(b []byte) []byte { return sealHash(append([]byte{hashVersion + 1}, b[1:len(b)-4]...)) }
	refused("of another version", another(question), another(answer))
	for bit := range 8 * len(question) {
		q, a := bytes.Clone(question), bytes.Clone(answer)
		q[bit/8] ^= 1 << (bit % 8)
		a[len(a)-1-bit/8] ^= 1 << (bit % 8)
		refused("with a bit that differs", q, a)
		refused("that is cut", question[:bit/8], answer[:bit/8])
	}
}

// FuzzHashMessage: nothing that arrives can do harm, and what is read is what would be written.
func FuzzHashMessage(f *testing.F) {
	f.Add(appendHashQuestion(12))
	f.Add(appendHashAnswer(sampleHash))
	f.Add([]byte{hashVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		if rev, err := decodeHashQuestion(b); err == nil && !bytes.Equal(appendHashQuestion(rev), b) {
			t.Errorf("%x is read as a question about %d", b, rev)
		}
		if h, err := decodeHashAnswer(b); err == nil && !bytes.Equal(appendHashAnswer(h), b) {
			t.Errorf("%x is read as %+v", b, h)
		}
		// The checksum would hide the rest from chance.
		if len(b) >= 4 {
			sealed := sealHash(append([]byte{hashVersion}, b...))
			if h, err := decodeHashAnswer(sealed); err == nil && !bytes.Equal(appendHashAnswer(h), sealed) {
				t.Errorf("%x is read as %+v", sealed, h)
			}
		}
	})
}

// The majority of the voters decides, of both halves in a joint configuration; who is at other revisions is silent, and a
// learner is judged but decides nothing.
func TestCompareHashes(t *testing.T) {
	ids := func(list ...kind.MemberID) []kind.MemberID { return list }
	at := func(hash uint32) keyHash { return keyHash{hash: hash, compacted: 5, revision: 9} }
	same := map[kind.MemberID]keyHash{1: at(7), 2: at(7), 3: at(7)}
	for name, c := range map[string]struct {
		own                      kind.MemberID
		answers                  map[kind.MemberID]keyHash
		members, voters, leaving []kind.MemberID
		want                     Comparison
	}{
		"all have the same": {1, same, ids(3, 1, 2), ids(1, 2, 3), nil, Comparison{Agreed: ids(1, 2, 3), Decided: true}},
		"another differs": {1, map[kind.MemberID]keyHash{1: at(7), 2: at(8), 3: at(7)}, ids(3, 2, 1), ids(1, 2, 3), nil,
			Comparison{Agreed: ids(1, 3), Differ: ids(2), Decided: true}},
		"this one differs": {1, map[kind.MemberID]keyHash{1: at(8), 2: at(7), 3: at(7)}, ids(1, 2, 3), ids(1, 2, 3), nil,
			Comparison{Agreed: ids(2, 3), Differ: ids(1), Decided: true}},
		"one differs, one is silent": {1, map[kind.MemberID]keyHash{1: at(7), 2: at(8)}, ids(1, 2, 3), ids(1, 2, 3), nil,
			Comparison{Differ: ids(1, 2), Silent: ids(3)}},
		"each has something else": {1, map[kind.MemberID]keyHash{1: at(7), 2: at(8), 3: at(9)}, ids(1, 2, 3), ids(1, 2, 3), nil,
			Comparison{Differ: ids(1, 2, 3)}},
		"half is no majority": {1, map[kind.MemberID]keyHash{1: at(7), 2: at(7), 3: at(8), 4: at(8)}, ids(1, 2, 3, 4), ids(1, 2, 3, 4), nil,
			Comparison{Differ: ids(1, 2, 3, 4)}},
		"alone with an answer": {1, map[kind.MemberID]keyHash{1: at(7)}, ids(1, 2, 3), ids(1, 2, 3), nil, Comparison{Silent: ids(2, 3)}},
		"at another compacted revision": {1, map[kind.MemberID]keyHash{1: at(7), 2: at(7), 3: {hash: 8, compacted: 6, revision: 9}}, ids(1, 2, 3), ids(1, 2, 3), nil,
			Comparison{Agreed: ids(1, 2), Silent: ids(3), Decided: true}},
		"at another revision": {1, map[kind.MemberID]keyHash{1: at(7), 2: {hash: 7, compacted: 5, revision: 8}, 3: {hash: 8, compacted: 5, revision: 8}}, ids(1, 2, 3),
			ids(1, 2, 3), nil, Comparison{Agreed: nil, Silent: ids(2, 3)}},
		"a learner differs": {1, map[kind.MemberID]keyHash{1: at(7), 2: at(7), 3: at(7), 4: at(8)}, ids(4, 1, 2, 3), ids(1, 2, 3), nil,
			Comparison{Agreed: ids(1, 2, 3), Differ: ids(4), Decided: true}},
		"learners are no majority": {1, map[kind.MemberID]keyHash{1: at(7), 2: at(8), 3: at(8), 4: at(8)}, ids(1, 2, 3, 4), ids(1, 2), nil,
			Comparison{Differ: ids(1, 2, 3, 4)}},
		"both halves agree": {1, map[kind.MemberID]keyHash{1: at(7), 2: at(7), 3: at(8), 4: at(7)}, ids(1, 2, 3, 4), ids(1, 2, 4), ids(1, 2, 3),
			Comparison{Agreed: ids(1, 2, 4), Differ: ids(3), Decided: true}},
		"the old half has something else": {1, map[kind.MemberID]keyHash{1: at(7), 2: at(7), 3: at(7), 4: at(8), 5: at(8), 6: at(8)}, ids(1, 2, 3, 4, 5, 6), ids(1, 2, 3),
			ids(4, 5, 6), Comparison{Differ: ids(1, 2, 3, 4, 5, 6)}},
	} {
		c.want.Revision = 9
		got := compareHashes(c.answers[c.own], c.answers, c.members, c.voters, c.leaving)
		if got.Revision != c.want.Revision || got.Decided != c.want.Decided || !slices.Equal(got.Agreed, c.want.Agreed) ||
			!slices.Equal(got.Differ, c.want.Differ) || !slices.Equal(got.Silent, c.want.Silent) {
			t.Errorf("%s: %+v, not %+v", name, got, c.want)
		}
	}
}

// asking is a network over which members ask each other, too.
type asking struct{ *end }

func (a *asking) Call(ctx context.Context, to kind.MemberID, method string, request []byte) ([]byte, error) {
	n := a.net
	n.mu.Lock()
	other := n.mu.ends[to]
	cut := n.mu.cut[[2]kind.MemberID{a.id, to}] || n.mu.cut[[2]kind.MemberID{to, a.id}]
	n.mu.Unlock()
	if other == nil || cut {
		return nil, transport.ErrUnreachable
	}
	return other.node.Call(ctx, a.id, method, request)
}

func ask(c *Config) { c.Transport = &asking{c.Transport.(*end)} }

// forget lets the store of a member lose what it has written: the newest version of a key is changed while it is down.
func (s *seat) forget(key string, by byte) {
	s.t.Helper()
	check(s.t, s.db.Flush()) // what is only in the log would be applied anew
	check(s.t, s.stop())
	defer s.start()
	db, err := store.Open(s.fs, "store", s.id, store.Options{})
	check(s.t, err)
	defer func() { check(s.t, db.Close(true)) }()
	lower, upper := append([]byte{store.FamilyVersion}, key+"\x00"...), append([]byte{store.FamilyVersion}, key+"\x01\x00"...)
	var at, record []byte
	check(s.t, db.Visit(lower, upper, func(k, v []byte) error {
		if at == nil {
			at, record = bytes.Clone(k), bytes.Clone(v)
		}
		return nil
	}))
	if at == nil {
		s.t.Fatalf("there is no version of %s", key)
	}
	if by == 0 {
		check(s.t, db.Delete(at, pebble.NoSync))
	} else {
		record[len(record)-1] ^= by // of the value
		check(s.t, db.Set(at, record, pebble.NoSync))
	}
}

// inStep waits until all that run have applied the same.
func inStep(t *testing.T, all []*seat) {
	t.Helper()
	until(t, "all have applied the same", func() bool {
		first := leader(t, all)
		for _, s := range all {
			if s.running && (s.Status().Applied != first.Status().Applied || s.CurrentRevision() != first.CurrentRevision()) {
				return false
			}
		}
		return true
	})
}

// TestAccuse: what a store has lost after it was written, the running digest does not see; the comparison does, from
// whichever member it is made, and accuses that member alone. Where no majority agrees all are accused.
func TestAccuse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all, holds := guarded(t, 3, ask)
		for _, key := range []string{"a", "b", "c"} {
			write(t, leader(t, all), key, "1")
		}
		inStep(t, all)
		compare := func(s *seat) Comparison {
			t.Helper()
			c, err := s.CompareHashes(t.Context(), 0)
			check(t, err)
			return c
		}
		for _, s := range all {
			if c := compare(s); len(c.Agreed) != 3 || !c.Decided || c.Revision != s.CurrentRevision() {
				t.Errorf("member %v finds %+v", s.id.Member, c)
			}
		}
		bad := others(all, leader(t, all))[0]
		bad.forget("b", 0)
		inStep(t, all)
		write(t, leader(t, all), "d", "1")
		inStep(t, all)
		for _, s := range all {
			if c := compare(s); !slices.Equal(c.Differ, []kind.MemberID{bad.id.Member}) || len(c.Agreed) != 2 || !c.Decided {
				t.Errorf("member %v finds %+v", s.id.Member, c)
			}
			if s.Corrupt() {
				t.Errorf("member %v is accused already", s.id.Member)
			}
		}
		// Below what was lost they have the same.
		if c, err := bad.CompareHashes(t.Context(), 2); err != nil || len(c.Agreed) != 3 || c.Revision != 2 {
			t.Errorf("at revision 2: %+v, %v", c, err)
		}
		if _, err := bad.CompareHashes(t.Context(), 1000); err == nil {
			t.Error("a revision of the future is compared")
		}
		net.cut(bad.id.Member)
		if c := compare(leader(t, others(all, bad))); !slices.Equal(c.Silent, []kind.MemberID{bad.id.Member}) || !c.Decided {
			t.Errorf("with one that cannot be reached: %+v", c)
		}
		net.heal()
		first := leader(t, all)
		inStep(t, all)
		check(t, first.Accuse(t.Context(), compare(first)))
		until(t, "the one that has lost something refuses", bad.Corrupt)
		if n := counted(first.Metrics.differing); n != 1 {
			t.Errorf("%v are counted", n)
		}
		for _, s := range others(all, bad) {
			if s.Corrupt() || !slices.Equal(s.Alarms(), []machine.Alarm{corruptOf(bad)}) {
				t.Errorf("member %v: refuses %v, alarms %v", s.id.Member, s.Corrupt(), s.Alarms())
			}
		}
		_, err := first.Propose(t.Context(), corruptAlarm(command.AlarmClear, bad.id.Member))
		check(t, err)
		until(t, "it serves", func() bool { return !bad.Corrupt() })

		second := others(all, bad)[0]
		second.forget("c", 1)
		inStep(t, all)
		first = leader(t, all)
		c := compare(first)
		if c.Decided || len(c.Differ) != 3 || len(c.Agreed) != 0 {
			t.Errorf("three stores that differ: %+v", c)
		}
		check(t, first.Accuse(t.Context(), c))
		until(t, "all refuse", func() bool { return all[0].Corrupt() && all[1].Corrupt() && all[2].Corrupt() })
		if !slices.Equal(first.Alarms(), []machine.Alarm{{Type: command.AlarmCorrupt}}) {
			t.Errorf("the alarms are %v", first.Alarms())
		}
		if len(holds.causes) != 0 {
			t.Errorf("%v are kept in quarantine", holds.causes)
		}
	})
}

// TestInitialCheck: a member that starts with less than the majority has goes into quarantine; one that finds nobody who
// agrees does not start; one that finds nobody at all does.
func TestInitialCheck(t *testing.T) {
	bubble(t, func(t *testing.T) {
		net, all, holds := guarded(t, 3, ask)
		for _, key := range []string{"a", "b"} {
			write(t, leader(t, all), key, "1")
		}
		inStep(t, all)
		for _, s := range all {
			if err := s.InitialCheck(t.Context()); err != nil || s.Corrupt() {
				t.Errorf("member %v: %v, %s", s.id.Member, err, s.Quarantine())
			}
		}
		bad := others(all, leader(t, all))[0]
		bad.forget("b", 0)
		inStep(t, all)
		net.cut(bad.id.Member)
		if err := bad.InitialCheck(t.Context()); err != nil || bad.Corrupt() {
			t.Errorf("alone: %v, %s", err, bad.Quarantine())
		}
		net.heal()
		inStep(t, all)
		good := others(all, bad)[0]
		if err := good.InitialCheck(t.Context()); err != nil || good.Corrupt() {
			t.Errorf("one that is right: %v, %s", err, good.Quarantine())
		}
		away := others(all, bad)[1]
		check(t, away.stop())
		leader(t, all)
		for _, s := range []*seat{bad, good} {
			if err := s.InitialCheck(t.Context()); err == nil || !strings.Contains(err.Error(), "no majority agrees") || s.Corrupt() {
				t.Errorf("two that differ: %v, %s", err, s.Quarantine())
			}
		}
		away.start()
		inStep(t, all)
		check(t, bad.InitialCheck(t.Context()))
		if !bad.Corrupt() || !strings.Contains(holds.causes[bad.id.Member], "another hash") {
			t.Errorf("one that is wrong: %q, %v", bad.Quarantine(), holds.causes)
		}
		check(t, bad.InitialCheck(t.Context())) // it is in quarantine already
	})
}

// A member that scrubs finds records that do not fit together; it is its disk only if the others have something else.
func TestSuspicious(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, all, _ := guarded(t, 3, ask)
		write(t, leader(t, all), "a", "1")
		inStep(t, all)
		all[0].suspicious(3)
		if all[0].Corrupt() {
			t.Errorf("it is accused although all have the same: %s", all[0].Quarantine())
		}
		all[0].forget("a", 1)
		inStep(t, all)
		all[0].suspicious(3)
		if !all[0].Corrupt() || !strings.HasPrefix(all[0].Quarantine(), "3 records") {
			t.Errorf("it is not accused: %q", all[0].Quarantine())
		}
	})
}

// A question about a revision that a member has not reached is refused, and does not wait.
func TestAnswerHash(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, all := seats(t, 1, nil)
		s := all[0]
		leader(t, all)
		rev := write(t, s, "a", "1").Revision
		b, err := s.Call(t.Context(), 99, CallHash, appendHashQuestion(rev))
		check(t, err)
		if h, err := decodeHashAnswer(b); err != nil || h.revision != rev || h.hash == 0 {
			t.Errorf("the answer is %+v, %v", h, err)
		}
		began := time.Now()
		for _, question := range [][]byte{appendHashQuestion(rev + 1), nil, binary.BigEndian.AppendUint64(nil, 1)} {
			if _, err := s.Call(t.Context(), 99, CallHash, question); err == nil {
				t.Errorf("%x is answered", question)
			}
		}
		if time.Since(began) > time.Second {
			t.Error("a refusal has waited")
		}
	})
}
