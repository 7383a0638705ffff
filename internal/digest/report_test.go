package digest

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
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// The report is frozen: members of different builds read each other's.
func TestReportGolden(t *testing.T) {
	r := Report{Asks: 1024, Marks: []Mark{{2048, 0xfeedface}, {1024, 7}}}
	got := AppendReport(nil, r)
	path := filepath.Join("testdata", "report-v1.hex")
	if *rewrite {
		if err := os.WriteFile(path, []byte(hex.EncodeToString(got)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got) != strings.TrimSpace(string(want)) {
		t.Errorf("a report is written as %x", got)
	}
	back, err := DecodeReport(got)
	if err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("read as %+v, %v", back, err)
	}
	many := make([]Mark, MaxMarks+3)
	if back, err := DecodeReport(AppendReport(nil, Report{Marks: many})); err != nil || len(back.Marks) != MaxMarks {
		t.Errorf("of too many marks %d are read, %v", len(back.Marks), err)
	}
}

// Every flipped bit, every cut and every byte more is found.
func TestReportBroken(t *testing.T) {
	b := AppendReport(nil, Report{Asks: 3, Marks: []Mark{{1, 2}}})
	for i := range len(b) * 8 {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		if _, err := DecodeReport(c); !errors.Is(err, ErrReport) {
			t.Errorf("bit %d: %v", i, err)
		}
	}
	for n := range b {
		if _, err := DecodeReport(b[:n]); !errors.Is(err, ErrReport) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	if _, err := DecodeReport(append(bytes.Clone(b), 0)); !errors.Is(err, ErrReport) {
		t.Errorf("a byte more: %v", err)
	}
}

// No bytes from a socket are read as anything but what is written for them.
func FuzzReport(f *testing.F) {
	f.Add(AppendReport(nil, Report{}))
	f.Add(AppendReport(nil, Report{Asks: 5, Marks: []Mark{{5, 6}, {7, 8}}}))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeReport(b)
		if err == nil && !bytes.Equal(AppendReport(nil, r), b) {
			t.Errorf("%x is read as %+v", b, r)
		}
	})
}
