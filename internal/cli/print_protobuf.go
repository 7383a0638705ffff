package cli

import (
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

// protobufPrinter writes a reply as it came over the wire, without anything around it. What single members say
// of themselves is not one message and cannot be shown in this format.
type protobufPrinter struct{ out io.Writer }

func (p *protobufPrinter) print(m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	_, err = p.out.Write(b)
	return err
}

func (p *protobufPrinter) Get(r *clientv3.GetResponse) error { return p.print((*pb.RangeResponse)(r)) }
func (p *protobufPrinter) Put(r *clientv3.PutResponse) error { return p.print((*pb.PutResponse)(r)) }
func (p *protobufPrinter) Del(r *clientv3.DeleteResponse) error {
	return p.print((*pb.DeleteRangeResponse)(r))
}
func (p *protobufPrinter) Txn(r *clientv3.TxnResponse) error { return p.print((*pb.TxnResponse)(r)) }
