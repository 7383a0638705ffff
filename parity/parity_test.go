package parity

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TestParity holds that Holdfast answers as etcd does: the corners, then PARITY_OPS drawn operations (5,000 unless set) from PARITY_SEED
// (1 unless set; "random" draws one). PARITY_FAILURES lets a run go on after a difference. PARITY_PEER=etcd compares etcd with itself. PARITY_TRACE names a file
// that gets every operation with etcd's answer.
func TestParity(t *testing.T) {
	run := &Run{
		Seed:        seed(t),
		Operations:  number(t, "PARITY_OPS", 5000),
		MaxFailures: number(t, "PARITY_FAILURES", 1),
	}
	if testing.Short() {
		run.Operations = min(run.Operations, 500)
	}
	// A hundred restarts are enough for the longest run.
	run.RestartEvery = max(400, run.Operations/100)
	dir := t.TempDir()
	run.Left = startEtcd(t, "etcd", dir, DefaultSettings)
	if os.Getenv("PARITY_PEER") == "etcd" {
		run.Right = startEtcd(t, "etcd again", dir, DefaultSettings)
	} else {
		run.Right = startHoldfast(t, dir, DefaultSettings)
	}
	execute(t, run)
	if missing := run.Outcomes.Missing(services); len(missing) > 0 && !t.Failed() {
		t.Errorf("never seen on both sides: %q. Add a corner that provokes them.", missing)
	}
}

// TestEtcdAgreesWithItself holds that the comparison finds no difference where there is none, and that a run is a function of its seed.
func TestEtcdAgreesWithItself(t *testing.T) {
	dir := t.TempDir()
	run := &Run{Seed: 7, Operations: 800, RestartEvery: 300, Left: startEtcd(t, "left", dir, DefaultSettings), Right: startEtcd(t, "right", dir, DefaultSettings)}
	execute(t, run)
	if missing := run.Outcomes.Missing(services); len(missing) > 0 {
		t.Errorf("never seen on both sides: %q", missing)
	}
}

// execute does the run, prints its table, and fails the test with the command that replays it.
func execute(t *testing.T, run *Run) {
	t.Helper()
	if path := os.Getenv("PARITY_TRACE"); path != "" {
		trace, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer trace.Close()
		run.Trace = trace
	}
	start := time.Now()
	err := run.Do()
	t.Logf("seed %d, %d operations in %v\n%s", run.Seed, run.Operations, time.Since(start).Round(time.Millisecond), run.Outcomes.Table("left", "right"))
	for _, f := range run.Failures {
		t.Error(f.String())
	}
	if err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Errorf("to replay, in parity/: PARITY_SEED=%d PARITY_OPS=%d go test -count=1 -run '^%s$' .", run.Seed, run.Operations, t.Name())
		t.Logf("%s ends with:\n%s", run.Right.Name(), run.Right.Diagnosis())
	}
}

func startEtcd(t *testing.T, name, dir string, settings Settings) *Etcd {
	t.Helper()
	e, err := StartEtcd(name, filepath.Join(dir, name), settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func startHoldfast(t *testing.T, dir string, settings Settings) *Holdfast {
	t.Helper()
	binary, err := Binary(dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := StartHoldfast(binary, filepath.Join(dir, "holdfast-data"), settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func seed(t *testing.T) uint64 {
	switch text := os.Getenv("PARITY_SEED"); text {
	case "":
		return 1
	case "random":
		return uint64(time.Now().UnixNano())
	default:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(fmt.Errorf("PARITY_SEED: %w", err))
		}
		return n
	}
}

func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", name, err))
	}
	return n
}
