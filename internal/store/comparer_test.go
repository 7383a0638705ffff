package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// adversarialUserKeys hold zeros, bytes that look like lengths of suffixes, prefixes of one another and the highest
// bytes.
var adversarialUserKeys = []string{
	"", "\x00", "\x00\x00", "\x00\x01", "\x01", "\x01\x00", "\x09", "\x09\x09\x09\x09\x09\x09\x09\x09\x09", "\x0a", "a", "a\x00",
	"a\x00\x00", "a\x00\x09", "a\x01", "a\xff", "a\xff\xff", "ab", "b", "\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\x09",
	strings.Repeat("k", 300), strings.Repeat("\x00", 40), strings.Repeat("\x09", 20),
}

func versionKey(user string, revision uint64) []byte {
	return append(binary.BigEndian.AppendUint64(AppendKey(nil, FamilyVersion, user), ^revision), 9)
}

// TestComparer holds Pebble's own list of what a comparer must do.
func TestComparer(t *testing.T) {
	var prefixes, suffixes [][]byte
	for _, user := range adversarialUserKeys {
		prefixes = append(prefixes, AppendKey(nil, FamilyVersion, user))
	}
	for _, revision := range []uint64{0, 1, 2, 255, 256, 1 << 40, 1<<64 - 1, 0x0909090909090909} {
		suffixes = append(suffixes, versionKey("", revision)[2:])
	}
	if err := pebble.CheckComparer(Comparer, prefixes, suffixes); err != nil {
		t.Fatal(err)
	}
}

// TestOrder holds the order that mvcc builds on: by user key, byte by byte; then the newest version first, after the
// bare prefix.
func TestOrder(t *testing.T) {
	users := slices.Clone(adversarialUserKeys)
	slices.Sort(users)
	var keys [][]byte
	for _, user := range users {
		keys = append(keys, AppendKey(nil, FamilyVersion, user))
		for _, revision := range []uint64{1<<63 - 1, 700, 255, 9, 1, 0} {
			keys = append(keys, versionKey(user, revision))
		}
	}
	for i := range keys {
		for j := range keys {
			expected := 0
			if i < j {
				expected = -1
			} else if i > j {
				expected = 1
			}
			if got := Compare(keys[i], keys[j]); got != expected {
				t.Fatalf("Compare(%x, %x) = %d", keys[i], keys[j], got)
			}
		}
	}
}

// FuzzComparer holds that any bytes are ordered totally, that nothing panics, and that each function keeps the promise
// of its interface, whatever the bytes are.
func FuzzComparer(f *testing.F) {
	for _, user := range adversarialUserKeys {
		f.Add([]byte(user), versionKey(user, 7), AppendKey(nil, FamilyVersion, user))
	}
	f.Add([]byte{}, []byte{1}, []byte{0})
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		for _, k := range [][]byte{a, b, c} {
			checkKeyFunctions(t, k)
		}
		checkPair(t, a, b)
		checkPair(t, b, c)
		// The same bytes as user keys: then all of them are valid.
		va, vb := versionKey(string(a), uint64(len(c))), versionKey(string(b), uint64(len(a)))
		checkKeyFunctions(t, va)
		checkPair(t, va, vb)
		checkPair(t, AppendKey(nil, FamilyLease, string(a)), vb)
		if order := bytes.Compare(a, b); order != 0 && Compare(va, vb) != order {
			t.Fatalf("user keys %x and %x are ordered otherwise in the store", a, b)
		}
		keys := [][]byte{a, b, c}
		slices.SortFunc(keys, Compare)
		if Compare(keys[0], keys[2]) > 0 {
			t.Fatalf("the order of %x is not transitive", keys)
		}
	})
}

func checkKeyFunctions(t *testing.T, k []byte) {
	t.Helper()
	if n := Split(k); n < 0 || n > len(k) {
		t.Fatalf("Split(%x) = %d", k, n)
	}
	if fmt.Sprint(Comparer.FormatKey(k)) == "" {
		t.Fatalf("%x is printed as nothing", k)
	}
	s := successor([]byte("dst"), k)
	if !bytes.HasPrefix(s, []byte("dst")) || len(k) > 0 && Compare(k, s[3:]) > 0 {
		t.Fatalf("Successor(%x) = %x", k, s)
	}
	if ValidateKey(k) != nil {
		return
	}
	if err := ValidateKey(s[3:]); err != nil {
		t.Fatalf("Successor(%x) = %x: %v", k, s[3:], err)
	}
	prefix := k[:Split(k)]
	if Split(prefix) != len(prefix) || len(prefix) < len(k) && Compare(prefix, k) >= 0 {
		t.Fatalf("the prefix of %x does not come before it", k)
	}
	next := immediateSuccessor(nil, prefix)
	if len(prefix) > 0 && (ValidateKey(next) != nil || Split(next) != len(next) || Compare(k, next) >= 0 || !bytes.Equal(next[:len(next)-1], prefix)) {
		t.Fatalf("ImmediateSuccessor(%x) = %x", prefix, next)
	}
}

