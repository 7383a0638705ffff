package command

import (
	"bytes"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"holdfast/internal/kind"
)

// The protobuf library's reading of a message, as our values; what the decoders are compared with.

func libraryPut(m *pb.PutRequest) *Put {
	return &Put{Key: m.Key, Value: m.Value, Lease: kind.LeaseID(m.Lease), PrevKV: m.PrevKv,
		IgnoreValue: m.IgnoreValue, IgnoreLease: m.IgnoreLease}
}

func libraryRange(m *pb.RangeRequest) *Range {
	return &Range{Interval: NewInterval(m.Key, m.RangeEnd), Limit: m.Limit, Revision: kind.Revision(m.Revision),
		Order: Order(m.SortOrder), Target: Target(m.SortTarget), Serializable: m.Serializable,
		KeysOnly: m.KeysOnly, CountOnly: m.CountOnly, MinMod: kind.Revision(m.MinModRevision),
		MaxMod: kind.Revision(m.MaxModRevision), MinCreate: kind.Revision(m.MinCreateRevision),
		MaxCreate: kind.Revision(m.MaxCreateRevision)}
}

func libraryDeleteRange(m *pb.DeleteRangeRequest) *DeleteRange {
	return &DeleteRange{Interval: NewInterval(m.Key, m.RangeEnd), PrevKV: m.PrevKv}
}

func libraryCompaction(m *pb.CompactionRequest) *Compaction {
	return &Compaction{Revision: kind.Revision(m.Revision), Physical: m.Physical}
}

func libraryTxn(m *pb.TxnRequest) *Txn {
	t := new(Txn)
	for _, c := range m.Compare {
		d := Compare{Interval: NewInterval(c.Key, c.RangeEnd), Result: CompareResult(c.Result), Target: CompareTarget(c.Target)}
		switch u := c.TargetUnion.(type) {
		case *pb.Compare_Version:
			if c.Target == pb.Compare_VERSION {
				d.Number = u.Version
			}
		case *pb.Compare_CreateRevision:
			if c.Target == pb.Compare_CREATE {
				d.Number = u.CreateRevision
			}
		case *pb.Compare_ModRevision:
			if c.Target == pb.Compare_MOD {
				d.Number = u.ModRevision
			}
		case *pb.Compare_Value:
			if c.Target == pb.Compare_VALUE {
				d.Value = u.Value
			}
		case *pb.Compare_Lease:
			if c.Target == pb.Compare_LEASE {
				d.Number = u.Lease
			}
		}
		t.Compares = append(t.Compares, d)
	}
	t.Success, t.Failure = libraryOps(m.Success), libraryOps(m.Failure)
	return t
}

func libraryOps(list []*pb.RequestOp) (ops []Op) {
	for _, o := range list {
		var d Op
		switch u := o.Request.(type) {
		case *pb.RequestOp_RequestRange:
			d.Range = libraryRange(u.RequestRange)
		case *pb.RequestOp_RequestPut:
			d.Put = libraryPut(u.RequestPut)
		case *pb.RequestOp_RequestDeleteRange:
			d.Delete = libraryDeleteRange(u.RequestDeleteRange)
		case *pb.RequestOp_RequestTxn:
			d.Txn = libraryTxn(u.RequestTxn)
		}
		ops = append(ops, d)
	}
	return ops
}

// hasUnknown reports whether the library kept unknown fields anywhere in m.
func hasUnknown(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	found := false
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() == nil {
			return true
		}
		if f.IsList() {
			for i := range v.List().Len() {
				found = found || hasUnknown(v.List().Get(i).Message())
			}
		} else {
			found = found || hasUnknown(v.Message())
		}
		return !found
	})
	return found
}

// agree holds one decoder and its encoder against the library: both refuse or both read the same; the canonical
// encoding says the same to both; it is known whole.
func agree[X any, M proto.Message](t *testing.T, b []byte, decode func([]byte) (X, bool, error),
	encode func([]byte, *X) []byte, message M, convert func(M) *X) {
	t.Helper()
	x, known, err := decode(b)
	libraryErr := proto.Unmarshal(b, message)
	if (err != nil) != (libraryErr != nil) {
		t.Fatalf("%x: we say %v, the library says %v", b, err, libraryErr)
	}
	if err != nil {
		return
	}
	canonical := encode(nil, &x)
	if want := encode(nil, convert(message)); !bytes.Equal(canonical, want) {
		t.Fatalf("%x: read as\n%x, the library reads\n%x", b, canonical, want)
	}
	if known && hasUnknown(message.ProtoReflect()) {
		t.Fatalf("%x: holds unknown fields and is called known", b)
	}
	y, known, err := decode(canonical)
	if err != nil || !known || !bytes.Equal(encode(nil, &y), canonical) {
		t.Fatalf("%x: canonical %x is read as %+v, known %v, error %v", b, canonical, y, known, err)
	}
	proto.Reset(message)
	if err := proto.Unmarshal(canonical, message); err != nil || !bytes.Equal(encode(nil, convert(message)), canonical) {
		t.Fatalf("%x: the library does not read the canonical %x alike: %v", b, canonical, err)
	}
}
