package transport

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/invariant"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// examples are messages with every field that travels, alone and together.
func examples() []Message {
	type m = raftpb.Message
	full := &m{Type: raftpb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(300)), LogTerm: new(uint64(299)), Index: new(uint64(1 << 40)),
		Commit: new(uint64(7)), Vote: new(uint64(9)), Reject: new(true), RejectHint: new(uint64(5)), Context: []byte("context"),
		Entries: []*raftpb.Entry{
			{Term: new(uint64(300)), Index: new(uint64(1<<40 + 1)), Type: raftpb.EntryNormal.Enum(), Data: []byte("data")},
			{Term: new(uint64(300)), Index: new(uint64(1<<40 + 2)), Type: raftpb.EntryConfChangeV2.Enum()},
			{Data: []byte{}},
			{},
		}}
	rafts := []*m{
		full,
		{Type: raftpb.MsgHeartbeat.Enum(), Term: new(uint64(1)), Commit: new(uint64(0))},
		{Type: raftpb.MsgHeartbeatResp.Enum(), Context: []byte{}},
		{Type: raftpb.MsgAppResp.Enum(), Reject: new(false), Index: new(uint64(12))},
		{Type: raftpb.MsgVote.Enum(), Term: new(uint64(2)), LogTerm: new(uint64(1)), Index: new(uint64(3)), Context: []byte("CampaignTransfer")},
		{Type: raftpb.MsgTransferLeader.Enum(), From: new(uint64(3))},
		{Type: raftpb.MsgTimeoutNow.Enum()}, {Type: raftpb.MsgReadIndex.Enum()}, {Type: raftpb.MsgReadIndexResp.Enum()},
		{Type: raftpb.MsgPreVote.Enum()}, {Type: raftpb.MsgPreVoteResp.Enum()}, {Type: raftpb.MsgVoteResp.Enum()},
	}
	var ms []Message
	for _, r := range rafts {
		if r.From == nil {
			r.From = new(uint64(1))
		}
		r.To = new(uint64(2))
		ms = append(ms, Message{From: 1, To: 2, Kind: KindRaft, Raft: r})
	}
	return append(ms,
		Message{From: 1, To: 2, Kind: KindForward, Payload: []byte("commands")},
		Message{From: 1, To: 2, Kind: KindRefused, Payload: []byte{}},
		Message{From: 1, To: 2, Kind: KindDigest, Payload: []byte{1, 2, 3}})
}

func encode(ms []Message) []byte {
	b, start := appendFrame(nil, frameMessages)
	for i := range ms {
		b = appendMessage(b, &ms[i], 1)
	}
	endFrame(b, start)
	return b
}

func read(b []byte, limit int) (byte, []byte, error) {
	return newFrameReader(pipeOf(b), limit, 0, nil).next(false)
}

// same reports how two messages differ, or nothing.
func same(a, b Message) string {
	if a.From != b.From || a.To != b.To || a.Kind != b.Kind || !bytes.Equal(a.Payload, b.Payload) || (a.Payload == nil) != (b.Payload == nil) {
		return fmt.Sprintf("%v and %v", a, b)
	}
	if !proto.Equal(a.Raft, b.Raft) {
		return fmt.Sprintf("%v\nand %v", a.Raft, b.Raft)
	}
	return ""
}

// What is encoded is decoded to the same, fields that are absent and fields that are zero told apart.
func TestMessagesRoundTrip(t *testing.T) {
	for _, steady := range []bool{false, true} {
		frameKind, body, err := read(encode(examples()), mib)
		if err != nil || frameKind != frameMessages {
			t.Fatal(frameKind, err)
		}
		got, err := messagesDecoder{1, 2, steady}.decode(body)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range examples() {
			if diff := same(got[i], want); diff != "" {
				t.Errorf("message %d: %s", i, diff)
			}
		}
		if !steady {
			clear(body) // nothing refers to it
			for i, want := range examples() {
				if diff := same(got[i], want); diff != "" {
					t.Errorf("message %d depends on the buffer: %s", i, diff)
				}
			}
		}
	}
}

