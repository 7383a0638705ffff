package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test program be the etcd server, as bench itself is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == etcdCommand {
		os.Exit(serveEtcd(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// TestSmoke holds that every row runs on both systems and gives a figure above zero for each metric. The figures mean nothing. With
// BENCH_PEER=etcd both systems are etcd.
func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	binary := os.Getenv("HOLDFAST_BINARY")
	peer := os.Getenv("BENCH_PEER") == "etcd"
	if peer {
		binary = "not started"
	}
	systems, err := bothSystems(binary, dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if peer {
		systems[0].command = systems[1].command // under another name, which names the data
	}
	s := settings{repeats: 1, scale: scale{Operations: 2000, Single: 50, Preload: 500, List: 500, Lists: 10, Keys: 2000,
		Reading: 100 * time.Millisecond, Settle: 200 * time.Millisecond,
		Watchers: 150, Fans: 5, Own: 150, Behind: 450, Laggards: 2, Leases: 100, Horizon: 3 * time.Second,
		Kills: 2, Stops: 2}}
	report, err := measure(context.Background(), s, dir, systems, rows)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := report.lines()
	if err != nil {
		t.Fatal(err)
	}
	marked := 0
	for _, l := range lines {
		// So little work may be done within one tick of the processor's clock, and within the memory that is there already.
		if (l.Holdfast <= 0 || l.Etcd <= 0) && !strings.HasPrefix(l.Metric, "cpu") && !strings.HasPrefix(l.Metric, "memory") {
			t.Errorf("%s, %s: %v against %v", l.Row, l.Metric, l.Holdfast, l.Etcd)
		}
		if l.Mark != "" {
			marked++
		}
	}
	if marks, _ := readMarks(marksFile); marked != len(marks) {
		t.Errorf("%d of %d marks were held against a metric", marked, len(marks))
	}
	var table, json bytes.Buffer
	if err := report.writeTable(&table); err != nil {
		t.Fatal(err)
	}
	if err := report.writeJSON(&json); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if !strings.Contains(table.String(), r.name) || !strings.Contains(json.String(), r.name) {
			t.Errorf("row %s is not printed", r.name)
		}
	}
	t.Logf("\n%s", table.String())
}
