package chaos

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
)

// perform asks a server for an operation and records it.
func (r *recorder) perform(ctx context.Context, c *clientv3.Client, o *check.Operation, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r.begin(o)
	note, err := ask(ctx, c, o)
	r.end(o, func() {
		if err == nil {
			o.Outcome = check.Done
			note()
			return
		}
		o.Error, o.Code = err.Error(), codeOf(err).String()
		if refused(err) {
			o.Outcome = check.Refused
		}
	})
}

func codeOf(err error) codes.Code {
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return e.Code()
	}
	return status.Code(err)
}

// refused reports whether an error says that nothing was done and nothing will be.
func refused(err error) bool {
	switch codeOf(err) {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.ResourceExhausted, codes.FailedPrecondition,
		codes.OutOfRange, codes.Unimplemented, codes.Unauthenticated:
		return true
	}
	return errors.Is(err, rpctypes.ErrLeaseNotFound) || errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, rpctypes.ErrFutureRev)
}

// ask sends the request. note puts the answer into the operation.
func ask(ctx context.Context, c *clientv3.Client, o *check.Operation) (note func(), err error) {
	switch {
	case o.Range != nil, o.Put != nil, o.Delete != nil:
		r, err := c.Do(ctx, simple(check.TxnOp{Range: o.Range, Put: o.Put, Delete: o.Delete}))
		if err != nil {
			return nil, err
		}
		return func() {
			switch {
			case o.Range != nil:
				o.Range.Result = rangeResult((*pb.RangeResponse)(r.Get()))
			case o.Put != nil:
				o.Put.Result = putResult((*pb.PutResponse)(r.Put()))
			case o.Delete != nil:
				o.Delete.Result = deleteResult((*pb.DeleteRangeResponse)(r.Del()))
			}
		}, nil
	case o.Txn != nil:
		r, err := c.Txn(ctx).If(compares(o.Txn)...).Then(branch(o.Txn.Then)...).Else(branch(o.Txn.Else)...).Commit()
		if err != nil {
			return nil, err
		}
		return func() { o.Txn.Result = txnResult((*pb.TxnResponse)(r)) }, nil
	case o.Compact != nil:
		r, err := c.Compact(ctx, int64(o.Compact.Revision))
		if err != nil {
			return nil, err
		}
		return func() { o.Compact.Result = &check.CompactResult{Revision: kind.Revision(r.Header.Revision)} }, nil
	case o.Grant != nil:
		r, err := pb.NewLeaseClient(c.ActiveConnection()).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: int64(o.Grant.ID), TTL: o.Grant.TTL})
		if err != nil {
			return nil, err
		}
		return func() { o.Grant.Result = &check.GrantResult{Revision: kind.Revision(r.Header.Revision), TTL: r.TTL} }, nil
	case o.Revoke != nil:
		r, err := c.Revoke(ctx, clientv3.LeaseID(o.Revoke.ID))
		if err != nil {
			return nil, err
		}
		return func() { o.Revoke.Result = &check.RevokeResult{Revision: kind.Revision(r.Header.Revision)} }, nil
	case o.KeepAlive != nil:
		r, err := c.KeepAliveOnce(ctx, clientv3.LeaseID(o.KeepAlive.ID))
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return func() { o.KeepAlive.Result = &check.KeepAliveResult{} }, nil
		}
		if err != nil {
			return nil, err
		}
		return func() { o.KeepAlive.Result = &check.KeepAliveResult{TTL: r.TTL} }, nil
	case o.Remaining != nil:
		r, err := c.TimeToLive(ctx, clientv3.LeaseID(o.Remaining.ID))
		if err != nil {
			return nil, err
		}
		return func() { o.Remaining.Result = &check.RemainingResult{TTL: r.TTL, Granted: r.GrantedTTL} }, nil
	}
	panic("an operation without a request")
}

