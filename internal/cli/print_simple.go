package cli

import (
	"errors"
	"io"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// simplePrinter writes what a person or a shell script wants to see and nothing else: keys and values, each on a
// line of its own and just as they are.
type simplePrinter struct {
	out       io.Writer
	problems  io.Writer // where the members that are not well are listed
	hex       bool
	valueOnly bool
}

func (p *simplePrinter) Get(r *clientv3.GetResponse) error {
	s := &sink{w: p.out}
	p.kvs(s, (*pb.RangeResponse)(r).GetKvs())
	return s.err
}

func (p *simplePrinter) Put(r *clientv3.PutResponse) error {
	s := &sink{w: p.out}
	s.printf("OK\n")
	if prev := (*pb.PutResponse)(r).GetPrevKv(); prev != nil {
		p.kvs(s, []*mvccpb.KeyValue{prev})
	}
	return s.err
}

func (p *simplePrinter) Del(r *clientv3.DeleteResponse) error {
	s := &sink{w: p.out}
	resp := (*pb.DeleteRangeResponse)(r)
	s.printf("%d\n", resp.GetDeleted())
	p.kvs(s, resp.GetPrevKvs())
	return s.err
}

func (p *simplePrinter) Txn(r *clientv3.TxnResponse) error {
	s := &sink{w: p.out}
	resp := (*pb.TxnResponse)(r)
	if resp.GetSucceeded() {
		s.printf("SUCCESS\n")
	} else {
		s.printf("FAILURE\n")
	}
	for _, op := range resp.GetResponses() {
		s.printf("\n")
		if s.err == nil {
			s.err = printOp(p, op)
		}
	}
	return s.err
}

// printOp shows one reply within a transaction as it would be shown alone.
func printOp(p kvPrinter, op *pb.ResponseOp) error {
	switch r := op.GetResponse().(type) {
	case *pb.ResponseOp_ResponseRange:
		return p.Get((*clientv3.GetResponse)(r.ResponseRange))
	case *pb.ResponseOp_ResponsePut:
		return p.Put((*clientv3.PutResponse)(r.ResponsePut))
	case *pb.ResponseOp_ResponseDeleteRange:
		return p.Del((*clientv3.DeleteResponse)(r.ResponseDeleteRange))
	case *pb.ResponseOp_ResponseTxn:
		return p.Txn((*clientv3.TxnResponse)(r.ResponseTxn))
	}
	return nil // A request that did nothing has no reply.
}

func (p *simplePrinter) kvs(s *sink, kvs []*mvccpb.KeyValue) {
	show := func(b []byte) {
		if !p.hex {
			s.printf("%s\n", b)
			return
		}
		for _, c := range b {
			s.printf(`\x%02x`, c)
		}
		s.printf("\n")
	}
	for _, kv := range kvs {
		if !p.valueOnly {
			show(kv.GetKey())
		}
		show(kv.GetValue())
	}
}

func (p *simplePrinter) EndpointHealth(all []endpointHealth) error {
	well, ill := &sink{w: p.out}, &sink{w: p.problems}
	for _, h := range all {
		if h.Error == "" {
			well.printf("%s is healthy: successfully committed proposal: took = %s\n", h.Endpoint, h.Took)
		} else {
			ill.printf("%s is unhealthy: failed to commit proposal: %s\n", h.Endpoint, h.Error)
		}
	}
	return errors.Join(well.err, ill.err)
}

func (p *simplePrinter) EndpointStatus(all []endpointStatus) error {
	return p.rows(statusRows(all))
}

func (p *simplePrinter) EndpointHashKV(all []endpointHash) error {
	return p.rows(hashRows(all))
}

func (p *simplePrinter) rows(_ []string, rows [][]string) error {
	s := &sink{w: p.out}
	for _, row := range rows {
		s.printf("%s\n", strings.Join(row, ", "))
	}
	return s.err
}
