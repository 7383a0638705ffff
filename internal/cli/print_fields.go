package cli

import (
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// fieldsPrinter writes every field of a reply on a line of its own, as "Name" : value.
type fieldsPrinter struct {
	out io.Writer
	hex bool
}

// fields is a sink that writes fields.
type fields struct {
	sink
	hex bool
}

func (p *fieldsPrinter) fields() *fields { return &fields{sink: sink{w: p.out}, hex: p.hex} }

func (f *fields) field(name string, value any) { f.printf("%q : %v\n", name, value) }

func (f *fields) quoted(name, value string) { f.printf("%q : %q\n", name, value) }

// id writes a number that names something: in hexadecimal if that was asked for.
func (f *fields) id(name string, id uint64) {
	if f.hex {
		f.field(name, fmt.Sprintf("%x", id))
	} else {
		f.field(name, id)
	}
}

func (f *fields) header(h *pb.ResponseHeader) {
	f.id("ClusterID", h.GetClusterId())
	f.id("MemberID", h.GetMemberId())
	if h.GetRevision() > 0 { // Replies that are not about keys carry none.
		f.field("Revision", h.GetRevision())
	}
	f.field("RaftTerm", h.GetRaftTerm())
}

func (f *fields) kv(prefix string, kv *mvccpb.KeyValue) {
	f.quoted(prefix+"Key", string(kv.GetKey()))
	f.field(prefix+"CreateRevision", kv.GetCreateRevision())
	f.field(prefix+"ModRevision", kv.GetModRevision())
	f.field(prefix+"Version", kv.GetVersion())
	f.quoted(prefix+"Value", string(kv.GetValue()))
	if f.hex {
		f.field(prefix+"Lease", fmt.Sprintf("%016x", kv.GetLease()))
	} else {
		f.field(prefix+"Lease", kv.GetLease())
	}
}

func (p *fieldsPrinter) Get(r *clientv3.GetResponse) error {
	f, resp := p.fields(), (*pb.RangeResponse)(r)
	f.header(resp.GetHeader())
	for _, kv := range resp.GetKvs() {
		f.kv("", kv)
	}
	f.field("More", resp.GetMore())
	f.field("Count", resp.GetCount())
	return f.err
}

func (p *fieldsPrinter) Put(r *clientv3.PutResponse) error {
	f, resp := p.fields(), (*pb.PutResponse)(r)
	f.header(resp.GetHeader())
	if prev := resp.GetPrevKv(); prev != nil {
		f.kv("Prev", prev)
	}
	return f.err
}

func (p *fieldsPrinter) Del(r *clientv3.DeleteResponse) error {
	f, resp := p.fields(), (*pb.DeleteRangeResponse)(r)
	f.header(resp.GetHeader())
	f.field("Deleted", resp.GetDeleted())
	for _, kv := range resp.GetPrevKvs() {
		f.kv("Prev", kv)
	}
	return f.err
}

func (p *fieldsPrinter) Txn(r *clientv3.TxnResponse) error {
	f, resp := p.fields(), (*pb.TxnResponse)(r)
	f.header(resp.GetHeader())
	f.field("Succeeded", resp.GetSucceeded())
	for _, op := range resp.GetResponses() {
		if f.err == nil {
			f.err = printOp(p, op)
		}
	}
	return f.err
}

func (p *fieldsPrinter) EndpointHealth(all []endpointHealth) error {
	f := p.fields()
	for _, h := range all {
		f.quoted("Endpoint", h.Endpoint)
		f.field("Health", h.Health)
		f.field("Took", h.Took)
		f.field("Error", h.Error)
		f.printf("\n")
	}
	return f.err
}

func (p *fieldsPrinter) EndpointStatus(all []endpointStatus) error {
	f := p.fields()
	for _, e := range all {
		resp := (*pb.StatusResponse)(e.Status)
		f.header(resp.GetHeader())
		f.quoted("Version", resp.GetVersion())
		f.quoted("StorageVersion", resp.GetStorageVersion())
		f.field("DBSize", resp.GetDbSize())
		f.field("DBSizeInUse", resp.GetDbSizeInUse())
		f.field("DBSizeQuota", resp.GetDbSizeQuota())
		f.field("Leader", resp.GetLeader()) // In decimal even with --hex, as etcdctl has it.
		f.field("IsLearner", resp.GetIsLearner())
		f.field("RaftIndex", resp.GetRaftIndex())
		f.field("RaftAppliedIndex", resp.GetRaftAppliedIndex())
		f.field("Errors", resp.GetErrors())
		f.quoted("Endpoint", e.Endpoint)
		f.quoted("DowngradeTargetVersion", resp.GetDowngradeInfo().GetTargetVersion())
		f.field("DowngradeEnabled", resp.GetDowngradeInfo().GetEnabled())
		f.printf("\n")
	}
	return f.err
}

func (p *fieldsPrinter) EndpointHashKV(all []endpointHash) error {
	f := p.fields()
	for _, e := range all {
		resp := (*pb.HashKVResponse)(e.HashKV)
		f.header(resp.GetHeader())
		f.quoted("Endpoint", e.Endpoint)
		f.field("Hash", resp.GetHash())
		f.field("HashRevision", resp.GetHashRevision())
		f.printf("\n")
	}
	return f.err
}
