package command

import (
	"bytes"
	"testing"
)

// An interval holds the keys that the wire's pair means, and gives the pair back.
func TestInterval(t *testing.T) {
	keys := []string{"\x00", "\x00\x00", "a", "a\x00", "b", "b\x00", "c", "\xff", "\xff\xff"}
	for _, start := range append(keys, "") {
		for _, end := range append(keys, "") {
			i := NewInterval([]byte(start), []byte(end))
			some := false
			for _, key := range keys {
				var want bool
				switch end {
				case "":
					want = key == start
				case "\x00":
					want = key >= start
				default:
					want = key >= start && key < end
				}
				some = some || want
				if i.Contains([]byte(key)) != want {
					t.Errorf("[%q, %q) contains %q: %v", start, end, key, !want)
				}
			}
			if i.Empty() && some {
				t.Errorf("[%q, %q) is called empty", start, end)
			}
			if key, to := i.Wire(); !bytes.Equal(key, []byte(start)) || !bytes.Equal(to, []byte(end)) {
				t.Errorf("[%q, %q) is sent as [%q, %q)", start, end, key, to)
			}
		}
	}
}
