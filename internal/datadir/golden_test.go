package datadir

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/kind"
)

func golden(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// version2 is what a later program might write: only the frame is known.
func version2(magic string) []byte {
	text := magic + "\nformat 2\nshape unknown\n"
	return fmt.Appendf([]byte(text), "checksum %08x\n", crc32.Checksum([]byte(text), castagnoli))
}

// The files of format 1 in testdata are opened for ever, and are what is written today.
func TestGolden(t *testing.T) {
	files := map[string][]byte{
		"FORMAT.v1":       encodeFormat(identity, "Rafał"),
		"STORE.v1":        encodeStore("store-12"),
		"INITIALISING.v1": encodeMarker([]string{"log", "STORE", "store-1"}),
		"FORMAT.v2":       version2(formatMagic),
		"STORE.v2":        version2(storeMagic),
	}
	for name, content := range files {
		if *rewrite {
			if err := os.WriteFile(filepath.Join("testdata", name), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := golden(t, name); got != string(content) {
			t.Errorf("%s is\n%s\nbut today's program writes\n%s", name, got, content)
		}
	}
	if id, name, err := decodeFormat("FORMAT", []byte(golden(t, "FORMAT.v1"))); err != nil || id != identity || name != "Rafał" {
		t.Error(id, name, err)
	}
	if name, err := decodeStore("STORE", []byte(golden(t, "STORE.v1"))); err != nil || name != "store-12" {
		t.Error(name, err)
	}
	if names, err := decodeMarker("INITIALISING", []byte(golden(t, "INITIALISING.v1"))); err != nil || len(names) != 3 {
		t.Error(names, err)
	}
	if _, _, err := decodeFormat("FORMAT", []byte(golden(t, "FORMAT.v2"))); !errors.Is(err, ErrNewerFormat) {
		t.Error(err)
	}
}

// Any single flipped bit, and any cut, is found.
func TestDamageIsFound(t *testing.T) {
	whole := encodeFormat(identity, "alpha")
	for i := range whole {
		for bit := range 8 {
			damaged := bytes.Clone(whole)
			damaged[i] ^= 1 << bit
			if _, _, err := decodeFormat("FORMAT", damaged); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
		}
		if _, _, err := decodeFormat("FORMAT", whole[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

// What is sealed but makes no sense is damage too, with the offset of the line.
func TestNonsenseIsFound(t *testing.T) {
	for _, c := range []struct {
		lines  []string
		offset int64
	}{
		{nil, 0},
		{[]string{"cluster 1", "member 1", "incarnation 1", "name \"a\"", "more"}, 0},
		{[]string{"cluster x", "member 1", "incarnation 1", "name \"a\""}, 33},
		{[]string{"cluster 1", "Member 1", "incarnation 1", "name \"a\""}, 43},
		{[]string{"cluster 1", "member 1", "incarnation 1ffffffffffffffff", "name \"a\""}, 52},
		{[]string{"cluster 1", "member 1", "incarnation 1", "name a"}, 66},
		{[]string{"cluster 0", "member 1", "incarnation 1", "name \"a\""}, 33},
	} {
		_, _, err := decodeFormat("FORMAT", seal(formatMagic, c.lines...))
		var damage *Corruption
		if !errors.As(err, &damage) || damage.Offset != c.offset {
			t.Errorf("%q: %v, want offset %d", c.lines, err, c.offset)
		}
	}
}

func FuzzFormat(f *testing.F) {
	f.Add(encodeFormat(identity, "Rafał"))
	f.Add(encodeStore("store-1"))
	f.Add([]byte("checksum 00000000\n"))
	f.Add(version2(formatMagic))
	f.Add(seal(formatMagic, "cluster 1", "member 1", "incarnation 1", "name `a`"))
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, c := range [][]byte{content, reseal(content)} {
			id, name, err := decodeFormat("FORMAT", c)
			if err != nil {
				mustBeKnown(t, err)
				continue
			}
			if again, sameName, err := decodeFormat("FORMAT", encodeFormat(id, name)); err != nil || again != id || sameName != name {
				t.Fatalf("%v %q came back as %v %q: %v", id, name, again, sameName, err)
			}
			if id == (kind.Identity{}) {
				t.Fatal("accepted without an identity")
			}
		}
	})
}

func FuzzStoreAndMarker(f *testing.F) {
	f.Add(encodeStore("store-12"))
	f.Add(encodeStore("store-0"))
	f.Add(encodeStore("../x"))
	f.Add(encodeMarker([]string{"log", "STORE", "store-1"}))
	f.Add(encodeMarker(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, c := range [][]byte{content, reseal(content)} {
			if name, err := decodeStore("STORE", c); err != nil {
				mustBeKnown(t, err)
			} else if _, ok := storeNumber(name); !ok {
				t.Fatalf("accepted %q as a store", name)
			}
			names, err := decodeMarker("INITIALISING", c)
			if err != nil {
				mustBeKnown(t, err)
			}
			for _, name := range names {
				if _, ok := storeNumber(name); !ok && name != logName && name != storeName {
					t.Fatalf("would remove %q", name)
				}
			}
		}
	})
}

// reseal gives content a right checksum, so that the fuzzer gets behind it.
func reseal(content []byte) []byte {
	at := bytes.LastIndexByte(bytes.TrimSuffix(content, []byte("\n")), '\n') + 1
	body := bytes.Clone(content[:at])
	return fmt.Appendf(body, "checksum %08x\n", crc32.Checksum(body, castagnoli))
}

func mustBeKnown(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewerFormat) {
		t.Fatalf("neither damage nor a newer format: %v", err)
	}
}
