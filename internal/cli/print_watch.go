package cli

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// watchPrinter shows what a watch is told.
type watchPrinter interface {
	Watch(*clientv3.WatchResponse) error
}

func (p *simplePrinter) Watch(r *clientv3.WatchResponse) error {
	s := &sink{w: p.out}
	for _, e := range r.Events {
		s.printf("%v\n", e.Type)
		if e.PrevKv != nil {
			p.kvs(s, []*mvccpb.KeyValue{e.PrevKv})
		}
		p.kvs(s, []*mvccpb.KeyValue{e.Kv})
	}
	return s.err
}

func (p *fieldsPrinter) Watch(r *clientv3.WatchResponse) error {
	f := p.fields()
	f.header(r.Header)
	for _, e := range r.Events {
		f.field("Type", e.Type)
		if e.PrevKv != nil {
			f.kv("Prev", e.PrevKv)
		}
		f.kv("", e.Kv)
	}
	return f.err
}

func (p *jsonPrinter) Watch(r *clientv3.WatchResponse) error { return p.print(r) }

func (p *protobufPrinter) Watch(r *clientv3.WatchResponse) error {
	m := &pb.WatchResponse{Header: r.Header, CompactRevision: r.CompactRevision, Canceled: r.Canceled, Created: r.Created}
	for _, e := range r.Events {
		m.Events = append(m.Events, (*mvccpb.Event)(e))
	}
	return p.print(m)
}