// golden are frames of each kind, and both hellos.
func golden(t testing.TB) map[string][]byte {
	offered, err := offer{7, 1 << 20, &raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(3)),
		Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(10)), Term: new(uint64(3)), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}}}}}}.encode()
	if err != nil {
		t.Fatal(err)
	}
	c := call{number: 5, method: "keep-alive", request: []byte("leases")}
	versions := Hello{1, 2, "1.0.0"}
	return map[string][]byte{
		"hello": hello{min: 1, max: 1, class: ClassData, cluster: testCluster, from: 1, to: 2, versions: versions,
			urls: []string{"http://a:2380", "http://b:2380"}}.encode(),
		"welcome":      welcome{status: statusWelcome, protocol: 1, min: 1, max: 1, cluster: testCluster, member: 2, versions: versions}.encode(),
		"messages":     encode(examples()),
		"probe":        appendProbe(nil, 42),
		"probe-answer": probeAnswer(42, time.Unix(1_700_000_000, 5)),
		"request":      c.append(nil),
		"cancel":       numbersFrame(frameCancel, 5),
		"answer":       appendAnswer(nil, 5, answerOK, []byte("kept")),
		"offer":        offered,
		"next":         numbersFrame(frameNext, 0, 3),
		"chunk":        appendChunk(nil, 3, 0x22620404, []byte("The quick brown fox jumps over the lazy dog")),
		"end":          numbersFrame(frameEnd, 4, 4096, 0x12345678),
		"done":         frame(frameDone),
		"fail":         failFrame(errors.New("no room")),
		"busy":         frame(frameBusy),
		"bye":          frame(frameBye, byte(statusRemoved)),
	}
}

// The bytes of version 1 stay what they are: members of different versions talk to each other during an upgrade.
func TestGoldenFrames(t *testing.T) {
	for name, b := range golden(t) {
		path := filepath.Join("testdata", "v1", name+".hex")
		if *rewrite {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			var lines strings.Builder
			for text := hex.EncodeToString(b); text != ""; {
				n := min(len(text), 100)
				lines.WriteString(text[:n] + "\n")
				text = text[n:]
			}
			if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Errorf("%s is encoded as\n%x\nwant\n%x", name, b, want)
		}
		switch name {
		case "hello":
			if _, err := readHello(bytes.NewReader(want)); err != nil {
				t.Error(err)
			}
		case "welcome":
			body, err := readSealed(bytes.NewReader(want))
			if err == nil {
				_, err = decodeWelcome(body)
			}
			if err != nil {
				t.Error(err)
			}
		default:
			if _, _, err := read(want, mib); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// A bit that flips anywhere in a frame or a hello is noticed (P6).
func TestFlippedBits(t *testing.T) {
	for name, b := range golden(t) {
		for i := range len(b) * 8 {
			flipped := bytes.Clone(b)
			flipped[i/8] ^= 1 << (i % 8)
			var err error
			if name == "hello" || name == "welcome" {
				_, err = readSealed(bytes.NewReader(flipped))
			} else {
				_, _, err = read(flipped, 1<<31)
			}
			if err == nil {
				t.Errorf("%s: bit %d", name, i)
			}
		}
	}
}

// A hello that a later version has made longer is understood.
func TestHelloFromTheFuture(t *testing.T) {
	b := golden(t)["hello"]
	b = seal(append(b, "more"...))
	h, err := readHello(bytes.NewReader(b))
	if err != nil || h.from != 1 || len(h.urls) != 2 {
		t.Errorf("%+v, %v", h, err)
	}
}

// What no member of this version sends is refused: in the name of another, unknown kinds, types and flags, counts that
// cannot be.
func TestHostileMessages(t *testing.T) {
	for _, c := range []struct {
		body []byte
		want string
	}{
		{[]byte{9}, "unknown kind"},
		{[]byte{byte(KindForward), 5, 'a'}, "ends too early"},
		{[]byte{byte(KindRaft), byte(raftpb.MsgHup), 0}, "of the type MsgHup"},
		{[]byte{byte(KindRaft), byte(raftpb.MsgSnap), 0}, "of the type MsgSnap"},
		{[]byte{byte(KindRaft), byte(raftpb.MsgProp), 0}, "of the type MsgProp"},
		{[]byte{byte(KindRaft), 200, 0}, "of the type"},
		{[]byte{byte(KindRaft), byte(raftpb.MsgVote), hasFrom, 7}, "in the name of member 7"},
		{[]byte{byte(KindRaft), byte(raftpb.MsgVote), isReject | 0x80, 1}, "with the fields"},
		{[]byte{byte(KindRaft), byte(raftpb.MsgVote), 0x80, 0x80, 1}, "with the fields"},
		{[]byte{byte(KindRaft), byte(raftpb.MsgApp), 0x80, 8, 0xff, 0xff, 0x7f}, "more than fit"},
		{[]byte{byte(KindRaft), byte(raftpb.MsgApp), 0x80, 8, 1, 0x40}, "an entry with the flags"},
		{[]byte{byte(KindRaft), byte(raftpb.MsgApp), 0x80, 8, 1, entryHasType | 3}, "an entry with the flags"},
	} {
		if _, err := (messagesDecoder{1, 2, true}).decode(c.body); !errors.Is(err, errFrame) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%x: %v, want %q", c.body, err, c.want)
		}
	}
}

// A length alone costs no memory, and one above the limit ends it (P6).
func TestFrameLimits(t *testing.T) {
	if _, _, err := read([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1}, mib); !errors.Is(err, errFrame) || !strings.Contains(err.Error(), "at most 1048576") {
		t.Error(err)
	}
	if _, _, err := read(make([]byte, 9), mib); !errors.Is(err, errFrame) {
		t.Error("a frame without a kind:", err)
	}
	got := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _, _ = read([]byte{0x20, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3}, 1<<31-1)
		}
	})
	if got.AllocedBytesPerOp() > 2*mib {
		t.Errorf("a length of 512 MiB costs %d bytes", got.AllocedBytesPerOp())
	}
}

