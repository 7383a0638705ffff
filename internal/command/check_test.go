package command

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func put(key string) Op { return Op{Put: &Put{Key: []byte(key)}} }
func del(key, end string) Op {
	return Op{Delete: &DeleteRange{Interval: NewInterval([]byte(key), []byte(end))}}
}
func read(key string) Op { return Op{Range: &Range{Interval: NewInterval([]byte(key), nil)}} }
func nest(success, failure []Op) Op {
	return Op{Txn: &Txn{Success: success, Failure: failure}}
}
func ops(o ...Op) []Op { return o }

// What each request is refused with, and that the first rule that applies is the one that speaks.
func TestChecks(t *testing.T) {
	key := NewInterval([]byte("k"), nil)
	many := make([]Op, 129)
	for i := range many {
		many[i] = read("k")
	}
	cases := []struct {
		name string
		got  error
		want error
	}{
		{"put", (&Put{Key: []byte("k")}).Check(), nil},
		{"put without key", (&Put{IgnoreValue: true, Value: []byte("v")}).Check(), ErrEmptyKey},
		{"put with value to ignore", (&Put{Key: []byte("k"), Value: []byte("v"), IgnoreValue: true, IgnoreLease: true, Lease: 1}).Check(), ErrValueProvided},
		{"put with lease to ignore", (&Put{Key: []byte("k"), IgnoreLease: true, Lease: 1}).Check(), ErrLeaseProvided},
		{"range", (&Range{Interval: key, Limit: -1, Revision: -1}).Check(), nil},
		{"range without key", (&Range{Order: 9}).Check(), ErrEmptyKey},
		{"range in an order 3", (&Range{Interval: key, Order: 3}).Check(), ErrInvalidSortOption},
		{"range in an order -1", (&Range{Interval: key, Order: -1}).Check(), ErrInvalidSortOption},
		{"range by a target 5", (&Range{Interval: key, Target: 5}).Check(), ErrInvalidSortOption},
		{"range by a target -1", (&Range{Interval: key, Target: -1}).Check(), ErrInvalidSortOption},
		{"stream", (&Range{Interval: key, Target: TargetVersion}).CheckStream(), nil},
		{"stream by key", (&Range{Interval: key, Order: OrderAscend}).CheckStream(), nil},
		{"stream without key", (&Range{Order: OrderDescend}).CheckStream(), ErrEmptyKey},
		{"stream backwards", (&Range{Interval: key, Order: OrderDescend, MinMod: 1}).CheckStream(), ErrStreamSort},
		{"stream by version", (&Range{Interval: key, Order: OrderAscend, Target: TargetVersion}).CheckStream(), ErrStreamSort},
		{"stream filtered", (&Range{Interval: key, MaxCreate: -1}).CheckStream(), ErrStreamFilters},
		{"delete", (&DeleteRange{Interval: key}).Check(), nil},
		{"delete without key", (&DeleteRange{Interval: NewInterval(nil, []byte("z"))}).Check(), ErrEmptyKey},
		{"empty transaction", (&Txn{}).Check(0), nil},
		{"129 operations", (&Txn{Success: many}).Check(128), ErrTooManyOps},
		{"129 operations in the other branch", (&Txn{Failure: many}).Check(128), ErrTooManyOps},
		{"129 compares", (&Txn{Compares: make([]Compare, 129)}).Check(128), ErrTooManyOps},
		{"128 operations", (&Txn{Success: many[:128], Failure: many[:128]}).Check(128), nil},
		{"depth uses up the size", (&Txn{Success: ops(nest(many[:127], nil))}).Check(128), nil},
		{"depth uses up the size, one more", (&Txn{Success: ops(nest(many[:128], nil))}).Check(128), ErrTooManyOps},
		{"compare without key", (&Txn{Compares: make([]Compare, 1), Success: ops(Op{})}).Check(128), ErrEmptyKey},
		{"empty operation", (&Txn{Success: ops(put("a"), put("a"), Op{})}).Check(128), ErrKeyNotFound},
		{"success before failure", (&Txn{Success: ops(Op{}), Failure: ops(put(""))}).Check(128), ErrKeyNotFound},
		{"nested empty key", (&Txn{Failure: ops(nest(nil, ops(put(""))))}).Check(128), ErrEmptyKey},
	}
	for _, c := range cases {
		if !errors.Is(c.got, c.want) || (c.got == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}

// The rule against writing a key twice, point by point.
func TestOverlap(t *testing.T) {
	filler := make([]Op, 8) // long enough to leave the quick way
	for i := range filler {
		filler[i] = read("r")
	}
	cases := []struct {
		branch []Op
		want   bool // refused
	}{
		{ops(put("a"), put("b")), false},
		{ops(put("a"), put("a")), true},
		{ops(put("a"), del("a", "")), true},
		{ops(del("a", ""), put("a")), true},
		{ops(del("a", "c"), put("b")), true},
		{ops(del("a", "c"), put("c")), false},
		{ops(del("a", ""), put("a\x00")), false},
		{ops(del("a", "z"), del("b", "y")), false},
		{ops(del("\x00", "\x00"), put("a")), false},
		{ops(del("z", "a"), put("b")), false},
		{ops(nest(ops(put("a")), ops(put("a")))), false},
		{ops(nest(ops(put("a")), nil), put("a")), true},
		{ops(nest(nil, ops(put("a"))), nest(ops(put("a")), nil)), true},
		{ops(nest(ops(put("a")), nil), nest(ops(del("a", "")), nil)), false},
		{ops(nest(ops(del("a", "")), nil), nest(ops(put("a")), nil)), true},
		{ops(nest(nil, ops(del("a", "c"))), nest(nil, ops(put("b")))), true},
		{ops(nest(ops(put("a")), nil), del("a", "")), true},
		{ops(nest(ops(del("a", "")), nil), put("a")), true},
		{ops(nest(ops(del("a", "")), ops(put("a")))), false},
		{ops(nest(ops(nest(ops(put("a")), nil)), nil), put("a")), true},
		{ops(nest(ops(put("a"), put("a")), nil)), true},
		{ops(nest(nil, ops(put("a"), del("a", "")))), true},
	}
	for i, c := range cases {
		for _, branch := range [][]Op{c.branch, append(filler[:8:8], c.branch...)} {
			for _, txn := range []*Txn{{Success: branch}, {Failure: branch}} {
				if err := txn.Check(128); errors.Is(err, ErrDuplicateKey) != c.want || (err != nil) != c.want {
					t.Errorf("case %d, %d operations: %v", i, len(branch), err)
				}
			}
		}
	}
	both := &Txn{Success: ops(put("a")), Failure: ops(put("a"))}
	if err := both.Check(128); err != nil {
		t.Errorf("one key in both branches: %v", err)
	}
}

// The rule said once more, in the slowest words: every pair of writes is looked at.
func slowWrites(branch []Op) (puts []string, deletes []Interval, bad bool) {
	hit := func(key string) bool {
		for _, d := range deletes {
			if d.Shape != From && d.Contains([]byte(key)) {
				return true
			}
		}
		return false
	}
	has := func(list []string, key string) bool {
		for _, k := range list {
			if k == key {
				return true
			}
		}
		return false
	}
	for _, o := range branch {
		if o.Delete != nil {
			deletes = append(deletes, o.Delete.Interval)
		}
	}
	for _, o := range branch {
		if o.Txn == nil {
			continue
		}
		pt, dt, b1 := slowWrites(o.Txn.Success)
		pe, de, b2 := slowWrites(o.Txn.Failure)
		bad = bad || b1 || b2
		for _, k := range append(pt[:len(pt):len(pt)], pe...) {
			bad = bad || has(puts, k) || hit(k)
		}
		puts = append(append(puts, pt...), pe...)
		deletes = append(append(deletes, dt...), de...)
	}
	for _, o := range branch {
		if o.Put != nil {
			k := string(o.Put.Key)
			bad = bad || has(puts, k) || hit(k)
			puts = append(puts, k)
		}
	}
	return puts, deletes, bad
}

func TestOverlapAgainstEveryPair(t *testing.T) {
	refused := 0
	for seed := range uint64(20000) {
		random := rand.New(rand.NewPCG(seed, 7))
		var branch func(depth int) []Op
		branch = func(depth int) (list []Op) {
			letter := func() string { return string(rune('a' + random.IntN(24))) }
			for range random.IntN(6) {
				switch n := random.IntN(8); {
				case n < 4:
					list = append(list, put(letter()))
				case n < 5:
					list = append(list, del(letter(), strings.Repeat(letter(), random.IntN(2))))
				case n < 6:
					list = append(list, del(letter(), "\x00"))
				case depth > 0:
					list = append(list, nest(branch(depth-1), branch(depth-1)))
				}
			}
			return list
		}
		list := branch(3)
		_, _, want := slowWrites(list)
		err := (&Txn{Success: list}).checkOverlap()
		if (err != nil) != want {
			t.Fatalf("seed %d: %v, by pairs %v", seed, err, want)
		}
		if want {
			refused++
		}
	}
	if refused < 2000 || refused > 18000 {
		t.Errorf("%d of 20000 were refused; the test does not try both", refused)
	}
}

func TestReadOnly(t *testing.T) {
	for i, c := range []struct {
		txn                    Txn
		readOnly, serializable bool
	}{
		{Txn{}, true, true},
		{Txn{Success: ops(read("a"))}, true, false},
		{Txn{Success: ops(Op{Range: &Range{Serializable: true}}), Failure: ops(Op{Range: &Range{Serializable: true}})}, true, true},
		{Txn{Success: ops(Op{Range: &Range{Serializable: true}}), Failure: ops(read("a"))}, true, false},
		{Txn{Failure: ops(put("a"))}, false, false},
		{Txn{Success: ops(del("a", ""))}, false, false},
		{Txn{Success: ops(nest(nil, nil))}, false, false},
	} {
		if c.txn.ReadOnly() != c.readOnly || c.txn.Serializable() != c.serializable {
			t.Errorf("case %d: read only %v, serializable %v", i, c.txn.ReadOnly(), c.txn.Serializable())
		}
	}
}

// Checking a large transaction costs little more than reading it.
func BenchmarkTxnCheckLarge(b *testing.B) {
	var branch []Op
	for i := range 64 {
		var inner []Op
		for j := range 64 {
			inner = append(inner, put(fmt.Sprint(i, "/", j)))
		}
		branch = append(branch, nest(inner, ops(del(fmt.Sprint(i, "-"), ""))))
	}
	t := &Txn{Success: branch}
	for b.Loop() {
		if err := t.Check(128); err != nil {
			b.Fatal(err)
		}
	}
}
