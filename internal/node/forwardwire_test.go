package node

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

	"holdfast/internal/command"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".hex")
	if *rewrite {
		check(t, os.WriteFile(path, []byte(hex.EncodeToString(got)+"\n"), 0o644))
	}
	want, err := os.ReadFile(path)
	check(t, err)
	if hex.EncodeToString(got) != strings.TrimSpace(string(want)) {
		t.Errorf("%s is written as %x", name, got)
	}
}

func encodeForward(f forward) []byte {
	b := appendForwardHeader(nil, f.term, f.number, len(f.commands))
	for i := range f.commands {
		b = command.AppendCommand(b, &f.commands[i])
	}
	return b
}

func sampleForward() forward {
	f := forward{term: 7, number: 300, boot: 1 << 40}
	for i := range uint64(3) {
		c := put("key", "value")
		c.Origin = command.Origin{Member: 0xabcdef, Boot: 1 << 40, Sequence: 1000 + i}
		f.commands = append(f.commands, c)
	}
	f.commands[1].User, f.commands[1].AuthRevision = "alice", 3
	return f
}

// The payloads are frozen: members of different builds talk to each other during an upgrade.
func TestPayloadGolden(t *testing.T) {
	f := sampleForward()
	golden(t, "forward-v1", encodeForward(f))
	if got, err := decodeForward(encodeForward(f)); err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("read as %+v, %v", got, err)
	}
	r := refusal{reason: reasonText, term: 7, text: "unhealthy cluster", sequences: []uint64{1000, 1001, 70_000}}
	golden(t, "refused-v1", appendRefusal(nil, &r))
	if got, err := decodeRefusal(appendRefusal(nil, &r)); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("read as %+v, %v", got, err)
	}
}

// Whatever is cut, added or of another version is refused.
func TestPayloadBroken(t *testing.T) {
	forwardBytes, refusalBytes := encodeForward(sampleForward()), appendRefusal(nil, &refusal{reason: reasonBusy, term: 7, sequences: []uint64{1, 2}})
	for n := range forwardBytes {
		if _, err := decodeForward(forwardBytes[:n]); !errors.Is(err, errPayload) {
			t.Errorf("a forward cut to %d: %v", n, err)
		}
	}
	for n := range refusalBytes {
		if _, err := decodeRefusal(refusalBytes[:n]); !errors.Is(err, errPayload) {
			t.Errorf("a refusal cut to %d: %v", n, err)
		}
	}
	mixed := sampleForward()
	mixed.commands[2].Origin.Member++
	for what, b := range map[string][]byte{
		"another kind":    append([]byte{'R'}, forwardBytes[1:]...),
		"another version": append([]byte{'F', 2}, forwardBytes[2:]...),
		"a byte more":     append(bytes.Clone(forwardBytes), 0),
		"no command":      appendForwardHeader(nil, 1, 1, 0),
		"several members": encodeForward(mixed),
	} {
		if _, err := decodeForward(b); !errors.Is(err, errPayload) {
			t.Errorf("a forward with %s: %v", what, err)
		}
	}
	for what, b := range map[string][]byte{
		"no sequences":      appendRefusal(nil, &refusal{reason: reasonBusy, term: 7}),
		"an unknown reason": appendRefusal(nil, &refusal{reason: 9, term: 7, sequences: []uint64{1}}),
		"a byte more":       append(bytes.Clone(refusalBytes), 0),
		"a sequence twice":  {'R', 1, 2, 7, 0, 2, 1, 0},
		"too many":          {'R', 1, 2, 7, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1},
		"a long text":       {'R', 1, 2, 7, 0xff, 0xff, 0x03, 1, 1},
	} {
		if _, err := decodeRefusal(b); !errors.Is(err, errPayload) {
			t.Errorf("a refusal with %s: %v", what, err)
		}
	}
}

// FuzzForward: nothing that arrives can do harm, and what is read is what would be written.
func FuzzForward(f *testing.F) {
	f.Add(encodeForward(sampleForward()))
	f.Add(appendForwardHeader(nil, 1, 1, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeForward(b)
		if err == nil && !bytes.Equal(encodeForward(got), b) {
			t.Errorf("%x is read as %+v", b, got)
		}
	})
}

// FuzzRefusal is FuzzForward for refusals.
func FuzzRefusal(f *testing.F) {
	f.Add(appendRefusal(nil, &refusal{reason: reasonText, term: 7, text: "no", sequences: []uint64{1, 5}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeRefusal(b)
		if err == nil && !bytes.Equal(appendRefusal(nil, &got), b) {
			t.Errorf("%x is read as %+v", b, got)
		}
	})
}
