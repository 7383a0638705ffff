package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// ComparerName is stored by Pebble in the directory and is checked when it is opened. It is frozen together with
// the order below.
const ComparerName = "holdfast.v1"

// Comparer orders the keys of every store.
//
// The last byte n of a key is the length of its suffix, that byte included; 0 means that the key has no suffix.
// What stands before the suffix is the prefix. Keys are ordered by prefix, then by suffix, both byte by byte, so
// that a bare prefix comes before everything that begins with it.
//
// A key whose last byte claims more bytes than the key has, or whose prefix does not itself end in 0, is never
// stored (ValidateKey says so), but every function here gives an answer for it, because bounds of an iterator
// and bytes of a broken table can be anything.
var Comparer = &pebble.Comparer{
	Name:                 ComparerName,
	Split:                Split,
	Compare:              Compare,
	Equal:                bytes.Equal,
	ComparePointSuffixes: bytes.Compare,
	CompareRangeSuffixes: bytes.Compare,
	AbbreviatedKey:       abbreviatedKey,
	Separator:            separator,
	Successor:            successor,
	ImmediateSuccessor:   immediateSuccessor,
	ValidateKey:          ValidateKey,
	FormatKey:            func(key []byte) fmt.Formatter { return keyFormatter(key) },
}

var (
	errKeyEmpty  = errors.New("a key of the store is never empty")
	errKeySuffix = errors.New("the last byte of the key claims a longer suffix than the key has")
	errKeyPrefix = errors.New("the prefix of the key does not end in a zero byte")
)

// Split returns the length of the prefix of key.
func Split(key []byte) int {
	n := len(key)
	if n == 0 {
		return 0
	}
	if suffix := int(key[n-1]); suffix <= n {
		return n - suffix
	}
	return n
}

// Compare returns -1, 0 or 1 as a comes before b, equals it or comes after it in the store.
func Compare(a, b []byte) int {
	i, j := Split(a), Split(b)
	if c := bytes.Compare(a[:i], b[:j]); c != 0 {
		return c
	}
	return bytes.Compare(a[i:], b[j:])
}

// ValidateKey says whether key has a shape that may be stored: a prefix that ends in 0, alone or followed by a
// suffix. A bare suffix is valid too, since Pebble compares suffixes on their own.
func ValidateKey(key []byte) error {
	n := len(key)
	if n == 0 {
		return errKeyEmpty
	}
	suffix := int(key[n-1])
	if suffix > n {
		return errKeySuffix
	}
	if suffix < n && key[n-suffix-1] != 0 {
		return errKeyPrefix
	}
	return nil
}

// abbreviatedKey gives the first eight bytes of the prefix as a number that orders as the prefix does.
func abbreviatedKey(key []byte) uint64 {
	prefix := key[:Split(key)]
	if len(prefix) >= 8 {
		return binary.BigEndian.Uint64(prefix)
	}
	var v uint64
	for _, b := range prefix {
		v = v<<8 | uint64(b)
	}
	return v << (8 * (8 - len(prefix)))
}

// separator appends a key k with a <= k < b that is as short as is easily found, for the index of a table. It is
// a bare prefix between the prefixes of a and b, or a itself.
func separator(dst, a, b []byte) []byte {
	ap, bp := a[:Split(a)], b[:Split(b)]
	i := 0
	for i < len(ap) && i < len(bp) && ap[i] == bp[i] {
		i++
	}
	if i == len(ap) || i == len(bp) || ap[i] > bp[i] {
		return append(dst, a...)
	}
	n := len(dst)
	// Raising the first byte that differs gives a key above a. It is below b unless it has become b's own.
	if i+2 < len(a) {
		dst = append(append(dst, ap[:i]...), ap[i]+1, 0)
		if bytes.Compare(dst[n:], bp) < 0 {
			return dst
		}
		dst = dst[:n]
	}
	// Raising a later byte stays below b whatever follows, since the byte at i is left as it is.
	return raise(dst, a, ap, i+1)
}

// successor appends a key k >= a that is as short as is easily found, for the end of a table's index.
func successor(dst, a []byte) []byte {
	if len(a) == 0 {
		return append(dst, 0)
	}
	return raise(dst, a, a[:Split(a)], 0)
}

// raise appends the shortest bare prefix that results from adding one to a byte of prefix at or after from, or a
// itself where that would not be shorter.
func raise(dst, a, prefix []byte, from int) []byte {
	for i := from; i+2 < len(a) && i < len(prefix); i++ {
		if prefix[i] != 0xff {
			return append(append(dst, prefix[:i]...), prefix[i]+1, 0)
		}
	}
	return append(dst, a...)
}

// immediateSuccessor appends the smallest bare prefix above the bare prefix a: nothing fits between a, which ends
// in 0, and a followed by another 0.
func immediateSuccessor(dst, a []byte) []byte {
	return append(append(dst, a...), 0)
}

// keyFormatter prints a key for logs and dumps: the prefix quoted without its final zero, the suffix in hex.
type keyFormatter []byte

// Format implements fmt.Formatter.
func (f keyFormatter) Format(s fmt.State, _ rune) {
	k := []byte(f) // slices of the formatter itself would be formatted by it again, without end
	i := Split(k)
	if i > 0 && k[i-1] == 0 {
		fmt.Fprintf(s, "%q", k[:i-1])
	} else {
		fmt.Fprintf(s, "%q (no end)", k[:i])
	}
	if i < len(k) {
		fmt.Fprintf(s, "/%x", k[i:])
	}
}
