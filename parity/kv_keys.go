package parity

import (
	"math"
	"math/rand/v2"
	"strings"
)

// keys are all that runs use: few, so that operations meet, and chosen to hurt. Prefixes of each other, zero and 0xff bytes inside and at
// the end, the key that is one zero byte, neighbours of range ends, one long.
var keys = []string{
	"\x00", "\x00\x00", "\x00a", "/", "/r", "/r/", "/r/a", "/r/a/b", "/r/b", "/r0",
	"a", "a\x00", "a\x00\x00", "a\x00b", "a\x01", "aa", "aaa", "ab", "a\xff", "a\xff\xff", "b", "k1", "k10", "k2",
	"\xc5\x81ukasz", "\xff", "\xff\x00", "\xff\xff", strings.Repeat("long", 100),
}

// values are few, so that many keys hold the same and sorting has ties.
var values = []string{"", "", "x", "x", "y", "10", "9", "\x00", "\xff\xfe", strings.Repeat("v", 1000)}

func someKey(r *rand.Rand) []byte { return []byte(keys[r.IntN(len(keys))]) }

// aKey is a key that is live about two times in three.
func aKey(r *rand.Rand, s *State) []byte {
	if len(s.Keys) > 0 && !chance(r, 3) {
		return s.Keys[r.IntN(len(s.Keys))].Key
	}
	return someKey(r)
}

func aValue(r *rand.Rand) []byte { return []byte(values[r.IntN(len(values))]) }

// anEnd draws the end of a range that begins with key: none, from key on, a prefix, another key, the key itself, one just above it, or
// one below it.
func anEnd(r *rand.Rand, key []byte) []byte {
	switch r.IntN(8) {
	case 0, 1:
		return nil
	case 2:
		return []byte{0}
	case 3:
		return prefixEnd(key)
	case 4:
		return append(append([]byte{}, key...), 0)
	case 5:
		return key
	default:
		return someKey(r)
	}
}

// prefixEnd is the end of the range of all keys that begin with key, as clients make it.
func prefixEnd(key []byte) []byte {
	for i := len(key) - 1; i >= 0; i-- {
		if key[i] < 0xff {
			end := append([]byte{}, key[:i+1]...)
			end[i]++
			return end
		}
	}
	return []byte{0}
}

// aLimit draws a limit at one of the edges of a range that holds n keys.
func aLimit(r *rand.Rand, n int64) int64 {
	return pick(r, 0, 0, 0, 1, 2, n-1, n, n+1, -1, math.MaxInt64, math.MinInt64)
}

// aLease draws a lease: mostly none, one that lives, or one that is unknown.
func aLease(r *rand.Rand, s *State) int64 {
	switch {
	case len(s.Leases) > 0 && chance(r, 4):
		return pick(r, s.Leases...)
	case chance(r, 14):
		return pick[int64](r, 1, -1, math.MaxInt64)
	}
	return 0
}
