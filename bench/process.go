package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of /proc/PID/stat, the same on every Linux that Go runs on.
const ticksPerSecond = 100

// cpuTime returns the processor time that a process has taken, in user and system mode together, in steps of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(content)
}

// parseStat adds utime and stime of a /proc/PID/stat line. The name, second of its fields, may hold blanks and brackets.
func parseStat(line []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(line, ')')
	if end < 0 {
		return 0, fmt.Errorf("no name in %q", line)
	}
	fields := strings.Fields(string(line[end+1:]))
	const utime, stime = 14 - 3, 15 - 3 // numbered from 1 in proc(5); the third follows the name
	if len(fields) <= stime {
		return 0, fmt.Errorf("too few fields in %q", line)
	}
	var ticks int64
	for _, i := range []int{utime, stime} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time in %q: %w", line, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// residentBytes returns VmRSS of a process.
func residentBytes(pid int) (int64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseStatus(content, "VmRSS:")
}

// parseStatus returns a figure of /proc/PID/status that is given in KiB.
func parseStatus(content []byte, name string) (int64, error) {
	for line := range strings.Lines(string(content)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/PID/status", name)
}

// peakBytes returns VmHWM of a process, the most memory that it has held since resetPeak.
func peakBytes(pid int) (int64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseStatus(content, "VmHWM:")
}

// resetPeak lets the peak begin anew at what a process holds now.
func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// A server is settled when it has taken less than idleShare of one processor for idleFor: its flushes and compactions are paid.
const (
	idleFor   = time.Second
	idleShare = 0.05
)

// settle waits until the process is idle, or for the given time at most, and returns the processor time at the end.
func settle(ctx context.Context, pid int, atMost time.Duration) (time.Duration, error) {
	times, err := settleAll(ctx, []int{pid}, atMost)
	if err != nil {
		return 0, err
	}
	return times[0], nil
}

// settleAll waits until all of the processes together are idle, or for the given time at most, and returns the processor time of each at the
// end.
func settleAll(ctx context.Context, pids []int, atMost time.Duration) ([]time.Duration, error) {
	deadline := time.Now().Add(atMost)
	look := min(idleFor, atMost)
	before, err := cpuTimes(pids)
	for err == nil {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(look):
		}
		var after []time.Duration
		if after, err = cpuTimes(pids); err != nil {
			break
		}
		var taken time.Duration
		for i := range pids {
			taken += after[i] - before[i]
		}
		if float64(taken) < idleShare*float64(look)*float64(len(pids)) || time.Now().After(deadline) {
			return after, nil
		}
		before = after
	}
	return nil, err
}

func cpuTimes(pids []int) ([]time.Duration, error) {
	times := make([]time.Duration, len(pids))
	for i, pid := range pids {
		var err error
		if times[i], err = cpuTime(pid); err != nil {
			return nil, err
		}
	}
	return times, nil
}