// Send refuses what does not travel: it is a bug of the caller's.
func TestSendChecksTypes(t *testing.T) {
	a := start(t, 1)
	defer func() {
		if _, ok := recover().(invariant.Violation); !ok {
			t.Error("MsgSnap was taken")
		}
	}()
	a.Send([]Message{{From: 1, To: 2, Kind: KindRaft, Raft: &raftpb.Message{Type: raftpb.MsgSnap.Enum()}}})
}

func FuzzFrame(f *testing.F) {
	for _, b := range golden(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newFrameReader(pipeOf(b), mib, 0, nil)
		for {
			if _, body, err := r.next(len(b)%2 == 0); err != nil {
				return
			} else if len(body) > len(b) {
				t.Fatal("a body out of nothing")
			}
		}
	})
}

// FuzzMessages: a body is decoded or refused, and what is decoded is encoded to the same messages again.
func FuzzMessages(f *testing.F) {
	for _, m := range examples() {
		f.Add(appendMessage(nil, &m, 1))
	}
	f.Add(encode(examples())[frameHeaderBytes:])
	f.Fuzz(func(t *testing.T, body []byte) {
		ms, err := messagesDecoder{1, 2, true}.decode(body)
		if err != nil {
			if !errors.Is(err, errFrame) {
				t.Fatal(err)
			}
			return
		}
		again, err := messagesDecoder{1, 2, false}.decode(encode(ms)[frameHeaderBytes:])
		if err != nil || len(again) != len(ms) {
			t.Fatal(len(again), len(ms), err)
		}
		for i := range ms {
			if diff := same(ms[i], again[i]); diff != "" {
				t.Fatal(diff)
			}
			if ms[i].size() < len(appendMessage(nil, &ms[i], 1)) {
				t.Fatalf("a message of %d bytes counts as %d", len(appendMessage(nil, &ms[i], 1)), ms[i].size())
			}
		}
	})
}

// FuzzHello: so are the bodies of hellos, of calls and of what snapshots are announced and carried by.
func FuzzHello(f *testing.F) {
	for name, b := range golden(f) {
		if name == "hello" || name == "welcome" {
			f.Add(b[helloHeaderBytes:])
		} else {
			f.Add(b[frameHeaderBytes:])
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if h, err := decodeHello(body); err == nil {
			again, err := readHello(bytes.NewReader(h.encode()))
			if err != nil || again.from != h.from || len(again.urls) != len(h.urls) {
				t.Fatalf("%+v\n%+v\n%v", h, again, err)
			}
		}
		if w, err := decodeWelcome(body); err == nil {
			b, err := readSealed(bytes.NewReader(w.encode()))
			if err != nil {
				t.Fatal(err)
			}
			if again, err := decodeWelcome(b); err != nil || again != w {
				t.Fatalf("%+v\n%+v\n%v", w, again, err)
			}
		}
		if q, ok := decodeRequest(body); ok && len(q.body) > len(body) {
			t.Fatal("a request out of nothing")
		}
		if o, err := decodeOffer(body); err == nil {
			if _, err := o.encode(); err != nil && len(body) < kib {
				t.Fatal(err)
			}
		}
		_, _, _, _ = decodeChunk(body)
		_, _ = decodeProbe(body)
		_, _, _ = decodeProbeAnswer(body)
	})
}
