package machine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/mvcc"
)

// history is a run of entries with what a machine made of each.
type history struct {
	entries [][]byte
	digests []uint64 // after each entry
	replies []string
	final   string
}

// run applies entries in batches of random sizes and with random knobs.
func runHistory(t *testing.T, entries [][]byte, seed uint64, local Local) (h history) {
	random := rand.New(rand.NewPCG(seed, 3))
	fs := vfs.NewMem()
	knobs := func() mvcc.Options {
		return mvcc.Options{PendingRows: 1 + random.IntN(1000), RowCacheBytes: -1 + int64(random.IntN(2))*(1<<20),
			SpillBytes: 64 << random.IntN(14), EventBytes: 1 << (5 + random.IntN(15))}
	}
	r := createRig(t, fs, knobs(), Options{})
	r.sequence = uint64(len(entries)) * 100
	for at := 0; at < len(entries); {
		p := r.Begin(local)
		for range 1 + random.IntN(5) {
			if at == len(entries) {
				break
			}
			if err := p.Apply(Entry{r.next(), entries[at]}); err != nil {
				t.Fatal(err)
			}
			h.digests = append(h.digests, p.Applied().Digest)
			at++
		}
		if err := p.Commit(); err != nil {
			t.Fatal(err)
		}
		for _, reply := range p.Replies() {
			h.replies = append(h.replies, fmt.Sprintf("%+v revision %d %x %v", reply.Origin, reply.Revision, reply.Body, reply.Err))
		}
		if random.IntN(15) == 0 {
			r.close(true)
			r = openRig(t, fs, knobs(), Options{})
		}
	}
	h.entries, h.final = entries, r.dump()
	r.close(false)
	return h
}

func randomEntries(seed uint64) (entries [][]byte) {
	random := rand.New(rand.NewPCG(seed, 2))
	packer := &rig{}
	for i := range 150 {
		var list []any
		for range random.IntN(8) {
			list = append(list, randomCommand(random, int64(i*2)))
		}
		if i%40 == 20 {
			for k := range 1200 {
				list = append(list, put(fmt.Sprintf("c%04d", k), "many"))
			}
			list = append(list, &command.DeleteRange{Interval: span("c", "d")})
		}
		data := packer.pack(list...)
		if random.IntN(10) == 0 {
			data = nil
		}
		entries = append(entries, data)
	}
	return entries
}

// The same entries give the same replies, digests and state on every member (M1), however they are grouped into
// batches, whatever the caches hold, with spills and restarts, and whoever waits for the replies.
func TestSameEntriesSameState(t *testing.T) {
	for seed := range uint64(3) {
		entries := randomEntries(seed)
		one := runHistory(t, entries, 1, testLocal)
		for other := uint64(2); other < 5; other++ {
			two := runHistory(t, entries, other, testLocal)
			for i := range one.digests {
				if one.digests[i] != two.digests[i] {
					t.Fatalf("seed %d: run %d has another digest after entry %d", seed, other, i)
				}
			}
			for i := range one.replies {
				if one.replies[i] != two.replies[i] {
					t.Fatalf("seed %d: run %d replies\n%s\nthe first\n%s", seed, other, two.replies[i], one.replies[i])
				}
			}
			if len(one.replies) != len(two.replies) || one.final != two.final {
				t.Fatalf("seed %d: run %d ends with\n%s\nthe first with\n%s", seed, other, two.final, one.final)
			}
		}
		stranger := runHistory(t, entries, 9, Local{Member: 99})
		if len(stranger.replies) != 0 || stranger.final != one.final {
			t.Fatalf("seed %d: a member that waits for nothing has %d replies and ends with\n%s", seed, len(stranger.replies), stranger.final)
		}
	}
}

