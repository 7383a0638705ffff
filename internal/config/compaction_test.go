package config

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// --auto-compaction-retention means hours, a duration or a number of revisions, as etcd's; what has two meanings is
// refused.
func TestCompaction(t *testing.T) {
	for _, c := range []struct {
		args      string
		period    time.Duration
		revisions int64
		refused   string
	}{
		{"", 0, 0, ""},
		{"--auto-compaction-retention=0", 0, 0, ""},
		{"--auto-compaction-retention=1", time.Hour, 0, ""},
		{"--auto-compaction-mode=periodic --auto-compaction-retention=72h", 72 * time.Hour, 0, ""},
		{"--auto-compaction-retention=5m", 5 * time.Minute, 0, ""},
		{"--auto-compaction-retention=200ms", 200 * time.Millisecond, 0, ""},
		{"--auto-compaction-mode=revision --auto-compaction-retention=1000", 0, 1000, ""},
		{"--auto-compaction-mode=revision", 0, 0, ""},
		{"--auto-compaction-retention=5m --auto-compaction-retention-revisions=10000", 5 * time.Minute, 10000, ""},
		{"--auto-compaction-retention-revisions=10000", 0, 10000, ""},

		{"--auto-compaction-mode=revision --auto-compaction-retention=5m", 0, 0, "a number of revisions"},
		{"--auto-compaction-retention=-1", 0, 0, "must be 0, a number of hours"},
		{"--auto-compaction-retention=1ns", 0, 0, "from 100ms"},
		{"--auto-compaction-retention=soon", 0, 0, "must be 0, a number of hours"},
		{"--auto-compaction-retention=1000000", 0, 0, "set --auto-compaction-mode=revision"},
		{"--auto-compaction-mode=never", 0, 0, "must be periodic or revision"},
		{"--auto-compaction-mode=revision --auto-compaction-retention=1 --auto-compaction-retention-revisions=2", 0, 0, "use periodic"},
		{"--auto-compaction-retention-revisions=-2", 0, 0, "from 0"},
	} {
		got, _, err := Parse("etcd", strings.Fields(c.args), nil, nil)
		if c.refused != "" {
			if !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v", c.args, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		if period, revisions := got.Compaction(); period != c.period || revisions != c.revisions {
			t.Errorf("%s: %v, %d", c.args, period, revisions)
		}
	}
	content := "auto-compaction-retention: 3\n"
	if got, _ := mustParse(t, "holdfast", []string{"--config-file=c.yml"}, nil, file(content)); got.AutoCompactionRetention != "3" {
		t.Errorf("from a file: %q", got.AutoCompactionRetention)
	}
}