func simple(o check.TxnOp) clientv3.Op {
	switch {
	case o.Range != nil:
		var options []clientv3.OpOption
		if o.Range.End != "" {
			options = append(options, clientv3.WithRange(o.Range.End))
		}
		if o.Range.Revision != 0 {
			options = append(options, clientv3.WithRev(int64(o.Range.Revision)))
		}
		if o.Range.Limit != 0 {
			options = append(options, clientv3.WithLimit(o.Range.Limit))
		}
		if o.Range.Serializable {
			options = append(options, clientv3.WithSerializable())
		}
		return clientv3.OpGet(o.Range.Key, options...)
	case o.Put != nil:
		var options []clientv3.OpOption
		if o.Put.Lease != 0 {
			options = append(options, clientv3.WithLease(clientv3.LeaseID(o.Put.Lease)))
		}
		if o.Put.PrevKV {
			options = append(options, clientv3.WithPrevKV())
		}
		return clientv3.OpPut(o.Put.Key, o.Put.Value, options...)
	case o.Delete != nil:
		var options []clientv3.OpOption
		if o.Delete.End != "" {
			options = append(options, clientv3.WithRange(o.Delete.End))
		}
		if o.Delete.PrevKV {
			options = append(options, clientv3.WithPrevKV())
		}
		return clientv3.OpDelete(o.Delete.Key, options...)
	}
	return clientv3.OpTxn(compares(o.Txn), branch(o.Txn.Then), branch(o.Txn.Else))
}

func branch(list []check.TxnOp) (ops []clientv3.Op) {
	for _, o := range list {
		ops = append(ops, simple(o))
	}
	return ops
}

func compares(t *check.Txn) (list []clientv3.Cmp) {
	for _, c := range t.Compares {
		sign := string(c.Sign)
		if c.Sign == '!' {
			sign = "!="
		}
		var number any = c.Number
		var target clientv3.Cmp
		switch c.Target {
		case check.CompareValue:
			target, number = clientv3.Value(c.Key), c.Value
		case check.CompareVersion:
			target = clientv3.Version(c.Key)
		case check.CompareCreate:
			target = clientv3.CreateRevision(c.Key)
		case check.CompareMod:
			target = clientv3.ModRevision(c.Key)
		case check.CompareLease:
			target = clientv3.LeaseValue(c.Key)
		}
		list = append(list, clientv3.Compare(target, sign, number))
	}
	return list
}

func row(kv *mvccpb.KeyValue) check.KV {
	return check.KV{Key: string(kv.Key), Value: string(kv.Value), CreateRevision: kind.Revision(kv.CreateRevision),
		ModRevision: kind.Revision(kv.ModRevision), Version: kv.Version, Lease: kind.LeaseID(kv.Lease)}
}

func rows(kvs []*mvccpb.KeyValue) (list []check.KV) {
	for _, kv := range kvs {
		list = append(list, row(kv))
	}
	return list
}

func rangeResult(r *pb.RangeResponse) *check.RangeResult {
	return &check.RangeResult{Revision: kind.Revision(r.Header.GetRevision()), KVs: rows(r.Kvs), Count: r.Count, More: r.More}
}

func putResult(r *pb.PutResponse) *check.PutResult {
	result := &check.PutResult{Revision: kind.Revision(r.Header.GetRevision())}
	if r.PrevKv != nil {
		kv := row(r.PrevKv)
		result.Prev = &kv
	}
	return result
}

func deleteResult(r *pb.DeleteRangeResponse) *check.DeleteResult {
	return &check.DeleteResult{Revision: kind.Revision(r.Header.GetRevision()), Deleted: r.Deleted, Prev: rows(r.PrevKvs)}
}

func txnResult(r *pb.TxnResponse) *check.TxnResult {
	result := &check.TxnResult{Revision: kind.Revision(r.Header.GetRevision()), Succeeded: r.Succeeded}
	for _, one := range r.Responses {
		var op check.TxnOp
		switch one := one.Response.(type) {
		case *pb.ResponseOp_ResponseRange:
			op.Range = &check.Range{Result: rangeResult(one.ResponseRange)}
		case *pb.ResponseOp_ResponsePut:
			op.Put = &check.Put{Result: putResult(one.ResponsePut)}
		case *pb.ResponseOp_ResponseDeleteRange:
			op.Delete = &check.Delete{Result: deleteResult(one.ResponseDeleteRange)}
		case *pb.ResponseOp_ResponseTxn:
			op.Txn = &check.Txn{Result: txnResult(one.ResponseTxn)}
		}
		result.Results = append(result.Results, op)
	}
	return result
}
