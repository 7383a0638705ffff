package server

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
)

// The Election service. An election is a prefix of keys like a lock; the value of the oldest key is what its leader
// proclaims.

const (
	errMissingLeader = `"leader" field must be provided`
	errNotLeader     = "election: not leader"
	errNoLeader      = "election: no leader"
)

// leaderKey is the message LeaderKey: by what a leader is known.
type leaderKey struct {
	name, key  []byte
	rev, lease int64
}

func (l *leaderKey) decode(b []byte) error {
	return eachField(b, func(number protowire.Number, v uint64, b []byte) {
		switch number {
		case 1:
			l.name = b
		case 2:
			l.key = b
		case 3:
			l.rev = int64(v)
		case 4:
			l.lease = int64(v)
		}
	})
}

func (l *leaderKey) append(dst []byte) []byte {
	dst = appendBytes(dst, 1, l.name)
	dst = appendBytes(dst, 2, l.key)
	dst = appendInt(dst, 3, l.rev)
	return appendInt(dst, 4, l.lease)
}

func appendBytes(dst []byte, number protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, number, protowire.BytesType), v)
}

// campaign serves Election.Campaign. It waits until the caller leads.
func (s *Server) campaign(ctx context.Context, request []byte) (*answer, error) {
	var name, value []byte
	var lease int64
	err := eachField(request, func(number protowire.Number, v uint64, b []byte) {
		switch number {
		case 1:
			name = b
		case 2:
			lease = int64(v)
		case 3:
			value = b
		}
	})
	if err != nil {
		return nil, malformed(err)
	}
	o := own{s, ctx}
	if lease, err = o.session(lease); err != nil {
		return nil, o.failed(err)
	}
	prefix := string(name) + "/"
	l := leaderKey{name: name, key: contender(prefix, lease), lease: lease}
	reply, err := o.txn(&pb.TxnRequest{
		Compare: []*pb.Compare{created(l.key, 0)},
		Success: []*pb.RequestOp{putOp(l.key, value, lease)},
		Failure: []*pb.RequestOp{getOp(&pb.RangeRequest{Key: l.key})},
	})
	if err != nil {
		return nil, o.failed(err)
	}
	l.rev = reply.Header.Revision
	if !reply.Succeeded {
		have := reply.Responses[0].GetResponseRange().Kvs[0]
		l.rev = have.CreateRevision
		if string(have.Value) != string(value) {
			if _, err := o.proclaim(&l, value); err != nil {
				_, _ = o.resign(&l)
				return nil, o.failed(err)
			}
		}
	}
	if _, err := o.await(prefix, l.key, l.rev, errNotLeader); err != nil {
		if ctx.Err() != nil {
			_, _ = own{s, context.WithoutCancel(ctx)}.resign(&l)
		}
		return nil, o.failed(err)
	}
	return s.newAnswer(reply.Header.Revision, appendBytes(nil, 2, l.append(nil))), nil
}

// leaderRequest reads a request that names a leader; the value is that of a proclamation.
func leaderRequest(request []byte) (l *leaderKey, value []byte, err error) {
	var inner error
	err = eachField(request, func(number protowire.Number, _ uint64, b []byte) {
		switch number {
		case 1:
			if l == nil {
				l = &leaderKey{}
			}
			if e := l.decode(b); e != nil {
				inner = e
			}
		case 2:
			value = b
		}
	})
	if err == nil {
		err = inner
	}
	if err != nil {
		return nil, nil, malformed(err)
	}
	if l == nil {
		return nil, nil, plainError(errMissingLeader)
	}
	return l, value, nil
}

// proclaimValue serves Election.Proclaim: a leader's new value, without another election.
func (s *Server) proclaimValue(ctx context.Context, request []byte) (*answer, error) {
	l, value, err := leaderRequest(request)
	if err != nil {
		return nil, err
	}
	o := own{s, ctx}
	if l.lease, err = o.session(l.lease); err != nil {
		return nil, o.failed(err)
	}
	revision, err := o.proclaim(l, value)
	if err != nil {
		return nil, o.failed(err)
	}
	return s.newAnswer(revision, nil), nil
}

// resignLeader serves Election.Resign. Somebody who does not lead resigns without effect.
func (s *Server) resignLeader(ctx context.Context, request []byte) (*answer, error) {
	l, _, err := leaderRequest(request)
	if err != nil {
		return nil, err
	}
	o := own{s, ctx}
	revision, err := o.resign(l)
	if err != nil {
		return nil, o.failed(err)
	}
	return s.newAnswer(revision, nil), nil
}

