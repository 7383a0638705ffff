package machine

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/mvcc"
)

const manyKeys = 4000

// bigEntries fill a store and then empty it with commands that do not fit into one batch: alone, with others before
// and after them in the entry, and in the middle of nested transactions whose compares would come out otherwise
// afterwards.
func bigEntries(r *rig) (entries [][]byte) {
	fill := func(mark string) {
		for at := 0; at < manyKeys; {
			var list []any
			for range 500 {
				list = append(list, put(fmt.Sprintf("k%05d", at), mark))
				at++
			}
			entries = append(entries, r.pack(list...))
		}
	}
	all := &command.DeleteRange{Interval: span("k", "l")}
	exists := command.Compare{Interval: span("k00001", ""), Target: command.CompareVersion, Result: command.Greater}
	first := &command.Range{Interval: span("a", "z"), Limit: 2}
	fill("first")
	entries = append(entries, r.pack(all))
	fill("second")
	entries = append(entries, r.pack(put("before", "1"), put("k00007", "2"), &command.Txn{
		Compares: []command.Compare{exists},
		Success: []command.Op{
			{Put: put("inside", "1")}, {Range: first},
			{Txn: &command.Txn{Compares: []command.Compare{exists}, Success: []command.Op{{Delete: all}, {Put: put("taken", "1")}}}},
			{Txn: &command.Txn{Compares: []command.Compare{exists}, Success: []command.Op{{Delete: all}, {Put: put("j", "1")}}, Failure: []command.Op{{Put: put("never", "1")}}}},
			{Range: first},
		},
		Failure: []command.Op{{Put: put("wrong", "1")}},
	}, put("after", "1")))
	fill("third")
	entries = append(entries, r.pack(&command.Compaction{Revision: 5000}, all, put("k00001", "again"), all))
	fill("fourth")
	// Put, then deleted within one revision: the deletion lies above what the same transaction wrote.
	entries = append(entries, r.pack(&command.Txn{Success: []command.Op{
		{Txn: &command.Txn{Success: []command.Op{{Put: put("k00003", "x")}, {Put: put("k0zzz", "x")}}}},
		{Txn: &command.Txn{Success: []command.Op{{Delete: all}}}},
	}}))
	return append(entries, r.pack(put("last", "1")))
}

// A command that is too large for one batch is whole or not there, whenever the power fails, and is done once (I2).
// Every moment after a spill is tried, with the spill on disk and without.
func TestSpillCrash(t *testing.T) {
	mo := mvcc.Options{SpillBytes: 24 << 10, PendingRows: 700, EventBytes: 64 << 10}
	// What it comes to without any spill.
	plain := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	entries := bigEntries(plain)
	var want []string
	for _, data := range entries {
		plain.apply(data)
		want = append(want, plain.dump())
	}
	wantReplies := plain.sequence
	plain.close(false)

	fs := vfs.NewCrashableMem()
	var r *rig
	type moment struct {
		fs *vfs.MemFS
		at int
	}
	var moments []moment
	at, spills := 0, 0
	r = createRig(t, fs, mo, Options{Spilled: func() {
		spills++
		if spills%2 == 0 {
			if err := r.db.Flush(); err != nil {
				t.Error(err)
			}
		}
		moments = append(moments, moment{fs.CrashClone(vfs.CrashCloneCfg{}), at})
	}})
	replies := 0
	for i, data := range entries {
		at = i
		got, _ := r.apply(data)
		replies += len(got)
		if d := r.dump(); d != want[i] {
			t.Fatalf("entry %d with spills gives\n%s\nwithout\n%s", i, d, want[i])
		}
	}
	r.close(true)
	if reopened := openRig(t, fs, mo, Options{}); reopened.cursor != nil || reopened.dump() != want[len(want)-1] {
		t.Fatalf("after a clean stop the cursor is %+v", reopened.cursor)
	} else {
		reopened.close(false)
	}
	if uint64(replies) != wantReplies || spills < 20 {
		t.Fatalf("%d replies, %d commands, %d spills", replies, wantReplies, spills)
	}

	taken := 0
	for n, m := range moments {
		// The member dies again at the next spill of the second life, once.
		for life, clone := 0, m.fs; ; life++ {
			var again *vfs.MemFS
			var second *rig
			second = openRig(t, clone, mo, Options{Spilled: func() {
				if again == nil && life == 0 {
					if err := second.db.Flush(); err != nil {
						t.Error(err)
					}
					again = clone.CrashClone(vfs.CrashCloneCfg{})
				}
			}})
			from := int(second.Applied().Index) - 1
			if from > m.at {
				t.Fatalf("moment %d: the store stands at entry %d in the middle of entry %d", n, from, m.at)
			}
			if second.cursor != nil {
				taken++
			}
			for i := from; i <= min(m.at+1, len(entries)-1); i++ {
				second.apply(entries[i])
				if i >= m.at {
					if d := second.dump(); d != want[i] {
						t.Fatalf("moment %d, life %d: entry %d gives\n%s\nwant\n%s", n, life, i, d, want[i])
					}
				}
			}
			second.close(false)
			if again == nil {
				break
			}
			clone = again
		}
	}
	if taken < 10 {
		t.Errorf("only %d of %d lives began at a cursor", taken, len(moments))
	}
}

// A cursor that does not fit the log stops the member.
func TestCursorMisfit(t *testing.T) {
	fs := vfs.NewCrashableMem()
	mo := mvcc.Options{SpillBytes: 24 << 10}
	var clone *vfs.MemFS
	var r *rig
	r = createRig(t, fs, mo, Options{Spilled: func() {
		if clone == nil {
			if err := r.db.Flush(); err != nil {
				t.Error(err)
			}
			clone = fs.CrashClone(vfs.CrashCloneCfg{})
		}
	}})
	entries := bigEntries(r)
	for _, data := range entries[:9] {
		r.apply(data)
	}
	r.close(false)
	for name, data := range map[string][]byte{"an empty entry": nil, "no command": r.pack(), "another entry": nil} {
		second := openRig(t, clone.CrashClone(vfs.CrashCloneCfg{}), mo, Options{})
		e := Entry{second.next(), data}
		if name == "another entry" {
			e.Position.Term++
			e.Data = entries[8]
		}
		if err := second.Begin(testLocal).Apply(e); !errors.Is(err, ErrCursor) {
			t.Errorf("%s where a command was interrupted: %v", name, err)
		}
		second.close(false)
	}
	if _, err := decodeCursor([]byte{1, 2, 3}); !errors.Is(err, ErrCursor) {
		t.Errorf("a broken cursor: %v", err)
	}
}
