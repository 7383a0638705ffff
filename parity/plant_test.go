package parity

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// coveredMethods are those whose answers are compared.
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
	for _, o := range coveredMethods {
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
	run := func(o Operation) *Run {
		t.Helper()
		r := &Run{Left: left, Right: right, Services: []Service{{Corners: []Corner{{"planted", steps(
			put("p/1", "1"), put("p/2", "2"), put("p/3", "3"), o)}}}}}
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
		planted++
		if len(r.Failures) == 0 || r.Failures[0].Operation.Method != o.Method {
			t.Errorf("%s: %s was planted and not caught: %v", o.Name(), what, r.Failures)
		}
	}
	for _, o := range coveredMethods {
		plant.disarm()
		if r := run(again(o)); len(r.Failures) > 0 {
			t.Fatalf("%s differs without a plant: %v", o.Name(), r.Failures)
		}
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
	for _, refused := range []Operation{
		{Method: putMethod, Request: &pb.PutRequest{}},
		{Method: rangeMethod, Request: &pb.RangeRequest{}},
		{Method: rangeStreamMethod, Request: &pb.RangeRequest{}},
		{Method: txnMethod, Request: &pb.TxnRequest{Success: []*pb.RequestOp{{}}}},
		{Method: deleteMethod, Request: &pb.DeleteRangeRequest{}},
		{Method: compactMethod, Request: &pb.CompactionRequest{Revision: -9}},
		{Method: hashKVMethod, Request: &pb.HashKVRequest{Revision: 1 << 40}},
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

// A planter stands between one system and its client and alters the answers to one method.
type planter struct {
	mu struct {
		sync.Mutex
		method string
		answer func(proto.Message) error
		err    func(*status.Status) error
		seen   map[string]proto.Message // the last answer of each method, as it came
	}
}

func (p *planter) arm(method protoreflect.FullName, alter func(proto.Message) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.method, p.mu.answer, p.mu.err = path(method), alter, nil
}

func (p *planter) armError(method protoreflect.FullName, alter func(*status.Status) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.method, p.mu.answer, p.mu.err = path(method), nil, alter
}

func (p *planter) disarm() { p.arm("", nil) }

func (p *planter) last(method protoreflect.FullName) proto.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.seen[path(method)]
}

func (p *planter) alter(method string, reply proto.Message, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		if p.mu.seen == nil {
			p.mu.seen = map[string]proto.Message{}
		}
		p.mu.seen[method] = proto.Clone(reply)
	}
	switch {
	case method != p.mu.method:
	case err == nil && p.mu.answer != nil:
		return p.mu.answer(reply)
	case err != nil && p.mu.err != nil:
		return p.mu.err(status.Convert(err))
	}
	return err
}

func (p *planter) unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	err := invoke(ctx, method, request, reply, conn, options...)
	return p.alter(method, reply.(proto.Message), err)
}

func (p *planter) stream(ctx context.Context, d *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, d, conn, method, options...)
	return &plantedStream{ClientStream: s, planter: p, method: method}, err
}

type plantedStream struct {
	grpc.ClientStream
	planter *planter
	method  string
	ended   bool // the server has ended the stream
}

func (s *plantedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if s.ended || errors.Is(err, io.EOF) {
		return io.EOF
	}
	s.ended = err != nil
	return s.planter.alter(s.method, m.(proto.Message), err)
}

// path is how gRPC writes a method.
func path(method protoreflect.FullName) string {
	return "/" + string(method.Parent()) + "/" + string(method.Name())
}