func (o own) proclaim(l *leaderKey, value []byte) (revision int64, err error) {
	reply, err := o.txn(&pb.TxnRequest{
		Compare: []*pb.Compare{created(l.key, l.rev)},
		Success: []*pb.RequestOp{putOp(l.key, value, l.lease)},
	})
	if err != nil {
		return 0, err
	}
	if !reply.Succeeded {
		return 0, plainError(errNotLeader)
	}
	return reply.Header.Revision, nil
}

func (o own) resign(l *leaderKey) (revision int64, err error) {
	reply, err := o.txn(&pb.TxnRequest{
		Compare: []*pb.Compare{created(l.key, l.rev)},
		Success: []*pb.RequestOp{deleteOp(l.key)},
	})
	if err != nil {
		return 0, err
	}
	return reply.Header.Revision, nil
}

// leaderName reads a LeaderRequest.
func leaderName(request []byte) (name []byte, err error) {
	err = eachField(request, func(number protowire.Number, _ uint64, b []byte) {
		if number == 1 {
			name = b
		}
	})
	if err != nil {
		return nil, malformed(err)
	}
	return name, nil
}

// leader serves Election.Leader.
func (s *Server) leader(ctx context.Context, request []byte) (*answer, error) {
	name, err := leaderName(request)
	if err != nil {
		return nil, err
	}
	o := own{s, ctx}
	var have pb.RangeResponse
	if err := o.call(s.rangeKeys, firstCreated(string(name)+"/"), &have); err != nil {
		return nil, o.failed(err)
	}
	if len(have.Kvs) == 0 {
		return nil, plainError(errNoLeader)
	}
	return s.leaderAnswer(have.Header.Revision, have.Kvs[0])
}

// leaderAnswer makes a LeaderResponse.
func (s *Server) leaderAnswer(revision int64, kv *mvccpb.KeyValue) (*answer, error) {
	b, err := proto.Marshal(kv)
	if err != nil {
		return nil, err
	}
	return s.newAnswer(revision, appendBytes(nil, 2, b)), nil
}

// observe serves Election.Observe: the value of the leader of the moment, and every later one of this leader and its
// successors. It outlives compactions.
func (s *Server) observe(_ any, stream grpc.ServerStream) error {
	var request frame
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	name, err := leaderName(request.data)
	if err != nil {
		return err
	}
	o := own{s, stream.Context()}
	prefix := string(name) + "/"
	send := func(revision int64, kv *mvccpb.KeyValue) error {
		a, err := s.leaderAnswer(revision, kv)
		if err != nil {
			return err
		}
		return stream.SendMsg(a)
	}
	for {
		var have pb.RangeResponse
		if err := o.call(s.rangeKeys, firstCreated(prefix), &have); err != nil {
			return o.failed(err)
		}
		revision := have.Header.Revision
		if len(have.Kvs) == 0 {
			first, err := o.awaitPut(revision+1, prefix)
			if err != nil {
				return o.failed(err)
			}
			if first == nil {
				continue
			}
			have.Kvs, revision = append(have.Kvs, first), first.ModRevision
		}
		if err := send(revision, have.Kvs[0]); err != nil {
			return err
		}
		if err := o.observeKey(have.Kvs[0].Key, revision+1, send); err != nil {
			return o.failed(err)
		}
	}
}

// awaitPut returns the first key of prefix that is put at or after a revision, or nil if it has to be looked for anew.
func (o own) awaitPut(from int64, prefix string) (*mvccpb.KeyValue, error) {
	f, err := o.followInterval(from, false, command.NewInterval([]byte(prefix), prefixEnd(prefix)))
	if err != nil {
		return nil, err
	}
	defer f.close()
	return f.first(mvccpb.Event_PUT)
}

// observeKey sends what is put under the key of a leader until it goes, or has to be looked for anew.
func (o own) observeKey(key []byte, from int64, send func(int64, *mvccpb.KeyValue) error) error {
	f, err := o.follow(from, false, key)
	if err != nil {
		return err
	}
	defer f.close()
	for {
		events, err := f.next()
		if err != nil || events == nil {
			return err
		}
		for _, e := range events {
			if e.Type == mvccpb.Event_DELETE {
				return nil
			}
			if err := send(e.Kv.ModRevision, e.Kv); err != nil {
				return err
			}
		}
	}
}
