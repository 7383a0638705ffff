package server

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// The Lock service. A lock is a prefix of keys, as in the recipes of clientv3 and its kin, so that clients of either kind
// contend for the same one: whoever wants it puts <name>/<lease in hexadecimal> under that lease, and has it when no key
// of the prefix was created before its own.

const (
	errSessionExpired = "mutex: session is expired"

	// A client that brings no lease gets one that lives so long, in seconds; nobody keeps it alive.
	sessionTTL = 60
	// The field key of LockResponse.
	fieldLockKey protowire.Number = 2
)

// lock serves Lock.Lock. It waits until the lock is free. A caller that leaves takes its key with it; one whose key goes
// while it waits, because its lease ends, is told so at once.
func (s *Server) lock(ctx context.Context, request []byte) (*answer, error) {
	var name []byte
	var lease int64
	err := eachField(request, func(number protowire.Number, v uint64, b []byte) {
		switch number {
		case 1:
			name = b
		case 2:
			lease = int64(v)
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
	key := contender(prefix, lease)
	reply, err := o.txn(&pb.TxnRequest{
		Compare: []*pb.Compare{created(key, 0)},
		Success: []*pb.RequestOp{putOp(key, nil, lease), getOp(firstCreated(prefix))},
		Failure: []*pb.RequestOp{getOp(&pb.RangeRequest{Key: key}), getOp(firstCreated(prefix))},
	})
	if err != nil {
		return nil, o.failed(err)
	}
	mine := reply.Header.Revision
	if !reply.Succeeded {
		mine = reply.Responses[0].GetResponseRange().Kvs[0].CreateRevision
	}
	revision := reply.Header.Revision
	if owner := reply.Responses[1].GetResponseRange().GetKvs(); len(owner) > 0 && owner[0].CreateRevision != mine {
		if revision, err = o.await(prefix, key, mine, errSessionExpired); err != nil {
			// The key goes whether the caller still waits for an answer or not.
			_, _ = own{s, context.WithoutCancel(ctx)}.txn(&pb.TxnRequest{
				Compare: []*pb.Compare{created(key, mine)},
				Success: []*pb.RequestOp{deleteOp(key)},
			})
			return nil, o.failed(err)
		}
	}
	return s.newAnswer(revision, protowire.AppendBytes(protowire.AppendTag(nil, fieldLockKey, protowire.BytesType), key)), nil
}

// unlock serves Lock.Unlock, which deletes the key that Lock has returned.
func (s *Server) unlock(ctx context.Context, request []byte) (*answer, error) {
	var key []byte
	err := eachField(request, func(number protowire.Number, _ uint64, b []byte) {
		if number == 1 {
			key = b
		}
	})
	if err != nil {
		return nil, malformed(err)
	}
	o := own{s, ctx}
	var reply pb.DeleteRangeResponse
	if err := o.call(s.deleteRange, &pb.DeleteRangeRequest{Key: key}, &reply); err != nil {
		return nil, o.failed(err)
	}
	return s.newAnswer(reply.Header.Revision, nil), nil
}

// contender is the key by which a lease contends for what prefix names.
func contender(prefix string, lease int64) []byte { return fmt.Appendf(nil, "%s%x", prefix, lease) }

// created compares the revision at which a key was created; 0 says that it does not exist.
func created(key []byte, revision int64) *pb.Compare {
	return &pb.Compare{
		Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_CreateRevision{CreateRevision: revision},
	}
}

func putOp(key, value []byte, lease int64) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value, Lease: lease}}}
}

func getOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func deleteOp(key []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}
}

// firstCreated asks for the oldest key of a prefix: who has the lock, or leads.
func firstCreated(prefix string) *pb.RangeRequest {
	return &pb.RangeRequest{
		Key: []byte(prefix), RangeEnd: prefixEnd(prefix), Limit: 1,
		SortOrder: pb.RangeRequest_ASCEND, SortTarget: pb.RangeRequest_CREATE,
	}
}

// lastCreated asks for the youngest key of a prefix that was created up to a revision: for whom to wait next.
func lastCreated(prefix string, upTo int64) *pb.RangeRequest {
	return &pb.RangeRequest{
		Key: []byte(prefix), RangeEnd: prefixEnd(prefix), Limit: 1, MaxCreateRevision: upTo,
		SortOrder: pb.RangeRequest_DESCEND, SortTarget: pb.RangeRequest_CREATE,
	}
}

// prefixEnd returns the end of the interval of a prefix that ends in a slash.
func prefixEnd(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}

// await returns when no key of prefix is older than key, which was created at mine, with the revision at which that was
// seen. lost is the text of the error for a key that has gone meanwhile.
func (o own) await(prefix string, key []byte, mine int64, lost string) (revision int64, err error) {
	for {
		var before pb.RangeResponse
		if err := o.call(o.s.rangeKeys, lastCreated(prefix, mine-1), &before); err != nil {
			return 0, err
		}
		if len(before.Kvs) == 0 {
			var have pb.RangeResponse
			if err := o.call(o.s.rangeKeys, &pb.RangeRequest{Key: key}, &have); err != nil {
				return 0, err
			}
			if len(have.Kvs) == 0 || have.Kvs[0].CreateRevision != mine {
				return 0, plainError(lost)
			}
			return have.Header.Revision, nil
		}
		gone, err := o.awaitDelete(before.Header.Revision+1, before.Kvs[0].Key, key)
		if err != nil {
			return 0, err
		}
		if gone != nil && string(gone.Key) == string(key) {
			return 0, plainError(lost)
		}
	}
}

// awaitDelete returns the first deletion of one of the keys at or after a revision, or nil if it has to be looked for
// anew, because the revision was compacted before the watch began.
func (o own) awaitDelete(from int64, keys ...[]byte) (*mvccpb.KeyValue, error) {
	f, err := o.follow(from, true, keys...)
	if err != nil {
		return nil, err
	}
	defer f.close()
	return f.first(mvccpb.Event_DELETE)
}
