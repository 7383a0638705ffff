package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"

	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
)

// What is asked and answered, between the history's words and the API's.

func rangeRequest(r *check.Range) *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte(r.Key), RangeEnd: []byte(r.End), Revision: int64(r.Revision), Limit: r.Limit,
		Serializable: r.Serializable, KeysOnly: r.KeysOnly, CountOnly: r.CountOnly}
}

func putRequest(p *check.Put) *pb.PutRequest {
	return &pb.PutRequest{Key: []byte(p.Key), Value: []byte(p.Value), Lease: int64(p.Lease), PrevKv: p.PrevKV}
}

func deleteRequest(d *check.Delete) *pb.DeleteRangeRequest {
	return &pb.DeleteRangeRequest{Key: []byte(d.Key), RangeEnd: []byte(d.End), PrevKv: d.PrevKV}
}

func revisionOf(h *pb.ResponseHeader) kind.Revision { return kind.Revision(h.GetRevision()) }

func rowOf(kv *mvccpb.KeyValue) check.KV {
	return check.KV{Key: string(kv.GetKey()), Value: string(kv.GetValue()), CreateRevision: kind.Revision(kv.GetCreateRevision()),
		ModRevision: kind.Revision(kv.GetModRevision()), Version: kv.GetVersion(), Lease: kind.LeaseID(kv.GetLease())}
}

func rowsOf(kvs []*mvccpb.KeyValue) []check.KV {
	var rows []check.KV
	for _, kv := range kvs {
		rows = append(rows, rowOf(kv))
	}
	return rows
}

func prevOf(kv *mvccpb.KeyValue) *check.KV {
	if kv == nil {
		return nil
	}
	return new(rowOf(kv))
}

func rangeResult(a *pb.RangeResponse) *check.RangeResult {
	return &check.RangeResult{Revision: revisionOf(a.GetHeader()), KVs: rowsOf(a.GetKvs()), Count: a.GetCount(), More: a.GetMore()}
}

func putResult(a *pb.PutResponse) *check.PutResult {
	return &check.PutResult{Revision: revisionOf(a.GetHeader()), Prev: prevOf(a.GetPrevKv())}
}

func deleteResult(a *pb.DeleteRangeResponse) *check.DeleteResult {
	return &check.DeleteResult{Revision: revisionOf(a.GetHeader()), Deleted: a.GetDeleted(), Prev: rowsOf(a.GetPrevKvs())}
}

func executeRange(ctx context.Context, conn grpc.ClientConnInterface, r *check.Range) (func(), error) {
	a, err := pb.NewKVClient(conn).Range(ctx, rangeRequest(r))
	return func() { r.Result = rangeResult(a) }, err
}

func executePut(ctx context.Context, conn grpc.ClientConnInterface, p *check.Put) (func(), error) {
	a, err := pb.NewKVClient(conn).Put(ctx, putRequest(p))
	return func() { p.Result = putResult(a) }, err
}

func executeDelete(ctx context.Context, conn grpc.ClientConnInterface, d *check.Delete) (func(), error) {
	a, err := pb.NewKVClient(conn).DeleteRange(ctx, deleteRequest(d))
	return func() { d.Result = deleteResult(a) }, err
}

func executeTxn(ctx context.Context, conn grpc.ClientConnInterface, t *check.Txn) (func(), error) {
	a, err := pb.NewKVClient(conn).Txn(ctx, txnRequest(t))
	return func() { t.Result = txnResult(t, a) }, err
}

func txnRequest(t *check.Txn) *pb.TxnRequest {
	r := &pb.TxnRequest{Success: requestOps(t.Then), Failure: requestOps(t.Else)}
	for _, c := range t.Compares {
		r.Compare = append(r.Compare, compareRequest(c))
	}
	return r
}

