package command

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"holdfast/internal/kind"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// entries are the golden ones; a file of testdata holds each for ever.
func entries() map[string]Entry {
	return map[string]Entry{
		"entry-v1-empty": {Elapsed: 1, Wall: -1},
		"entry-v1-leases": {Elapsed: 2500000000, Wall: 1760000001000000000, Commands: []Command{
			{Kind: KindLeaseGrant, Origin: Origin{Member: 1, Boot: 2, Sequence: 3}, Payload: AppendLeaseGrant(nil, &LeaseGrant{ID: -5, TTL: 60})},
			{Kind: KindLeaseRevoke, Origin: Origin{Member: 1, Boot: 2, Sequence: 4}, Payload: AppendLeaseRevoke(nil, &LeaseRevoke{ID: -5})},
			{Kind: KindLeaseRenew, Origin: Origin{Member: 1, Boot: 2, Sequence: 5}, Payload: AppendLeaseRenew(nil, &LeaseRenew{IDs: []kind.LeaseID{7, 0, -1}})},
			{Kind: KindLeaseExpire, Origin: Origin{Member: 1, Boot: 2, Sequence: 6}, Payload: AppendLeaseExpire(nil, &LeaseExpire{IDs: []kind.LeaseID{1 << 62}})},
		}},
		"entry-v1-members": {Elapsed: 3500000000, Wall: 1760000002000000000, Commands: []Command{
			{Kind: KindMemberPublish, Origin: Origin{Member: 1, Boot: 2, Sequence: 7}, AuthRevision: ByMember,
				Payload: AppendMemberPublish(nil, &MemberPublish{ID: 1 << 63, Name: "Rafał", ClientURLs: []string{"http://a:2379", "https://b:2379"}})},
			{Kind: KindMemberUpdate, Origin: Origin{Member: 1, Boot: 2, Sequence: 8}, User: "root", AuthRevision: 3,
				Payload: AppendMemberUpdate(nil, &MemberUpdate{ID: 7, PeerURLs: []string{"http://a:2380"}})},
			{Kind: KindAlarm, Origin: Origin{Member: 1, Boot: 2, Sequence: 9}, AuthRevision: ByMember,
				Payload: AppendAlarm(nil, &Alarm{Action: AlarmRaise, Member: 7, Type: AlarmCorrupt})},
			{Kind: KindVersionRaise, Origin: Origin{Member: 1, Boot: 2, Sequence: 10}, AuthRevision: ByMember,
				Payload: AppendVersionRaise(nil, &VersionRaise{Version: 2})},
			{Kind: KindMemberChange, Origin: Origin{Member: 1, Boot: 2, Sequence: 11}, Payload: AppendMemberChange(nil, &MemberChange{Steps: []MemberStep{
				{Op: AddVoter, ID: 8, PeerURLs: []string{"http://b:2380", "http://b:2381"}}, {Op: AddLearner, ID: 9, PeerURLs: []string{"http://c:2380"}},
				{Op: PromoteMember, ID: 10}, {Op: RemoveMember, ID: 1 << 63}}})},
		}},
		"entry-v1": {Elapsed: 1500000000, Wall: 1760000000123456789, Commands: []Command{
			{Kind: KindPut, Origin: Origin{Member: 0x8e9e05c52164694d, Boot: 3, Sequence: 1},
				Payload: AppendPut(nil, &Put{Key: []byte("k"), Value: []byte("v"), PrevKV: true})},
			{Kind: KindDelete, Origin: Origin{Member: 1, Boot: 1 << 60, Sequence: 300}, User: "root", AuthRevision: 17,
				Payload: AppendDeleteRange(nil, &DeleteRange{Interval: NewInterval([]byte("a"), []byte{0})})},
			{Kind: KindTxn, Origin: Origin{Member: 1, Boot: 1 << 60, Sequence: 301}, User: "root",
				Payload: AppendTxn(nil, &Txn{
					Compares: []Compare{{Interval: NewInterval([]byte("k"), nil), Target: CompareMod, Result: Greater, Number: 5}},
					Success:  []Op{{Put: &Put{Key: []byte("k"), IgnoreValue: true}}},
					Failure:  []Op{{Range: &Range{Interval: NewInterval([]byte("k"), nil)}}, {Txn: &Txn{}}},
				})},
			{Kind: KindCompact, Origin: Origin{Member: 1, Sequence: 302}, Payload: AppendCompaction(nil, &Compaction{Revision: 9})},
		}},
	}
}

