package command

import (
	"bytes"
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func agreeOnAll(t *testing.T, b []byte) {
	t.Helper()
	agree(t, b, DecodePut, AppendPut, new(pb.PutRequest), libraryPut)
	agree(t, b, DecodeRange, AppendRange, new(pb.RangeRequest), libraryRange)
	agree(t, b, DecodeDeleteRange, AppendDeleteRange, new(pb.DeleteRangeRequest), libraryDeleteRange)
	agree(t, b, DecodeCompaction, AppendCompaction, new(pb.CompactionRequest), libraryCompaction)
	agree(t, b, DecodeTxn, AppendTxn, new(pb.TxnRequest), libraryTxn)
}

// corners are wire bytes on which two decoders easily part.
func corners(t testing.TB) [][]byte {
	long := func(v byte, n int) []byte { // a varint of n bytes
		b := bytes.Repeat([]byte{0x80 | v&0x7f}, n)
		b[n-1] &= 0x7f
		return b
	}
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	put := func(key string) []byte {
		return cat([]byte{0x12, byte(2 + len(key)), 0x0a, byte(len(key))}, []byte(key))
	}
	list := [][]byte{
		nil, {0}, {0x0a}, {0x0a, 0}, {0x0a, 1}, {0x08, 1}, {0x0b, 0x0c}, {0x0b}, {0x0c}, {0x0e}, {0x0f}, {0x07},
		cat([]byte{0x18}, long(0x7f, 10)), cat([]byte{0x18}, long(1, 10)), cat([]byte{0x18}, long(1, 11)),
		cat([]byte{0x20}, long(0, 5)), cat([]byte{0x20}, long(0, 10)),
		{0x8a, 0x00, 0x01, 'k'}, {0x8a, 0x80, 0x00, 0x01, 'k'}, // a tag longer than needed
		cat(long(0x7f, 5), []byte{0}),
		{0x82, 0x04, 0x01, 0x00}, {0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		{0x28, 0x81, 0x80, 0x80, 0x80, 0x10},                                   // an enumeration wider than 32 bits
		cat(put("a"), put("b")),                                                // two puts where one is meant, or two pieces
		cat([]byte{0x12}, []byte{8}, put("a"), []byte{0x12, 0x02, 0x22, 0x00}), // another operation between
		{0x12, 0x09, 0x12, 0x03, 0x0a, 0x01, 'a', 0x12, 0x02, 0x20, 0x01},      // one put in two pieces
		{0x12, 0x0d, 0x12, 0x03, 0x0a, 0x01, 'a', 0x0a, 0x00, 0x12, 0x02, 0x20, 0x01, 0x0a, 0x00},
		{0x0a, 0x06, 0x10, 0x03, 0x20, 0x05, 0x3a, 0x00}, // a value after a version
		{0x0a, 0x04, 0x10, 0x00, 0x28, 0x05},             // the operand of another target
		{0x0a, 0x04, 0x10, 0x09, 0x28, 0x05},             // a target that does not exist
	}
	deep := []byte(nil)
	for range 60 {
		deep = protowire.AppendBytes([]byte{0x22}, deep)
		deep = protowire.AppendBytes([]byte{0x12}, deep)
	}
	list = append(list, deep)
	for _, m := range samples() {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

// samples are requests as clients send them.
func samples() []proto.Message {
	put := &pb.PutRequest{Key: []byte("/registry/pods/default/a"), Value: bytes.Repeat([]byte("v"), 256), Lease: 7, PrevKv: true}
	rng := &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), Limit: 500, Revision: 9, SortOrder: 2, SortTarget: 4,
		Serializable: true, KeysOnly: true, CountOnly: true, MinModRevision: 1, MaxModRevision: 2, MinCreateRevision: 3, MaxCreateRevision: -1}
	return []proto.Message{
		put, rng, kubernetesTxn(),
		&pb.PutRequest{Key: []byte("k"), IgnoreValue: true, IgnoreLease: true},
		&pb.DeleteRangeRequest{Key: []byte("k"), RangeEnd: []byte{0}, PrevKv: true},
		&pb.CompactionRequest{Revision: 1 << 40, Physical: true},
		&pb.TxnRequest{Compare: []*pb.Compare{
			{Target: pb.Compare_VALUE, Result: pb.Compare_NOT_EQUAL, Key: []byte("k"), TargetUnion: &pb.Compare_Value{Value: []byte("v")}, RangeEnd: []byte("z")},
			{Target: pb.Compare_LEASE, Result: pb.Compare_LESS, Key: []byte("k"), TargetUnion: &pb.Compare_Lease{Lease: -1}},
		}, Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestTxn{RequestTxn: kubernetesTxn()}}, {},
			{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("q")}}},
		}, Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: rng}}}},
	}
}