func compareRequest(c check.Compare) *pb.Compare {
	r := &pb.Compare{Key: []byte(c.Key)}
	switch c.Sign {
	case '=':
		r.Result = pb.Compare_EQUAL
	case '!':
		r.Result = pb.Compare_NOT_EQUAL
	case '<':
		r.Result = pb.Compare_LESS
	case '>':
		r.Result = pb.Compare_GREATER
	}
	switch c.Target {
	case check.CompareValue:
		r.Target, r.TargetUnion = pb.Compare_VALUE, &pb.Compare_Value{Value: []byte(c.Value)}
	case check.CompareVersion:
		r.Target, r.TargetUnion = pb.Compare_VERSION, &pb.Compare_Version{Version: c.Number}
	case check.CompareCreate:
		r.Target, r.TargetUnion = pb.Compare_CREATE, &pb.Compare_CreateRevision{CreateRevision: c.Number}
	case check.CompareMod:
		r.Target, r.TargetUnion = pb.Compare_MOD, &pb.Compare_ModRevision{ModRevision: c.Number}
	case check.CompareLease:
		r.Target, r.TargetUnion = pb.Compare_LEASE, &pb.Compare_Lease{Lease: c.Number}
	}
	return r
}

func requestOps(ops []check.TxnOp) []*pb.RequestOp {
	var out []*pb.RequestOp
	for _, o := range ops {
		switch {
		case o.Range != nil:
			out = append(out, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: rangeRequest(o.Range)}})
		case o.Put != nil:
			out = append(out, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: putRequest(o.Put)}})
		case o.Delete != nil:
			out = append(out, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: deleteRequest(o.Delete)}})
		case o.Txn != nil:
			out = append(out, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: txnRequest(o.Txn)}})
		}
	}
	return out
}

func txnResult(t *check.Txn, a *pb.TxnResponse) *check.TxnResult {
	r := &check.TxnResult{Revision: revisionOf(a.GetHeader()), Succeeded: a.GetSucceeded()}
	branch := t.Else
	if r.Succeeded {
		branch = t.Then
	}
	for i, o := range a.GetResponses() {
		if i >= len(branch) {
			break
		}
		var one check.TxnOp
		switch asked := branch[i]; {
		case asked.Range != nil:
			copied := *asked.Range
			copied.Result = rangeResult(o.GetResponseRange())
			one.Range = &copied
		case asked.Put != nil:
			copied := *asked.Put
			copied.Result = putResult(o.GetResponsePut())
			one.Put = &copied
		case asked.Delete != nil:
			copied := *asked.Delete
			copied.Result = deleteResult(o.GetResponseDeleteRange())
			one.Delete = &copied
		case asked.Txn != nil:
			copied := *asked.Txn
			copied.Result = txnResult(asked.Txn, o.GetResponseTxn())
			one.Txn = &copied
		}
		r.Results = append(r.Results, one)
	}
	return r
}

func executeCompact(ctx context.Context, conn grpc.ClientConnInterface, c *check.Compact) (func(), error) {
	a, err := pb.NewKVClient(conn).Compact(ctx, &pb.CompactionRequest{Revision: int64(c.Revision)})
	return func() { c.Result = &check.CompactResult{Revision: revisionOf(a.GetHeader())} }, err
}

func executeGrant(ctx context.Context, conn grpc.ClientConnInterface, g *check.Grant) (func(), error) {
	a, err := pb.NewLeaseClient(conn).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: int64(g.ID), TTL: g.TTL})
	return func() { g.Result = &check.GrantResult{Revision: revisionOf(a.GetHeader()), TTL: a.GetTTL()} }, err
}

func executeRevoke(ctx context.Context, conn grpc.ClientConnInterface, r *check.Revoke) (func(), error) {
	a, err := pb.NewLeaseClient(conn).LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: int64(r.ID)})
	return func() { r.Result = &check.RevokeResult{Revision: revisionOf(a.GetHeader())} }, err
}

func executeKeepAlive(ctx context.Context, conn grpc.ClientConnInterface, k *check.KeepAlive) (func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(k.ID)}); err != nil {
		_, err = stream.Recv()
		if err == nil {
			err = errNoAnswer
		}
		return nil, err
	}
	a, err := stream.Recv()
	return func() { k.Result = &check.KeepAliveResult{Revision: revisionOf(a.GetHeader()), TTL: a.GetTTL()} }, err
}

func executeRemaining(ctx context.Context, conn grpc.ClientConnInterface, r *check.Remaining) (func(), error) {
	a, err := pb.NewLeaseClient(conn).LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: int64(r.ID), Keys: true})
	return func() {
		r.Result = &check.RemainingResult{Revision: revisionOf(a.GetHeader()), TTL: a.GetTTL(), Granted: a.GetGrantedTTL()}
		for _, key := range a.GetKeys() {
			r.Result.Keys = append(r.Result.Keys, string(key))
		}
	}, err
}

