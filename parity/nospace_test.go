package parity

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestNoSpace holds that both sides refuse writes alike once the store has reached its quota, raise the alarm, and go on with reads and
// deletes. How many writes fit differs with the store, so each side is filled by itself until it refuses.
func TestNoSpace(t *testing.T) {
	dir := t.TempDir()
	settings := Settings{QuotaBytes: 16 << 20}
	left, right := startEtcd(t, "etcd", dir, settings), startHoldfast(t, dir, settings)
	for _, s := range []System{left, right} {
		var answer Answer
		for n := 0; answer.Status.Code() == codes.OK && n < 100; n++ {
			answer = Do(s.Conn(), put(fmt.Sprintf("filler%d", n), string(bytes.Repeat([]byte{'x'}, 1<<20))))
		}
		if answer.Status.Code() == codes.OK {
			t.Fatalf("%s took 100 MiB into a quota of 16 MiB", s.Name())
		}
	}
	run := &Run{Left: left, Right: right, Services: []Service{{Name: "quota", Corners: []Corner{{"no space", steps(
		grant(1, longTTLSeconds), grant(0, 0), grant(1, maxTTLSeconds+1), revoke(1), keepAlive(1), timeToLive(1, true),
		put("a", "small"), put("", "the quota is looked at first"),
		then(putOp("a", "1")), then(rangeOp("a", "")), then(deleteOp("a", "")), then(),
		Operation{Method: alarmMethod, Request: &pb.AlarmRequest{}},
		Operation{Method: alarmMethod, Request: &pb.AlarmRequest{Alarm: pb.AlarmType_NOSPACE}},
		Operation{Method: alarmMethod, Request: &pb.AlarmRequest{Alarm: pb.AlarmType_CORRUPT}},
		query(&pb.RangeRequest{Key: []byte("absent")}),
		query(&pb.RangeRequest{Key: []byte("filler0"), CountOnly: true}),
	)}}}}, MaxFailures: 20}
	if err := run.Do(); err != nil {
		t.Fatal(err)
	}
	for _, f := range run.Failures {
		// The revision tells how many writes fitted.
		if !onlyRevisions(f) {
			t.Error(f)
		}
	}
	refused := noSpace.outcome()
	if n := run.Outcomes["KV.Put"][refused]; n[0] == 0 || n[1] == 0 {
		t.Errorf("%q was not seen on both sides: %v", refused, n)
	}
	t.Logf("\n%s", run.Outcomes.Table("etcd", "holdfast"))
}

// onlyRevisions reports whether nothing differs but revisions, in a single request or in the state read after it.
func onlyRevisions(f Failure) bool {
	if proto.Equal(f.Operation.Request, readAll().Request) {
		return true
	}
	for _, r := range f.Reasons {
		path, _, _ := strings.Cut(r, ": ")
		if !strings.HasSuffix(path, "revision") {
			return false
		}
	}
	return true
}
