package server

import (
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"
)

// A slow request leaves the line "request stats" at level warn, with its key and without its value; a fast one
// leaves nothing.
func TestSlowRequest(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	f := newFakeNode(t)
	put := &pb.PutRequest{Key: []byte("the key"), Value: []byte("a secret")}
	_, fast := serve(t, f, Options{Logger: zap.New(core), SlowRequest: time.Hour})
	if _, err := pb.NewKVClient(dial(t, fast)).Put(timeout(t), put); err != nil {
		t.Fatal(err)
	}
	if n := logs.Len(); n != 0 {
		t.Errorf("a fast request left %d lines: %v", n, logs.All())
	}
	_, slow := serve(t, f, Options{Logger: zap.New(core), SlowRequest: time.Nanosecond})
	if _, err := pb.NewKVClient(dial(t, slow)).Put(timeout(t), put); err != nil {
		t.Fatal(err)
	}
	lines := logs.FilterMessage("request stats").All()
	if len(lines) != 1 {
		t.Fatalf("a slow request left %d lines", len(lines))
	}
	fields := lines[0].ContextMap()
	if fields["response type"] != "/etcdserverpb.KV/Put" || fields["request content"] != `key:"the key" value_size:8` ||
		fields["request size"] != int64(proto.Size(put)) {
		t.Errorf("the line says %v", fields)
	}
}

// No value of a request is described, wherever it stands, and long requests are cut.
func TestDescriptionsHaveNoValues(t *testing.T) {
	put := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte("secret")}}}
	}
	txn := &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("c"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("secret")}}},
		Success: []*pb.RequestOp{put("a"), {Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Failure: []*pb.RequestOp{put("b")}}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("r"), RangeEnd: []byte{0}, Limit: 3, KeysOnly: true}}}},
	}
	encode := func() []byte {
		b, err := proto.Marshal(txn)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	want := `compare:<key:"c"> success:<key:"a" value_size:6> success:<failure:<key:"b" value_size:6>> ` +
		`failure:<key:"r" range_end:"\x00" limit:3 keys_only:true>`
	if got := describe("Txn", encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for range 10_000 {
		txn.Success = append(txn.Success, put(strings.Repeat("k", 1000)))
	}
	if got := describe("Txn", encode()); len(got) > 2*maxDescription || strings.Contains(got, "secret") {
		t.Errorf("a long request is described in %d bytes", len(got))
	}
}
