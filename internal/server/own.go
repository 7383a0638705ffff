package server

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/node"
	"holdfast/internal/watch"
)

// own is a client of this server's own handlers, for the services that are recipes over keys: Lock and Election. What it
// asks for goes the way of every other request and is authorised for the caller behind ctx.
type own struct {
	s   *Server
	ctx context.Context
}

// call encodes a request, lets a handler serve it, and decodes the answer.
func (o own) call(h rawHandler, request, response proto.Message) error {
	b, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	a, err := h(o.ctx, b)
	if err != nil {
		return err
	}
	if a.release != nil {
		defer a.release()
	}
	return proto.Unmarshal(append(a.head[:len(a.head):len(a.head)], a.body...), response)
}

func (o own) txn(t *pb.TxnRequest) (*pb.TxnResponse, error) {
	var reply pb.TxnResponse
	if err := o.call(o.s.txn, t, &reply); err != nil {
		return nil, err
	}
	return &reply, nil
}

// session returns the lease of a caller that has brought one, and grants one to a caller that has not.
func (o own) session(lease int64) (int64, error) {
	if lease != 0 {
		return lease, nil
	}
	var granted pb.LeaseGrantResponse
	err := o.call(o.s.leaseGrant, &pb.LeaseGrantRequest{TTL: sessionTTL}, &granted)
	return granted.ID, err
}

// failed is what a client of these services is told: as in etcd, where they are clients of the server, all that is left
// of an error is its text.
func (o own) failed(err error) error {
	if err == nil {
		return nil
	}
	if gone := o.ctx.Err(); gone != nil {
		return status.FromContextError(gone).Err()
	}
	return plainError(status.Convert(toStatus(err)).Message())
}

func plainError(text string) error { return status.Error(codes.Unknown, text) }

// follower reads the events of some keys.
type follower struct {
	own
	stream *watch.Stream
	taken  []watch.Response
}

// follow watches keys from a revision on, without puts if deletes is set. The follower must be closed.
func (o own) follow(from int64, deletes bool, keys ...[]byte) (*follower, error) {
	intervals := make([]command.Interval, len(keys))
	for i, key := range keys {
		intervals[i] = command.NewInterval(key, nil)
	}
	return o.followInterval(from, deletes, intervals...)
}

func (o own) followInterval(from int64, deletes bool, intervals ...command.Interval) (*follower, error) {
	client := ""
	if p, ok := peer.FromContext(o.ctx); ok {
		client = p.Addr.String()
	}
	stream, err := o.s.node.Watch().NewStream(client)
	if err != nil {
		return nil, err
	}
	for _, i := range intervals {
		stream.Watch(watch.Request{Interval: i, Start: kind.Revision(from), NoPut: deletes})
	}
	return &follower{own: o, stream: stream}, nil
}

func (f *follower) close() { f.stream.Close() }

// next waits for events and returns them in order. It returns none if a watch has ended because its start was compacted:
// what was missed has to be read. The error is that of the context, node.ErrStopped, or why nobody can be watched.
func (f *follower) next() ([]*mvccpb.Event, error) {
	for {
		f.taken = f.stream.Take(f.taken[:0])
		var events []*mvccpb.Event
		for i := range f.taken {
			switch r := &f.taken[i]; {
			case r.Canceled && r.CompactRevision != 0:
				return nil, nil
			case r.Canceled:
				return nil, plainError(r.Reason)
			case len(r.Events) > 0:
				var wire []byte
				for _, e := range r.Events {
					wire = append(wire, e...)
				}
				var response pb.WatchResponse
				if err := proto.Unmarshal(wire, &response); err != nil {
					return nil, err
				}
				events = append(events, response.Events...)
			}
		}
		if len(events) > 0 {
			return events, nil
		}
		select {
		case <-f.stream.Ready():
		case <-f.s.stopping:
			return nil, node.ErrStopped
		case <-f.s.node.Refusing():
			return nil, node.ErrCorrupt
		case <-f.ctx.Done():
			return nil, f.ctx.Err()
		}
	}
}

// eachField calls take with each field of a message that is a number or bytes. The bytes alias b.
func eachField(b []byte, take func(number protowire.Number, v uint64, bytes []byte)) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return command.ErrWire
		}
		b = b[n:]
		switch kind {
		case protowire.VarintType:
			var v uint64
			if v, n = protowire.ConsumeVarint(b); n >= 0 {
				take(number, v, nil)
			}
		case protowire.BytesType:
			var v []byte
			if v, n = protowire.ConsumeBytes(b); n >= 0 {
				take(number, 0, v)
			}
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return command.ErrWire
		}
		b = b[n:]
	}
	return nil
}

// first waits for the first event of a kind and returns its key, or nil if it has to be looked for anew; see next.
func (f *follower) first(kind mvccpb.Event_EventType) (*mvccpb.KeyValue, error) {
	for {
		events, err := f.next()
		if err != nil || events == nil {
			return nil, err
		}
		for _, e := range events {
			if e.Type == kind {
				return e.Kv, nil
			}
		}
	}
}
