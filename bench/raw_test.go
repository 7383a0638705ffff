package main

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// TestParseWatchAnswer holds that looking through an answer sees what decoding it does.
func TestParseWatchAnswer(t *testing.T) {
	event := func(value string) *mvccpb.Event {
		return &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte("k"), Value: []byte(value), Lease: 7}, PrevKv: &mvccpb.KeyValue{Value: []byte("before")}}
	}
	header := &pb.ResponseHeader{ClusterId: 1 << 63, Revision: 5}
	for _, r := range []*pb.WatchResponse{
		{Header: header, WatchId: 3, Created: true},
		{Header: header, WatchId: 3, Canceled: true, CompactRevision: 9, CancelReason: "why"},
		{Header: header, WatchId: 3, Events: []*mvccpb.Event{event("one"), event("two")}},
		{},
	} {
		b, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		a, err := parseWatchAnswer(b)
		if err != nil || a.created != r.Created || a.canceled != r.Canceled || a.events != len(r.Events) {
			t.Errorf("%v: %+v, %v", r, a, err)
		}
		if len(r.Events) > 0 && !bytes.Equal(a.last, r.Events[len(r.Events)-1].Kv.Value) {
			t.Errorf("%v: the last value is %q", r, a.last)
		}
		for n := 1; n < len(b); n++ {
			_, _ = parseWatchAnswer(b[:n]) // It must not panic.
		}
	}
	if _, err := parseWatchAnswer([]byte{0xff}); err == nil {
		t.Error("a broken answer was taken")
	}
}
