package cli

import (
	"encoding/json"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// jsonPrinter writes a reply as one line of JSON. The names are those of the fields on the wire, numbers are
// numbers, and keys and values are in base64. This is not the JSON of the HTTP gateway, which quotes numbers.
type jsonPrinter struct {
	out io.Writer
	hex bool // ids of members and of their cluster are text in hexadecimal
}

func (p *jsonPrinter) print(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = p.out.Write(append(line, '\n'))
	return err
}

func (p *jsonPrinter) Get(r *clientv3.GetResponse) error { return p.print((*pb.RangeResponse)(r)) }
func (p *jsonPrinter) Put(r *clientv3.PutResponse) error { return p.print((*pb.PutResponse)(r)) }
func (p *jsonPrinter) Del(r *clientv3.DeleteResponse) error {
	return p.print((*pb.DeleteRangeResponse)(r))
}
func (p *jsonPrinter) Txn(r *clientv3.TxnResponse) error {
	return p.print(jsonTxnOf((*pb.TxnResponse)(r)))
}

func (p *jsonPrinter) EndpointHealth(all []endpointHealth) error { return p.print(all) }
func (p *jsonPrinter) EndpointStatus(all []endpointStatus) error { return p.print(all) }
func (p *jsonPrinter) EndpointHashKV(all []endpointHash) error   { return p.print(all) }

// jsonTxn is the reply to a transaction. It has a type of its own because the wire type holds its replies in a
// oneof, which encoding/json would name after Go fields.
type jsonTxn struct {
	Header    *pb.ResponseHeader `json:"header,omitempty"`
	Succeeded bool               `json:"succeeded,omitempty"`
	Responses []jsonOp           `json:"responses,omitempty"`
}

type jsonOp struct {
	Response struct {
		Range       *pb.RangeResponse       `json:"response_range,omitempty"`
		Put         *pb.PutResponse         `json:"response_put,omitempty"`
		DeleteRange *pb.DeleteRangeResponse `json:"response_delete_range,omitempty"`
		Txn         *jsonTxn                `json:"response_txn,omitempty"`
	} `json:"Response"`
}

func jsonTxnOf(r *pb.TxnResponse) *jsonTxn {
	if r == nil {
		return nil
	}
	t := &jsonTxn{Header: r.GetHeader(), Succeeded: r.GetSucceeded()}
	for _, response := range r.GetResponses() {
		var op jsonOp
		op.Response.Range = response.GetResponseRange()
		op.Response.Put = response.GetResponsePut()
		op.Response.DeleteRange = response.GetResponseDeleteRange()
		op.Response.Txn = jsonTxnOf(response.GetResponseTxn())
		t.Responses = append(t.Responses, op)
	}
	return t
}