// kubernetesTxn is the update that a Kubernetes API server sends.
func kubernetesTxn() *pb.TxnRequest {
	key := []byte("/registry/pods/default/a-pod-with-a-name")
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{Target: pb.Compare_MOD, Result: pb.Compare_EQUAL, Key: key, TargetUnion: &pb.Compare_ModRevision{ModRevision: 12345}}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: bytes.Repeat([]byte("v"), 1024)}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
	}
}

// Invariant 1 on the corners, and on the corners with a byte changed, cut or doubled.
func TestDecodersAgreeWithLibrary(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, b := range corners(t) {
		agreeOnAll(t, b)
		for range 200 {
			c := bytes.Clone(b)
			for range 1 + random.IntN(2) {
				if len(c) == 0 {
					break
				}
				switch i := random.IntN(len(c)); random.IntN(3) {
				case 0:
					c[i] = byte(random.Uint32())
				case 1:
					c = append(c[:i], c[i+1:]...)
				default:
					c = append(c, c[i:]...)
				}
			}
			agreeOnAll(t, c)
		}
	}
}

// Messages may lie in each other as deep as the library allows, and not one deeper.
func TestDepthLimit(t *testing.T) {
	nest := func(messages int) []byte {
		b := []byte(nil)
		for i := range messages - 1 { // innermost first; a transaction is outermost
			tag := byte(0x12)
			if (messages-1-i)%2 == 0 {
				tag = 0x22
			}
			b = protowire.AppendBytes([]byte{tag}, b)
		}
		return b
	}
	for _, messages := range []int{depthLimit - 1, depthLimit, depthLimit + 1, depthLimit + 2} {
		b := nest(messages)
		_, _, err := DecodeTxn(b)
		if libraryErr := proto.Unmarshal(b, new(pb.TxnRequest)); (err != nil) != (libraryErr != nil) {
			t.Errorf("%d messages: we say %v, the library says %v", messages, err, libraryErr)
		}
	}
}

// A decoded request shares the bytes it came from.
func TestDecodeAliases(t *testing.T) {
	b := []byte{0x0a, 1, 'k', 0x12, 1, 'v'}
	p, known, err := DecodePut(b)
	if err != nil || !known {
		t.Fatal(known, err)
	}
	b[2] = 'x'
	if string(p.Key) != "x" || cap(p.Key) != 1 {
		t.Errorf("key %q with room for %d", p.Key, cap(p.Key))
	}
}

func FuzzDecodePut(f *testing.F)         { fuzzDecoders(f) }
func FuzzDecodeRange(f *testing.F)       { fuzzDecoders(f) }
func FuzzDecodeDeleteRange(f *testing.F) { fuzzDecoders(f) }
func FuzzDecodeCompaction(f *testing.F)  { fuzzDecoders(f) }
func FuzzDecodeTxn(f *testing.F)         { fuzzDecoders(f) }

// Every decoder sees every input; the targets differ in their corpus only.
func fuzzDecoders(f *testing.F) {
	for _, b := range corners(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { agreeOnAll(t, b) })
}

func BenchmarkDecodePut(b *testing.B) {
	data, _ := proto.Marshal(&pb.PutRequest{Key: []byte("/registry/pods/default/a"), Value: make([]byte, 256), Lease: 7})
	b.ReportAllocs()
	for b.Loop() {
		if _, known, err := DecodePut(data); err != nil || !known {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeTxn(b *testing.B) {
	data, _ := proto.Marshal(kubernetesTxn())
	b.ReportAllocs()
	for b.Loop() {
		if _, known, err := DecodeTxn(data); err != nil || !known {
			b.Fatal(err)
		}
	}
}

func BenchmarkTxnCheck(b *testing.B) {
	data, _ := proto.Marshal(kubernetesTxn())
	t, _, _ := DecodeTxn(data)
	b.ReportAllocs()
	for b.Loop() {
		if err := t.Check(128); err != nil {
			b.Fatal(err)
		}
	}
}
