package parity

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestParity holds that Holdfast answers as etcd does: the corners, then PARITY_OPS drawn operations (5,000 unless set) from PARITY_SEED
// (1 unless set; "random" draws one). PARITY_FAILURES lets a run go on after a difference. PARITY_PEER=etcd compares etcd with itself. PARITY_TRACE names a file
// that gets every operation with etcd's answer. PARITY_SHRINK=1 looks, for up to five minutes, for the fewest operations that still differ.
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
	if os.Getenv("PARITY_SHRINK") != "" && len(run.Failures) > 0 {
		shrink(t, run.Done)
	}
	if missing := run.Outcomes.Missing(services); len(missing) > 0 && !t.Failed() {
		t.Errorf("never seen on both sides: %q. Add a corner that provokes them.", missing)
	}
}

// TestEtcdAgreesWithItself holds that the comparison finds no difference where there is none.
func TestEtcdAgreesWithItself(t *testing.T) {
	dir := t.TempDir()
	run := &Run{Seed: 7, Operations: 800, RestartEvery: 300, Left: startEtcd(t, "left", dir, DefaultSettings), Right: startEtcd(t, "right", dir, DefaultSettings)}
	execute(t, run)
	if missing := run.Outcomes.Missing(services); len(missing) > 0 {
		t.Errorf("never seen on both sides: %q", missing)
	}
}

// TestRunFollowsItsSeed holds P3: the same seed gives the same requests on other systems, and another seed gives others.
func TestRunFollowsItsSeed(t *testing.T) {
	dir := t.TempDir()
	requests := func(name string, seed uint64) []string {
		run := &Run{Seed: seed, Operations: 300, RestartEvery: 200, Services: drawnOnly(),
			Left: startEtcd(t, name, dir, DefaultSettings), Right: startEtcd(t, name+" again", dir, DefaultSettings)}
		if err := run.Do(); err != nil || len(run.Failures) > 0 {
			t.Fatal(err, run.Failures)
		}
		var all []string
		for _, o := range run.Done {
			all = append(all, fmt.Sprint(o, o.Metadata))
		}
		return all
	}
	first := requests("first", 3)
	if second := requests("second", 3); !slices.Equal(first, second) {
		t.Error("the same seed gave other requests")
	}
	if other := requests("other", 4); slices.Equal(first, other) {
		t.Error("another seed gave the same requests")
	}
}

// drawnOnly are all services without their corners, which do not depend on the seed.
func drawnOnly() []Service {
	drawn := slices.Clone(services)
	for i := range drawn {
		drawn[i].Corners = nil
	}
	return drawn
}

// TestLeasesEnd holds that leases end by themselves alike: each at a revision of its own, with all its keys and no other.
func TestLeasesEnd(t *testing.T) {
	dir := t.TempDir()
	run := &Run{Left: startEtcd(t, "etcd", dir, DefaultSettings), Services: []Service{{Name: "Lease", Corners: []Corner{endingLeases}}}}
	if os.Getenv("PARITY_PEER") == "etcd" {
		run.Right = startEtcd(t, "etcd again", dir, DefaultSettings)
	} else {
		run.Right = startHoldfast(t, dir, DefaultSettings)
	}
	execute(t, run)
}

// TestShrink holds that a failure of one operation among many is brought down to that operation.
func TestShrink(t *testing.T) {
	plant := &planter{}
	// Whatever has k2 in it is altered: the put with prev_kv of the second of two puts.
	plant.arm(putMethod, func(reply proto.Message) error {
		if p := reply.(*pb.PutResponse); string(p.PrevKv.GetKey()) == "k2" {
			p.PrevKv.Version++
		}
		return nil
	})
	var many []Operation
	for i := range 20 {
		many = append(many, put("a", fmt.Sprint(i)))
	}
	withPrevious := put("k2", "2")
	withPrevious.Request.(*pb.PutRequest).PrevKv = true
	many = append(append(many[:7:7], put("k2", "1")), many[7:]...)
	many = append(append(many[:15:15], withPrevious), many[15:]...)
	n := 0
	got, err := Shrink(many, time.Minute, func() (System, System, func(), error) {
		n++
		dir := filepath.Join(t.TempDir(), fmt.Sprint(n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, nil, nil, err
		}
		left, err := StartEtcd("left", filepath.Join(dir, "left"), DefaultSettings)
		if err != nil {
			return nil, nil, nil, err
		}
		right, err := StartEtcd("right", filepath.Join(dir, "right"), DefaultSettings, grpc.WithUnaryInterceptor(plant.unary))
		return left, right, func() { left.Close(); right.Close() }, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[1].String() != withPrevious.String() {
		t.Errorf("%d operations are left after %d tries: %v", len(got), n, got)
	}
}

// shrink prints the fewest operations it can find that make etcd and Holdfast differ.
func shrink(t *testing.T, operations []Operation) {
	binary, err := Binary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	fewest, err := Shrink(operations, 5*time.Minute, func() (System, System, func(), error) {
		dir := t.TempDir()
		left, err := StartEtcd("etcd", filepath.Join(dir, "etcd"), DefaultSettings)
		if err != nil {
			return nil, nil, nil, err
		}
		right, err := StartHoldfast(binary, filepath.Join(dir, "holdfast-data"), DefaultSettings)
		return left, right, func() { left.Close(); right.Close() }, err
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d of %d operations still differ:", len(fewest), len(operations))
	for _, o := range fewest {
		t.Log(o)
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
