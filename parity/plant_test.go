package parity

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// coveredMethods are those whose answers are compared, but for those of leases and users, which need preparation, and Watch.
var coveredMethods = []Operation{
	{Method: putMethod, Request: &pb.PutRequest{Key: []byte("p/1"), Value: []byte("new"), PrevKv: true}},
	{Method: rangeMethod, Request: &pb.RangeRequest{Key: []byte("p"), RangeEnd: []byte("q"), Limit: 2}},
	{Method: rangeStreamMethod, Request: &pb.RangeRequest{Key: []byte("p"), RangeEnd: []byte("q"), Limit: 2}},
	{Method: txnMethod, Request: &pb.TxnRequest{Success: []*pb.RequestOp{
		rangeOp("p", "q"), asOp(&pb.PutRequest{Key: []byte("p/2"), PrevKv: true}), deleteOp("p/3", ""), nest(rangeOp("p/1", ""))}}},
	{Method: deleteMethod, Request: &pb.DeleteRangeRequest{Key: []byte("p"), RangeEnd: []byte("q"), PrevKv: true}},
	{Method: compactMethod, Request: &pb.CompactionRequest{Revision: 2, Physical: true}},
	{Method: statusMethod, Request: &pb.StatusRequest{}},
	{Method: alarmMethod, Request: &pb.AlarmRequest{}},
	{Method: hashMethod, Request: &pb.HashRequest{}},
	{Method: hashKVMethod, Request: &pb.HashKVRequest{}},
	{Method: memberListMethod, Request: &pb.MemberListRequest{}},
	{Method: defragmentMethod, Request: &pb.DefragmentRequest{}},
}

// TestEveryFieldCounts holds that a change to any field of any answer is found where it is, unless the field is ignored.
func TestEveryFieldCounts(t *testing.T) {
	covered := append(coveredMethods, watchOn(1, single("a")))
	for _, p := range preparedMethods() {
		covered = append(covered, p.operation)
	}
	for _, o := range covered {
		method, err := findMethod(o.Method)
		if err != nil {
			t.Fatal(err)
		}
		output, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
		if err != nil {
			t.Fatal(err)
		}
		full := output.New()
		fill(full, 4)
		sample := Answer{Messages: []proto.Message{full.Interface()}, Status: status.New(0, "")}
		if d := Compare(sample, clone(sample)); len(d) > 0 {
			t.Fatalf("%s: an answer differs from itself: %v", o.Name(), d)
		}
		for n, m := range mutations(full.Interface()) {
			altered := clone(sample)
			mutate(altered.Messages[0], n)
			found := Compare(sample, altered)
			if m.Ignored != (len(found) == 0) {
				t.Errorf("%s: %s of %s changed, ignored %t, found %v", o.Name(), m.Kind, m.Path, m.Ignored, found)
			}
			at := m.Path
			if m.Kind == "presence" {
				// A member of a oneof that appears takes the place of another.
				at = at[:strings.LastIndex(at, ".")]
			}
			for _, d := range found {
				if !strings.HasPrefix(d.Path, "[0]"+at) {
					t.Errorf("%s: %s of %s changed and found at %s", o.Name(), m.Kind, m.Path, d.Path)
				}
			}
		}
	}
}

// TestPlantedDifferenceIsCaught holds that a run fails, and names the operation, when one side's answer to it is altered on its way: one
// field for each kind of field that the real answer has, an error for an answer, another text for an error, a message lost.
func TestPlantedDifferenceIsCaught(t *testing.T) {
	dir := t.TempDir()
	plant := &planter{}
	left := startEtcd(t, "left", dir, DefaultSettings)
	right, err := StartEtcd("right", dir+"/right", DefaultSettings,
		grpc.WithUnaryInterceptor(plant.unary), grpc.WithStreamInterceptor(plant.stream))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { right.Close() })
	var before []Operation
	run := func(o Operation) *Run {
		t.Helper()
		r := &Run{Left: left, Right: right, Services: []Service{{Corners: []Corner{{"planted", steps(
			append(append([]Operation{put("p/1", "1"), put("p/2", "2"), put("p/3", "3")}, before...), o)...)}}}}}
		if err := r.Do(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	// again is the same operation made new: a compaction at the same revision would be refused.
	again := func(o Operation) Operation {
		if o.Method == compactMethod {
			o.Request = &pb.CompactionRequest{Revision: right.server.Server.KV().Rev()}
		}
		return o
	}
	planted := 0
	check := func(o Operation, what string) {
		t.Helper()
		r := run(o)
		plant.disarm()
		withoutAuth(t, left, right)
		planted++
		if len(r.Failures) == 0 || r.Failures[0].Operation.Method != o.Method {
			t.Errorf("%s: %s was planted and not caught: %v", o.Name(), what, r.Failures)
		}
	}
	all := preparedMethods()
	for _, o := range coveredMethods {
		all = append(all, prepared{operation: o})
	}
	for _, p := range all {
		o := p.operation
		before = p.before
		plant.disarm()
		if r := run(again(o)); len(r.Failures) > 0 {
			t.Fatalf("%s differs without a plant: %v", o.Name(), r.Failures)
		}
		withoutAuth(t, left, right)
		sample := plant.last(o.Method)
		kinds := map[string]bool{}
		for n, m := range mutations(sample) {
			if m.Ignored || kinds[m.Kind] {
				continue
			}
			kinds[m.Kind] = true
			plant.arm(o.Method, func(reply proto.Message) error { mutate(reply, n); return nil })
			check(again(o), m.Kind+" of "+m.Path)
		}
		plant.arm(o.Method, func(proto.Message) error { return status.Error(codes.Unknown, "planted") })
		check(again(o), "an error for an answer")
	}
	before = []Operation{revoke(71), grant(71, longTTLSeconds)}
	plant.arm(timeToLiveMethod, func(reply proto.Message) error {
		reply.(*pb.LeaseTimeToLiveResponse).TTL -= toleranceSeconds + 2
		return nil
	})
	check(timeToLive(71, true), "a lease that runs too fast")
	plant.arm(timeToLiveMethod, func(reply proto.Message) error { reply.(*pb.LeaseTimeToLiveResponse).TTL += 2; return nil })
	check(timeToLive(71, true), "a lease that runs too slowly")
	before = nil
	for _, refused := range []Operation{
		{Method: putMethod, Request: &pb.PutRequest{}},
		{Method: rangeMethod, Request: &pb.RangeRequest{}},
		{Method: rangeStreamMethod, Request: &pb.RangeRequest{}},
		{Method: txnMethod, Request: &pb.TxnRequest{Success: []*pb.RequestOp{{}}}},
		{Method: deleteMethod, Request: &pb.DeleteRangeRequest{}},
		{Method: compactMethod, Request: &pb.CompactionRequest{Revision: -9}},
		{Method: hashKVMethod, Request: &pb.HashKVRequest{Revision: 1 << 40}},
		revoke(99), grant(99, maxTTLSeconds+1), authenticate("root", "r"), roleAdd(""), grantRole("missing", ""), permit("missing", 0, "", ""),
	} {
		plant.armError(refused.Method, func(s *status.Status) error { return status.Error(s.Code(), s.Message()+".") })
		check(refused, "another text")
		plant.armError(refused.Method, func(s *status.Status) error { return status.Error(codes.Internal, s.Message()) })
		check(refused, "another code")
		plant.armError(refused.Method, func(*status.Status) error { return nil })
		check(refused, "an answer for an error")
	}
	t.Logf("%d differences planted", planted)
}
