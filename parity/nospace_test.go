package parity

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestNoSpace holds that both sides refuse writes alike once the store has reached its quota, raise the alarm, and go on with reads and
// deletes. How many writes fit differs with the store, so each side is filled by itself until it refuses.
func TestNoSpace(t *testing.T) {
	dir := t.TempDir()
	settings := Settings{QuotaBytes: 16 << 20}
	left, right := startEtcd(t, "etcd", dir, settings), startHoldfast(t, dir, settings)
	for _, s := range []System{left, right} {
		fill := put("filler", string(bytes.Repeat([]byte{'x'}, 1<<20)))
		answer := Do(s.Conn(), fill)
		for n := 0; answer.Status.Code() == codes.OK && n < 100; n++ {
			answer = Do(s.Conn(), fill)
		}
		if answer.Status.Code() == codes.OK {
			t.Fatalf("%s took 100 MiB into a quota of 16 MiB", s.Name())
		}
	}
	run := &Run{Left: left, Right: right, Services: []Service{{Name: "quota", Corners: []Corner{{"no space", steps(
		put("a", "small"), put("", "the quota is looked at first"),
		then(putOp("a", "1")), then(rangeOp("a", "")), then(deleteOp("a", "")), then(),
		Operation{Method: alarmMethod, Request: &pb.AlarmRequest{}},
		Operation{Method: alarmMethod, Request: &pb.AlarmRequest{Alarm: pb.AlarmType_NOSPACE}},
		Operation{Method: alarmMethod, Request: &pb.AlarmRequest{Alarm: pb.AlarmType_CORRUPT}},
		query(&pb.RangeRequest{Key: []byte("absent")}),
		query(&pb.RangeRequest{Key: []byte("filler"), CountOnly: true}),
	)}}}}, MaxFailures: 20}
	if err := run.Do(); err != nil {
		t.Fatal(err)
	}
	for _, f := range run.Failures {
		// The revision tells how many writes fitted.
		if !onlyRevisions(f.Reasons) {
			t.Error(f)
		}
	}
	refused := Refusal{codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"}.outcome()
	if n := run.Outcomes["KV.Put"][refused]; n[0] == 0 || n[1] == 0 {
		t.Errorf("%q was not seen on both sides: %v", refused, n)
	}
	t.Logf("\n%s", run.Outcomes.Table("etcd", "holdfast"))
}

// onlyRevisions reports whether nothing differs but revisions and what the filler was written with.
func onlyRevisions(reasons []string) bool {
	for _, r := range reasons {
		path, _, _ := strings.Cut(r, ": ")
		if !strings.HasSuffix(path, ".revision") && !strings.HasSuffix(path, "_revision") && !strings.HasSuffix(path, ".version") {
			return false
		}
	}
	return true
}