func executeHashKV(ctx context.Context, conn grpc.ClientConnInterface, h *check.HashKV) (func(), error) {
	a, err := pb.NewMaintenanceClient(conn).HashKV(ctx, &pb.HashKVRequest{Revision: int64(h.Revision)})
	return func() {
		h.Result = &check.HashKVResult{Revision: revisionOf(a.GetHeader()), Compacted: kind.Revision(a.GetCompactRevision()), Hash: a.GetHash()}
	}, err
}

// executeAuth does what a text says: "user add alice", "role add r", "grant alice r", "allow r a z", "user delete alice".
func executeAuth(ctx context.Context, conn grpc.ClientConnInterface, a *check.Auth) (func(), error) {
	c := pb.NewAuthClient(conn)
	var header *pb.ResponseHeader
	var err error
	words := strings.Fields(a.What)
	switch {
	case strings.HasPrefix(a.What, "user add "):
		var r *pb.AuthUserAddResponse
		r, err = c.UserAdd(ctx, &pb.AuthUserAddRequest{Name: words[2], Password: "secret"})
		header = r.GetHeader()
	case strings.HasPrefix(a.What, "user delete "):
		var r *pb.AuthUserDeleteResponse
		r, err = c.UserDelete(ctx, &pb.AuthUserDeleteRequest{Name: words[2]})
		header = r.GetHeader()
	case strings.HasPrefix(a.What, "role add "):
		var r *pb.AuthRoleAddResponse
		r, err = c.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: words[2]})
		header = r.GetHeader()
	case strings.HasPrefix(a.What, "grant "):
		var r *pb.AuthUserGrantRoleResponse
		r, err = c.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: words[1], Role: words[2]})
		header = r.GetHeader()
	case strings.HasPrefix(a.What, "allow "):
		var r *pb.AuthRoleGrantPermissionResponse
		r, err = c.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: words[1],
			Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte(words[2]), RangeEnd: []byte(words[3])}})
		header = r.GetHeader()
	case a.What == "enable":
		var r *pb.AuthEnableResponse
		r, err = c.AuthEnable(ctx, &pb.AuthEnableRequest{})
		header = r.GetHeader()
	default:
		return nil, fmt.Errorf("what is %q", a.What)
	}
	return func() { a.Result = &check.AuthResult{Revision: revisionOf(header)} }, err
}

// executeChange does what a text says: "add learner http://n4:2380", "promote", "remove", "update http://n1:2381".
func executeChange(ctx context.Context, conn grpc.ClientConnInterface, ch *check.Change) (func(), error) {
	c := pb.NewClusterClient(conn)
	words := strings.Fields(ch.What)
	var members []*pb.Member
	var err error
	switch words[0] {
	case "add":
		var r *pb.MemberAddResponse
		r, err = c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: words[len(words)-1:], IsLearner: words[1] == "learner"})
		members = r.GetMembers()
		ch.Member = kind.MemberID(r.GetMember().GetID())
	case "promote":
		var r *pb.MemberPromoteResponse
		r, err = c.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: uint64(ch.Member)})
		members = r.GetMembers()
	case "remove":
		var r *pb.MemberRemoveResponse
		r, err = c.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: uint64(ch.Member)})
		members = r.GetMembers()
	case "update":
		var r *pb.MemberUpdateResponse
		r, err = c.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: uint64(ch.Member), PeerURLs: words[1:]})
		members = r.GetMembers()
	default:
		return nil, fmt.Errorf("what is %q", ch.What)
	}
	return func() {
		ch.Result = &check.ChangeResult{}
		for _, m := range members {
			if m.GetIsLearner() {
				ch.Result.Learners = append(ch.Result.Learners, kind.MemberID(m.GetID()))
			} else {
				ch.Result.Voters = append(ch.Result.Voters, kind.MemberID(m.GetID()))
			}
		}
		slices.Sort(ch.Result.Voters)
		slices.Sort(ch.Result.Learners)
	}, err
}