// The format of an entry is frozen: what was written once is read for ever, and written alike.
func TestEntryGolden(t *testing.T) {
	for name, e := range entries() {
		path := filepath.Join("testdata", name+".hex")
		got := AppendEntry(nil, &e)
		if *rewrite {
			if err := os.WriteFile(path, []byte(hex.Dump(got)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if hex.Dump(got) != string(text) {
			t.Errorf("%s is written as\n%s", name, hex.Dump(got))
		}
		d, err := DecodeEntry(undump(t, string(text)))
		if err != nil || !reflect.DeepEqual(d, e) {
			t.Errorf("%s is read as %+v, %v", name, d, err)
		}
	}
}

func undump(t *testing.T, text string) (b []byte) {
	for line := range strings.Lines(text) {
		if len(line) < 60 {
			continue
		}
		part, err := hex.DecodeString(strings.ReplaceAll(line[10:58], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, part...)
	}
	return b
}

// An entry is understood wholly or not at all: no prefix of it, nothing behind it, no unknown version, kind or
// encoding.
func TestEntryStrict(t *testing.T) {
	for name, e := range entries() {
		b := AppendEntry(nil, &e)
		for n := range b {
			if _, err := DecodeEntry(b[:n]); !errors.Is(err, ErrEntry) {
				t.Errorf("%s: the first %d of %d bytes: %v", name, n, len(b), err)
			}
		}
		if _, err := DecodeEntry(append(bytes.Clone(b), 0)); !errors.Is(err, ErrEntry) {
			t.Errorf("%s and a byte: %v", name, err)
		}
		for version := range 256 {
			c := bytes.Clone(b)
			c[0] = byte(version)
			if _, err := DecodeEntry(c); (err == nil) != (version == EntryVersion) {
				t.Errorf("%s with version %d: %v", name, version, err)
			}
		}
	}
	one := Entry{Commands: []Command{{Kind: KindPut}}}
	for kind := range 256 {
		one.Commands[0].Kind = Kind(kind)
		if _, err := DecodeEntry(AppendEntry(nil, &one)); (err == nil) != (kind >= 1 && Kind(kind) <= lastKind) {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
	if _, err := DecodeEntry([]byte{1, 0x80, 0, 0, 0}); !errors.Is(err, ErrEntry) {
		t.Errorf("a number longer than needed: %v", err)
	}
	if _, err := DecodeEntry([]byte{1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}); !errors.Is(err, ErrEntry) {
		t.Errorf("four thousand million commands in no bytes: %v", err)
	}
}

// A reused Entry keeps nothing of what it held before, and the sizes that a proposer packs by are enough.
func TestEntryReuse(t *testing.T) {
	golden := entries()
	e := golden["entry-v1"]
	b := AppendEntry(nil, &e)
	size := EntryHeaderBytes
	for i := range e.Commands {
		size += CommandBytes(&e.Commands[i])
	}
	if len(b) > size {
		t.Errorf("%d bytes, at most %d were promised", len(b), size)
	}
	var d Entry
	for range 2 {
		if err := d.Decode(b); err != nil || !reflect.DeepEqual(d, e) {
			t.Fatalf("%+v, %v", d, err)
		}
		if err := d.Decode([]byte{1, 0, 0, 0}); err != nil || len(d.Commands) != 0 || d.Elapsed != 0 {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { d.Decode(b) }); n > 1 { // the name of the user
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	for _, e := range entries() {
		f.Add(AppendEntry(nil, &e))
	}
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		if err != nil {
			if !errors.Is(err, ErrEntry) {
				t.Fatal(err)
			}
			return
		}
		if again := AppendEntry(nil, &e); !bytes.Equal(again, b) {
			t.Fatalf("%x is written anew as %x", b, again)
		}
	})
}

func BenchmarkDecodeEntry(b *testing.B) {
	e := Entry{}
	payload := AppendPut(nil, &Put{Key: []byte("key"), Value: make([]byte, 256)})
	for i := range 50 {
		e.Commands = append(e.Commands, Command{Kind: KindPut, Origin: Origin{Member: 1, Boot: 2, Sequence: uint64(i)}, Payload: payload})
	}
	data := AppendEntry(nil, &e)
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
