package config

import (
	"strconv"
	"time"
)

// The bounds of what --auto-compaction-retention keeps by time. With less a watcher that comes back finds nothing, and
// what must be compacted away sooner can be asked for.
const (
	leastRetention = 100 * time.Millisecond
	mostRetention  = 100_000 * time.Hour
)

// Compaction returns what stays when the cluster compacts by itself: the history of a period, 0 for no such rule, and a
// number of revisions, 0 for no such rule.
func (c *Config) Compaction() (period time.Duration, revisions int64) {
	period, revisions, _ = c.decodeRetention()
	return period, max(revisions, c.AutoCompactionRetentionRevisions)
}

// decodeRetention reads --auto-compaction-retention as --auto-compaction-mode means it, and returns what is wrong as a
// clause that goes on after "but".
func (c *Config) decodeRetention() (period time.Duration, revisions int64, complaint string) {
	number, err := strconv.ParseInt(c.AutoCompactionRetention, 10, 64)
	isNumber := err == nil && number >= 0
	if c.AutoCompactionMode == "revision" {
		if !isNumber {
			return 0, 0, "with --auto-compaction-mode=revision it must be a number of revisions such as 1000"
		}
		return 0, number, ""
	}
	if isNumber {
		if number > int64(mostRetention/time.Hour) {
			return 0, 0, "a bare number is one of hours, of which there may be 100000; for a number of revisions set --auto-compaction-mode=revision"
		}
		return time.Duration(number) * time.Hour, 0, ""
	}
	period, err = time.ParseDuration(c.AutoCompactionRetention)
	if err != nil || period != 0 && (period < leastRetention || period > mostRetention) {
		return 0, 0, "must be 0, a number of hours, or a duration such as 5m from 100ms to 100000h"
	}
	return period, 0, ""
}

func retentionKnown(c *Config) string {
	_, _, complaint := c.decodeRetention()
	return complaint
}

func (c *Config) checkCompaction() error {
	if c.AutoCompactionMode == "revision" && c.AutoCompactionRetentionRevisions > 0 {
		return valueError("--auto-compaction-retention-revisions is %d, but --auto-compaction-mode is revision, whose number is --auto-compaction-retention; "+
			"use periodic to keep by time and by number at once", c.AutoCompactionRetentionRevisions)
	}
	return nil
}