// The same commands in other entries give the same keys and, command by command, the same replies; the digest counts
// entries and may differ.
func TestSameCommandsOtherEntries(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	var commands []any
	for i := range 400 {
		commands = append(commands, randomCommand(random, int64(i)))
	}
	var first []string
	var firstHash string
	for _, size := range []int{1, 7, 400} {
		r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
		var got []string
		for at := 0; at < len(commands); at += size {
			replies, _ := r.apply(r.pack(commands[at:min(at+size, len(commands))]...))
			for _, reply := range replies {
				got = append(got, fmt.Sprintf("%d %x %v", reply.Revision, reply.Body, reply.Err))
			}
		}
		hash, _, _, err := r.kv.HashKV(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(hash, r.State().Revision, r.State().LiveKeys, r.State().LiveBytes)
		r.close(false)
		if first == nil {
			first, firstHash = got, text
			continue
		}
		if text != firstHash {
			t.Errorf("entries of %d commands end with %s, of one with %s", size, text, firstHash)
		}
		for i := range first {
			if got[i] != first[i] {
				t.Fatalf("entries of %d commands: command %d %#v\n got %s\nwant %s", size, i, commands[i], got[i], first[i])
			}
		}
	}
}

// A member on which anything comes out otherwise has another digest from that entry on: a value, an effect too many,
// an order, a revision, a compaction.
func TestDigestSees(t *testing.T) {
	base := []any{put("a", "1"), put("b", "2"), &command.DeleteRange{Interval: span("a", "")}, &command.Compaction{Revision: 3}}
	digest := func(commands []any, elapsed uint64) uint64 {
		r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
		defer r.close(false)
		e := command.Entry{Elapsed: elapsed}
		for _, c := range commands {
			e.Commands = append(e.Commands, encodeCommand(c))
		}
		r.apply(command.AppendEntry(nil, &e))
		return r.State().Digest
	}
	seen := map[uint64]int{}
	for i, planted := range [][]any{
		base,
		{put("a", "1"), put("b", "3"), base[2], base[3]},
		{put("b", "2"), put("a", "1"), base[2], base[3]},
		{put("a", "1"), put("b", "2"), base[3]},
		{put("a", "1"), put("b", "2"), base[2]},
		{put("a", "1"), put("b", "2"), base[2], &command.Compaction{Revision: 4}},
		{put("a", "1"), put("a", "1"), put("b", "2"), base[2], base[3]},
		{put("a", ""), put("b", "2"), base[2], base[3]},
		{put("a1", ""), put("b", "2"), base[2], base[3]},
		{&command.Txn{Success: []command.Op{{Put: put("a", "1")}, {Put: put("b", "2")}}}, base[2], base[3]},
	} {
		d := digest(planted, 0)
		if other, ok := seen[d]; ok {
			t.Errorf("histories %d and %d have one digest", other, i)
		}
		seen[d] = i
	}
	if _, ok := seen[digest(base, 1)]; ok {
		t.Error("the digest does not see the cluster's time")
	}
	// Reads, refusals and what is asked back have no effects.
	same := digest([]any{base[0], base[1], &command.Put{Key: []byte("x"), IgnoreLease: true}, base[2], base[3],
		&command.DeleteRange{Interval: span("q", ""), PrevKV: true}, &command.Txn{Success: []command.Op{{Range: &command.Range{Interval: span("a", "z")}}}}}, 0)
	if seen[same] != 0 || len(seen) != 10 {
		t.Error("the digest sees what has no effect")
	}
}

// The digest is part of the machine version: the formula may not change unnoticed.
func TestDigestFrozen(t *testing.T) {
	r := createRig(t, vfs.NewMem(), mvcc.Options{}, Options{})
	defer r.close(false)
	e := command.Entry{Elapsed: 1500}
	for _, c := range []any{put("a", "1"), put("b", ""), &command.DeleteRange{Interval: span("a", "")},
		&command.Txn{Success: []command.Op{{Put: put("c", "3")}, {Delete: &command.DeleteRange{Interval: span("b", "")}}}}, &command.Compaction{Revision: 3}} {
		e.Commands = append(e.Commands, encodeCommand(c))
	}
	r.apply(command.AppendEntry(nil, &e))
	const want = 0xdfef49745dad0d06
	if got := r.State().Digest; got != want {
		t.Errorf("the digest of machine version 1 is %#x, it was %#x", got, uint64(want))
	}
	// The formula once more, from its description.
	d := uint64(0)
	step := func(parts ...any) {
		b := binary.BigEndian.AppendUint64(nil, d)
		for _, part := range parts {
			switch part := part.(type) {
			case rune:
				b = append(b, byte(part))
			case int:
				b = binary.BigEndian.AppendUint64(b, uint64(part))
			case string:
				b = append(binary.BigEndian.AppendUint64(b, uint64(len(part))), part...)
			}
		}
		d = xxhash.Sum64(b)
	}
	step('E', 2, 1500)
	step('P', 2, 2, 1, 0, "a", "1")
	step('P', 3, 3, 1, 0, "b", "")
	step('D', 4, "a")
	step('P', 5, 5, 1, 0, "c", "3", 'D', 5, "b")
	step('C', 3)
	step('N', 1, 12, 5)
	if d != want {
		t.Errorf("the description gives %#x", d)
	}
	if r.State().Revision != kind.Revision(5) {
		t.Errorf("revision %d", r.State().Revision)
	}
}
