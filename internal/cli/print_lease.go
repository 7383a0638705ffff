package cli

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// leasePrinter shows the replies about leases.
type leasePrinter interface {
	Grant(*clientv3.LeaseGrantResponse) error
	Revoke(clientv3.LeaseID, *clientv3.LeaseRevokeResponse) error
	KeepAlive(*clientv3.LeaseKeepAliveResponse) error
	TimeToLive(r *clientv3.LeaseTimeToLiveResponse, keys bool) error
	Leases(*clientv3.LeaseLeasesResponse) error
	// Ended tells that a lease which was being kept alive has ended.
	Ended(clientv3.LeaseID) error
}

func (p *simplePrinter) line(format string, args ...any) error {
	_, err := fmt.Fprintf(p.out, format+"\n", args...)
	return err
}

func (p *simplePrinter) Grant(r *clientv3.LeaseGrantResponse) error {
	return p.line("lease %016x granted with TTL(%ds)", r.ID, r.TTL)
}

func (p *simplePrinter) Revoke(id clientv3.LeaseID, _ *clientv3.LeaseRevokeResponse) error {
	return p.line("lease %016x revoked", id)
}

func (p *simplePrinter) KeepAlive(r *clientv3.LeaseKeepAliveResponse) error {
	return p.line("lease %016x keepalived with TTL(%d)", r.ID, r.TTL)
}

func (p *simplePrinter) TimeToLive(r *clientv3.LeaseTimeToLiveResponse, keys bool) error {
	if r.GrantedTTL == 0 && r.TTL == -1 {
		return p.line("lease %016x already expired", r.ID)
	}
	text := fmt.Sprintf("lease %016x granted with TTL(%ds), remaining(%ds)", r.ID, r.GrantedTTL, r.TTL)
	if keys {
		text += fmt.Sprintf(", attached keys(%s)", r.Keys)
	}
	return p.line("%s", text)
}

func (p *simplePrinter) Leases(r *clientv3.LeaseLeasesResponse) error {
	s := &sink{w: p.out}
	s.printf("found %d leases\n", len(r.Leases))
	for _, l := range r.Leases {
		s.printf("%016x\n", l.ID)
	}
	return s.err
}

func (p *simplePrinter) Ended(id clientv3.LeaseID) error {
	return p.line("lease %016x expired or revoked.", id)
}

// lease writes the id of a lease.
func (f *fields) lease(id clientv3.LeaseID) {
	if f.hex {
		f.field("ID", fmt.Sprintf("%016x", id))
	} else {
		f.field("ID", int64(id))
	}
}

func (p *fieldsPrinter) Grant(r *clientv3.LeaseGrantResponse) error {
	f := p.fields()
	f.header(r.ResponseHeader)
	f.lease(r.ID)
	f.field("TTL", r.TTL)
	return f.err
}

func (p *fieldsPrinter) Revoke(_ clientv3.LeaseID, r *clientv3.LeaseRevokeResponse) error {
	f := p.fields()
	f.header((*pb.LeaseRevokeResponse)(r).GetHeader())
	return f.err
}

func (p *fieldsPrinter) KeepAlive(r *clientv3.LeaseKeepAliveResponse) error {
	f := p.fields()
	f.header(r.ResponseHeader)
	f.lease(r.ID)
	f.field("TTL", r.TTL)
	return f.err
}

func (p *fieldsPrinter) TimeToLive(r *clientv3.LeaseTimeToLiveResponse, _ bool) error {
	f := p.fields()
	f.header(r.ResponseHeader)
	f.lease(r.ID)
	f.field("TTL", r.TTL)
	f.field("GrantedTTL", r.GrantedTTL)
	for _, key := range r.Keys {
		f.quoted("Key", string(key))
	}
	return f.err
}

func (p *fieldsPrinter) Leases(r *clientv3.LeaseLeasesResponse) error {
	f := p.fields()
	f.header(r.ResponseHeader)
	for _, l := range r.Leases {
		f.lease(l.ID)
	}
	return f.err
}

func (p *fieldsPrinter) Ended(clientv3.LeaseID) error { return nil }

func (p *jsonPrinter) Grant(r *clientv3.LeaseGrantResponse) error { return p.print(r) }
func (p *jsonPrinter) Revoke(_ clientv3.LeaseID, r *clientv3.LeaseRevokeResponse) error {
	return p.print((*pb.LeaseRevokeResponse)(r))
}
func (p *jsonPrinter) KeepAlive(r *clientv3.LeaseKeepAliveResponse) error { return p.print(r) }
func (p *jsonPrinter) TimeToLive(r *clientv3.LeaseTimeToLiveResponse, _ bool) error {
	return p.print(r)
}
func (p *jsonPrinter) Leases(r *clientv3.LeaseLeasesResponse) error { return p.print(r) }
func (p *jsonPrinter) Ended(clientv3.LeaseID) error                 { return nil }

// In this format etcdctl shows of all replies about leases but Revoke's the header alone.
func (p *protobufPrinter) Grant(r *clientv3.LeaseGrantResponse) error {
	return p.print(r.ResponseHeader)
}
func (p *protobufPrinter) Revoke(_ clientv3.LeaseID, r *clientv3.LeaseRevokeResponse) error {
	return p.print((*pb.LeaseRevokeResponse)(r))
}
func (p *protobufPrinter) KeepAlive(r *clientv3.LeaseKeepAliveResponse) error {
	return p.print(r.ResponseHeader)
}
func (p *protobufPrinter) TimeToLive(r *clientv3.LeaseTimeToLiveResponse, _ bool) error {
	return p.print(r.ResponseHeader)
}
func (p *protobufPrinter) Leases(r *clientv3.LeaseLeasesResponse) error {
	return p.print(r.ResponseHeader)
}
func (p *protobufPrinter) Ended(clientv3.LeaseID) error { return nil }