func checkPair(t *testing.T, a, b []byte) {
	t.Helper()
	order := Compare(a, b)
	if Compare(b, a) != -order || (order == 0) != bytes.Equal(a, b) {
		t.Fatalf("Compare(%x, %x) = %d, and the other way round %d", a, b, order, Compare(b, a))
	}
	if x, y := abbreviatedKey(a), abbreviatedKey(b); x < y && order >= 0 || x > y && order <= 0 {
		t.Fatalf("the abbreviations of %x and %x are ordered otherwise", a, b)
	}
	if order > 0 {
		a, b = b, a
	}
	if order == 0 || len(a) == 0 || len(b) == 0 {
		return
	}
	s := separator([]byte("dst"), a, b)
	if !bytes.HasPrefix(s, []byte("dst")) || Compare(a, s[3:]) > 0 || Compare(s[3:], b) >= 0 || len(s)-3 > len(a) {
		t.Fatalf("Separator(%x, %x) = %x", a, b, s[3:])
	}
	if ValidateKey(a) == nil && ValidateKey(b) == nil && ValidateKey(s[3:]) != nil {
		t.Fatalf("Separator(%x, %x) = %x, which is no key", a, b, s[3:])
	}
}

// TestSeparatorShortens holds that index blocks stay small: long keys that differ early are told apart by few bytes.
func TestSeparatorShortens(t *testing.T) {
	a, b := versionKey("alpha"+strings.Repeat("x", 100), 1), versionKey("beta", 1)
	if s := separator(nil, a, b); len(s) > 4 {
		t.Errorf("the separator is %x", s)
	}
	if s := successor(nil, a); len(s) > 3 {
		t.Errorf("the successor is %x", s)
	}
}

// TestPrefixesInPebble holds that NextPrefix, SeekPrefixGE and the bloom filters agree with a sorted list over real
// tables of several levels, for prefixes that are prefixes of one another.
func TestPrefixesInPebble(t *testing.T) {
	fs := vfs.NewMem()
	if err := Create(fs, "s", testIdentity, nil); err != nil {
		t.Fatal(err)
	}
	db, err := Open(fs, "s", testIdentity, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(false)
	r := rand.New(rand.NewPCG(1, 2))
	var keys [][]byte
	for round := range 6 {
		for _, user := range adversarialUserKeys {
			if r.IntN(3) == 0 {
				continue
			}
			for range 1 + r.IntN(4) {
				keys = append(keys, versionKey(user, r.Uint64N(1000)))
			}
		}
		for _, key := range keys {
			if err := db.Set(key, key, pebble.NoSync); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
		if round == 2 {
			if err := db.Compact(t.Context(), []byte{0}, []byte{0xff, 0}, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.SortFunc(keys, Compare)
	keys = slices.CompactFunc(keys, bytes.Equal)
	it, err := db.NewIter(FamilyOptions(FamilyVersion))
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	i := 0
	for ok := it.First(); ok; ok = it.NextPrefix() {
		if i >= len(keys) || !bytes.Equal(it.Key(), keys[i]) {
			t.Fatalf("NextPrefix leads to %x", it.Key())
		}
		prefix := keys[i][:Split(keys[i])]
		for i < len(keys) && bytes.Equal(keys[i][:Split(keys[i])], prefix) {
			i++
		}
	}
	if i != len(keys) {
		t.Fatalf("NextPrefix ends at %d of %d", i, len(keys))
	}
	for _, user := range append(slices.Clone(adversarialUserKeys), "nothing", "a\x00\x00\x00", "\x02") {
		for _, revision := range []uint64{0, 500, 999} {
			seek := versionKey(user, revision)
			at, _ := slices.BinarySearchFunc(keys, seek, Compare)
			expected := at < len(keys) && bytes.Equal(keys[at][:Split(keys[at])], seek[:Split(seek)])
			if ok := it.SeekPrefixGE(seek); ok != expected || ok && !bytes.Equal(it.Key(), keys[at]) {
				t.Fatalf("SeekPrefixGE(%x) = %v, expected %v", seek, ok, expected)
			}
		}
	}
	for range 20 {
		it.SeekPrefixGE(versionKey(fmt.Sprint("absent", r.Uint64()), 1))
	}
	if m := db.Metrics().Filter; m.Hits == 0 {
		t.Error("no bloom filter ever spared a read")
	}
}
